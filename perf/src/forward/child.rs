//! The process that is measured: a whole dataplane, agent and all, with a rig on its workers. Orders come as lines of JSON.

use std::fmt::Write as _;
use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use dmsc_dataplane::config::Config;
use dmsc_dataplane::meter::Station;
use dmsc_dataplane::publisher::Publishing;
use dmsc_dataplane::rig::{Gear, Rig};
use dmsc_dataplane::shared::Shared;
use dmsc_dataplane::start;
use dmsc_wire::NameBuf;
use serde::{Deserialize, Serialize};

use super::belt::{Belt, Stamp, Turnstile};
use super::control::Control;
use super::draw::{self, Head};
use super::{Carrier, Mode, Pmd, Traffic, tables};
use crate::record::LINKING;
use crate::transit::Size;

/// Prefixes of one transaction.
const CHUNK: usize = 50_000;

/// Arguments of the measured process.
#[derive(Debug, Clone, Args)]
pub struct RouterArgs {
    /// Folder for sockets and configuration
    #[arg(long)]
    pub dir: PathBuf,
    /// Kind of both ports
    #[arg(long)]
    pub pmd: Pmd,
    /// What carries the packets
    #[arg(long)]
    pub carrier: Carrier,
    /// Prefixes in the table
    #[arg(long)]
    pub prefixes: usize,
    /// File of names
    #[arg(long)]
    pub names: Option<PathBuf>,
    /// How names are drawn
    #[arg(long)]
    pub traffic: Traffic,
    /// Names drawn, both directions together
    #[arg(long)]
    pub draws: usize,
    /// Lengths of frames
    #[arg(long)]
    pub frame: Size,
    /// Kernel interfaces of the ports, if they stand on such
    #[arg(long, value_delimiter = ',')]
    pub interfaces: Vec<String>,
    /// Cores of the workers
    #[arg(long, value_delimiter = ',')]
    pub cores: Vec<usize>,
    /// Ordinary memory, because valgrind gives no other
    #[arg(long)]
    pub no_huge: bool,
    /// End after so many frames in this mode
    #[arg(long, requires = "mode")]
    pub count: Option<u64>,
    /// The mode of --count
    #[arg(long)]
    pub mode: Option<Mode>,
}

/// What the process is told.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Forward so from here on, with or without the stamp.
    Set {
        /// How.
        mode: Mode,
        /// Whether frames are stamped.
        stamp: bool,
    },
    /// Count for so many milliseconds.
    Measure {
        /// How long.
        ms: u64,
    },
}

/// What it answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// An order was followed.
    Done,
    /// Tables are loaded.
    Loaded {
        /// Prefixes.
        prefixes: usize,
        /// Seconds until the last was acknowledged.
        seconds: f64,
        /// Prefixes whose names do not fit into the frame.
        too_long: usize,
        /// How the process is linked with DPDK.
        linking: String,
    },
    /// Counted.
    Count(Count),
    /// Could not be done.
    Failed(String),
}

/// Counters over a time.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Count {
    /// Frames that left.
    pub packets: u64,
    /// Frames that were dropped.
    pub drops: u64,
    /// Polls that brought frames.
    pub bursts: u64,
    /// The time.
    pub ns: u64,
    /// TSC cycles by station, in a build that measures them.
    pub stations: Option<[u64; Station::ALL.len()]>,
}

/// Runs the dataplane until standard input ends.
///
/// # Errors
/// What keeps a dataplane from starting.
pub fn run(args: &RouterArgs) -> anyhow::Result<ExitCode> {
    let path = args.dir.join("dataplane.toml");
    std::fs::write(&path, configuration(args))?;
    let config = Config::load(&path)?;
    let belt = Arc::new(Belt::new(
        args.frame,
        args.pmd == Pmd::Null,
        config.udp_port,
    ));
    let workers = args.cores.len().max(1);
    let turnstile = Arc::new(Turnstile::default());
    let gear = |number| -> Box<dyn Gear> {
        let stamp = Stamp::new(belt.clone(), number, workers);
        Box::new(match args.count {
            Some(limit) => stamp.count(turnstile.clone(), limit),
            None => stamp,
        })
    };
    let gears = (0..workers).map(gear).collect();
    let is_on = Arc::new(AtomicBool::new(args.count.is_some()));
    let (ended, end) = tokio::sync::oneshot::channel();
    let control = {
        let (args, is_on, ended) = (args.clone(), is_on.clone(), Mutex::new(Some(ended)));
        Box::new(move |shared: Arc<Shared>, publishing: Publishing| {
            if let Err(error) = serve(&args, shared, &publishing, &belt, &is_on, &turnstile) {
                say(&Answer::Failed(format!("{error:#}")));
            }
            if let Some(ended) = ended.lock().ok().and_then(|mut e| e.take()) {
                let _ = ended.send(()); // the process may be ending already
            }
        })
    };
    let rig = Rig {
        gears,
        is_on,
        control,
    };
    start::run_with_rig(config, rig, async {
        let _ = end.await;
    })?;
    Ok(ExitCode::SUCCESS)
}

