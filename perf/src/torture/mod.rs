//! Torture: valid and mutated frames into every kind of port of a real dataplane, and what must be right afterwards.
//!
//! `kind`, `site`, `tables`: what the dataplane is; `outer`, `valid`, `mutate`, `hello`: frames; `peer`, `generator`: who sends them;
//! `stream`, `replay`: the two runs; `report`: what came out; `outcome`: what is left of it for machines.

pub mod capture;
pub mod dataplane;
mod generator;
mod hello;
mod kind;
mod mutate;
pub mod net;
mod outcome;
pub mod outer;
mod peer;
mod replay;
mod report;
mod site;
mod stream;
mod tables;
mod valid;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use anyhow::{Context as _, bail};
use dmsc_dpdk::{Device, Eal, EalConfig, Mempool, MempoolConfig, Port, PortConfig};
use tokio::signal::unix::{SignalKind, signal};

pub use kind::Kind;
use outcome::{Outcome, Round};
use report::Report;

use crate::record::Record;

/// What the command line says.
#[derive(Debug)]
pub struct Options {
    /// Kinds of ports, sorted.
    pub kinds: Vec<Kind>,
    /// How long.
    pub seconds: u64,
    /// Frames per second and kind.
    pub rate: u64,
    /// Of all frames.
    pub seed: u64,
    /// One kind after the other.
    pub each: bool,
    /// Where figures go; `-`: standard output.
    pub json: Option<PathBuf>,
    /// The program under fire.
    pub dataplane: PathBuf,
}

/// What all parts of a run share.
struct Context {
    options: Options,
    eal: Arc<Eal>,
    /// Configurations, logs, sockets and capture files.
    dir: PathBuf,
    interrupted: Arc<AtomicBool>,
    /// Something is wrong already: no need to go on for the rest of the time.
    failed: AtomicBool,
}

impl Context {
    /// An error once a signal came.
    fn check(&self) -> anyhow::Result<()> {
        if self.interrupted.load(Relaxed) {
            bail!("interrupted by a signal; everything was ended and removed");
        }
        Ok(())
    }

    /// What an error of a run that was under way means: an error still if a signal came, else something that is wrong.
    fn judge(&self, error: &anyhow::Error) -> anyhow::Result<Report> {
        self.check()?;
        self.failed.store(true, Relaxed);
        Ok(Report {
            problems: vec![format!("{error:#}")],
            ..Report::default()
        })
    }

    /// Tells people what goes on.
    fn say(&self, line: &str) {
        say(&self.options, line);
    }
}

/// Standard output, unless JSON goes there.
fn say(options: &Options, line: &str) {
    match &options.json {
        Some(path) if path.as_os_str() == "-" => eprintln!("{line}"),
        _ => println!("{line}"),
    }
}

/// Runs all of it and prints the verdict.
///
/// # Errors
/// When it cannot be run to its end, what was found until then being written; a router that does something wrong is no error but an exit
/// status of 1.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let options = Options {
        kinds: options.kinds.clone(),
        json: options.json.clone(),
        dataplane: options.dataplane.canonicalize()?,
        ..*options
    };
    say(&options, &format!("torture: seed {}", options.seed));
    let mut record = Record::<Round, Outcome>::new("torture");
    // Before any other thread is there: they would stay in the old namespace.
    net::enter_namespace()?;
    let eal = Eal::init(&EalConfig {
        program: "dmsc-perf".into(),
        memory_mb: 256,
        ..EalConfig::default()
    })?;
    let dir = std::env::temp_dir().join(format!("dmsc-torture-{}", std::process::id()));
    std::fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let context = Context {
        options,
        eal: Arc::new(eal),
        dir,
        interrupted: Arc::default(),
        failed: AtomicBool::new(false),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut report = Report::default();
    let result = runtime.block_on(all(&context, &mut record.rounds, &mut report.skipped));
    for round in &record.rounds {
        report.extend(round.report.clone());
    }
    record.complete = result.is_ok();
    let error = result.as_ref().err();
    record.result = Outcome::new(&context.options, &record.rounds, &report, error);
    let keep = !context.interrupted.load(Relaxed) && !record.result.ok;
    if keep {
        context.say(&format!(
            "torture: configuration, log and last frames are in {}",
            context.dir.display()
        ));
    } else {
        let _ = std::fs::remove_dir_all(&context.dir); // what is left of it does no harm
    }
    if let Some(path) = &context.options.json {
        record.write(path)?;
    }
    if !report.ports.is_empty() {
        context.say(&report.table());
    }
    result?;
    context.say(&record.result.verdict);
    Ok(ExitCode::from(u8::from(!record.result.ok)))
}

/// Runs everything, and tells round by round what came out, and what cannot run here.
async fn all(
    context: &Context,
    rounds: &mut Vec<Round>,
    skipped: &mut Vec<String>,
) -> anyhow::Result<()> {
    let (mut term, mut int) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let interrupted = Arc::clone(&context.interrupted);
    tokio::spawn(async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        interrupted.store(true, Relaxed);
    });
    let mut kinds = context.options.kinds.clone();
    if kinds.contains(&Kind::AfXdp)
        && let Err(reason) = has_af_xdp(context)
    {
        kinds.retain(|kind| *kind != Kind::AfXdp);
        context.say(&format!(
            "torture: af_xdp cannot run here and is skipped: {reason}"
        ));
        skipped.push(format!("af_xdp ({reason})"));
    }
    let Options { seconds, rate, .. } = context.options;
    let words = kinds
        .iter()
        .map(|kind| kind.as_str())
        .collect::<Vec<_>>()
        .join(", ");
    if context.options.each {
        context.say(&format!(
            "torture: {words}: one after the other, {seconds} s each, {rate} frames/s"
        ));
        for kind in kinds {
            context.say(&format!("torture: {}", kind.as_str()));
            let report = match kind {
                Kind::Pcap => replay::run(context).await?,
                kind => stream::run(context, &[kind]).await?,
            };
            rounds.push(Round::new(kind.as_str(), report));
        }
        return Ok(());
    }
    context.say(&format!(
        "torture: {words}: all at once for {seconds} s, {rate} frames/s into each"
    ));
    let with_pcap = kinds.contains(&Kind::Pcap);
    kinds.retain(|kind| *kind != Kind::Pcap);
    let replay = async {
        if with_pcap {
            replay::run(context).await
        } else {
            Ok(Report::default())
        }
    };
    let (mut report, replayed) = tokio::try_join!(stream::run(context, &kinds), replay)?;
    report.extend(replayed);
    rounds.push(Round::new(&words, report));
    Ok(())
}

/// Whether an AF_XDP port can be had: not every kernel and not every build of DPDK has it.
fn has_af_xdp(context: &Context) -> anyhow::Result<()> {
    net::veth("probe-a", "probe-b", "02:00:00:00:ff:01")?;
    let config = MempoolConfig {
        count: 8191,
        cache: 0,
        data_room: 2176,
    };
    let pool = Mempool::new(&context.eal, "probe", config)?;
    let device = Device::AfXdp {
        iface: "probe-a".into(),
        start_queue: 0,
        queues: 1,
        force_copy: false,
    };
    Port::create(&context.eal, "probe", &device)?.start(PortConfig::new(&pool))?;
    Ok(())
}