fn configuration(args: &RouterArgs) -> String {
    let dir = args.dir.display();
    let cores: Vec<String> = args.cores.iter().map(usize::to_string).collect();
    // A pool for each port of AF_XDP beside the common one.
    let memory_mb = if args.pmd == Pmd::AfXdp { 192 } else { 128 };
    let mut text = format!(
        "[node]\nid = {}\nname = \"perf\"\nrole = \"sr\"\n[eal]\nmemory_mb = {memory_mb}\nhuge = \"{}\"\n[workers]\ncores = [{}]\n\
         [agent]\nsocket = \"{dir}/agent\"\n",
        tables::NODE,
        if args.no_huge { "no" } else { "auto" },
        cores.join(", ")
    );
    for (port, name) in tables::PORTS.iter().enumerate() {
        let address = tables::ADDRESSES[port];
        let _ = write!(
            text,
            "[[port]]\nname = \"{name}\"\nrole = \"router\"\nexception = \"none\"\nmtu = {}\naddresses = [\"{address}/24\"]\n",
            args.frame.mtu()
        );
        let mac = format!("mac = \"02:00:00:00:00:0{name}\"");
        let interface = args.interfaces.get(port).map_or("", String::as_str);
        let _ = match (args.pmd, port) {
            (Pmd::Null, _) => writeln!(text, "kind = \"null\"\nsize = {}", args.frame),
            // Two spellings of one path: DPDK knows a socket either as listening or as connecting.
            (Pmd::Memif, _) => writeln!(
                text,
                "kind = \"memif\"\nserver = {}\nsocket = \"{dir}/{}memif\"\n{mac}",
                port == 0,
                if port == 0 { "" } else { "./" }
            ),
            // The host is opened first, and listens.
            (Pmd::Virtio, 0) => {
                writeln!(text, "kind = \"vhost\"\nsocket = \"{dir}/vhost\"\n{mac}")
            }
            (Pmd::Virtio, _) => {
                writeln!(
                    text,
                    "kind = \"virtio_user\"\nsocket = \"{dir}/vhost\"\n{mac}"
                )
            }
            (Pmd::AfPacket | Pmd::AfXdp, _) => {
                writeln!(text, "kind = \"{}\"\ninterface = \"{interface}\"", args.pmd)
            }
        };
    }
    text
}

fn say(answer: &Answer) {
    if let Ok(text) = serde_json::to_string(answer) {
        println!("{text}");
        let _ = std::io::stdout().flush(); // nobody listens any more: the next read says so
    }
}

fn serve(
    args: &RouterArgs,
    shared: Arc<Shared>,
    publishing: &Publishing,
    belt: &Belt,
    is_on: &AtomicBool,
    turnstile: &Turnstile,
) -> anyhow::Result<()> {
    let prefixes = draw::prefixes(args.prefixes, args.names.as_deref())?;
    let start = Instant::now();
    load(args, publishing, &prefixes)?;
    let seconds = start.elapsed().as_secs_f64();
    let total = args.frame.shortest() - args.carrier.length();
    let mut too_long = 0;
    let mut drawn = |stamped| -> anyhow::Result<[Arc<Vec<Head>>; 2]> {
        let mut heads: [Arc<Vec<Head>>; 2] = Default::default();
        too_long = 0;
        for (port, place) in heads.iter_mut().enumerate() {
            let drawn = draw::draw(
                &prefixes,
                port,
                args.draws / 2,
                total,
                args.traffic,
                stamped,
            )?;
            too_long += drawn.too_long;
            *place = Arc::new(drawn.heads);
        }
        Ok(heads)
    };
    let (stamped, unresolved) = (drawn(true)?, drawn(false)?);
    let count = prefixes.len();
    drop(prefixes);
    let control = Control {
        shared,
        publishing,
        belt,
        is_on,
        stamped,
        unresolved,
    };
    say(&Answer::Loaded {
        prefixes: count,
        seconds,
        too_long,
        linking: LINKING.into(),
    });
    if let Some(mode) = args.mode.filter(|_| args.count.is_some()) {
        control.set(mode, true)?;
        turnstile.open();
        while !turnstile.full.load(Relaxed) {
            std::thread::sleep(Duration::from_millis(10));
        }
        // The worker stays at the turnstile, so nothing can be taken down.
        std::process::exit(0);
    }
    for line in std::io::stdin().lock().lines() {
        let answer = match serde_json::from_str(&line?) {
            Ok(Order::Set { mode, stamp }) => control.set(mode, stamp).map(|()| Answer::Done),
            Ok(Order::Measure { ms }) => Ok(Answer::Count(control.measure(ms))),
            Err(error) => Err(error.into()),
        };
        say(&answer.unwrap_or_else(|error| Answer::Failed(format!("{error:#}"))));
    }
    Ok(())
}

fn load(args: &RouterArgs, publishing: &Publishing, names: &[NameBuf]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let apply = |ops| match runtime.block_on(publishing.apply(ops)) {
        Some(result) => result.map_err(|error| anyhow::anyhow!("{error}")),
        None => bail!("the dataplane stops"),
    };
    apply(tables::topology(args.carrier, args.count.is_some()))?;
    let mut first = 0;
    for chunk in names.chunks(CHUNK) {
        apply(tables::prefixes(first, chunk))?;
        first += chunk.len();
    }
    Ok(())
}
