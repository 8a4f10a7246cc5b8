//! `dmsc-perf telemetry`: what a scheduling center costs that takes telemetry of many gateways, over the real gRPC path.

mod center;
mod gateway;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use dmsc_spa::credentials::Credentials;
use dmsc_spa::identity::Identity;
use dmsc_spa::pki::{Root, Scope};
use dmsc_wire::NodeId;
use serde::Serialize;
use tokio::sync::{Barrier, Semaphore};
use tokio::task::JoinSet;

use crate::record::{Progress, Record};
use center::{cpu, free_port, memory, start, wait_until_it_listens};
use gateway::{Told, gateway};

/// Pairs of one service group: members in both topologies.
const PAIRS_OF_GROUP: usize = 10;
/// Probes in a report: what a gateway sends when something is unusual.
const PROBES: u32 = 10;
/// For the process to listen, and for the last acknowledgement.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a scheduling center costs that takes telemetry of many gateways
///
/// Starts the real process with a state of its own, connects that many gateways with a certificate each over mutual TLS on loopback, and
/// reports of that many pairs every second, 10 probes in each. CPU time is the process's own, memory its largest resident set.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  dmsc-perf telemetry                                1,000 gateways, 100 pairs each, half a minute
  dmsc-perf telemetry --gateways 50 --seconds 5 --json

Exit status: 0 everything was acknowledged, 1 not, 2 failed.")]
pub struct TelemetryArgs {
    /// Gateways
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub gateways: u32,
    /// Pairs of each that are active: reported every second
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    pub pairs: u32,
    /// How long
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(2..=86_400))]
    pub seconds: u32,
    /// The control plane; default: dmsc-controlplane beside this program
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,
    /// Write all figures to FILE as JSON; without FILE: to standard output, instead of the text
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub json: Option<PathBuf>,
}

/// What was found.
#[derive(Debug, Clone, Default, Serialize)]
struct Outcome {
    gateways: u32,
    pairs_per_gateway: u32,
    seconds: u32,
    sent_messages: u64,
    acked_messages: u64,
    /// CPU time of the center per second, in cores.
    cpu_cores: f64,
    /// Largest resident set of the center.
    memory_bytes: u64,
    /// Reports alone.
    report_bytes_per_pair_second: f64,
    /// Messages as gRPC frames, with what enters at the gateway.
    message_bytes_per_pair_second: f64,
    /// From telling to the acknowledgement, the longest.
    slowest_ack_ms: u64,
}

/// Does what the arguments say.
pub fn run(args: &TelemetryArgs) -> anyhow::Result<ExitCode> {
    dmsc_daemon::process::more_files();
    let mut record = Record::<Outcome, Outcome>::new("telemetry");
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(measure(args))?;
    let all = outcome.acked_messages == outcome.sent_messages;
    record.rounds.push(outcome.clone());
    record.result = outcome;
    record.complete = all;
    record.leave(args.json.as_deref(), |record| text(&record.result))?;
    Ok(ExitCode::from(u8::from(!all)))
}

fn text(outcome: &Outcome) -> String {
    format!(
        "{} gateways x {} pairs, {} s: {} of {} messages acknowledged, the slowest after {} ms\n\
         center: {:.2} cores, {} MiB; {:.1} bytes per pair and second in reports, {:.1} in messages",
        outcome.gateways,
        outcome.pairs_per_gateway,
        outcome.seconds,
        outcome.acked_messages,
        outcome.sent_messages,
        outcome.slowest_ack_ms,
        outcome.cpu_cores,
        outcome.memory_bytes >> 20,
        outcome.report_bytes_per_pair_second,
        outcome.message_bytes_per_pair_second,
    )
}

async fn measure(args: &TelemetryArgs) -> anyhow::Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let root = Root::init(&folder.path().join("root"), "dmsc.test", 10)?;
    let mut progress = Progress::start("telemetry", 3);
    progress.step(&format!("credentials of {} gateways", args.gateways));
    let issue = |identity: Identity, name: &str| {
        let path = folder.path().join(name);
        root.issue(&identity, &Scope::default(), 1, false, &path)?;
        Ok::<_, anyhow::Error>(Credentials::load(&path)?)
    };
    issue(Identity::center("scsc1")?, "scsc1")?;
    let credentials = (1..=args.gateways)
        .map(|id| issue(Identity::node(NodeId(id), true), &format!("sg{id}")))
        .collect::<Result<Vec<_>, _>>()?;
    let address = free_port()?;
    let center = start(args, folder.path(), address)?;
    wait_until_it_listens(address).await?;
    let pid = center.pid();
    // All begin together, once all are connected; and this function with them.
    let ready = Arc::new(Barrier::new(args.gateways as usize + 1));
    let dialling = Arc::new(Semaphore::new(32));
    let mut gateways = JoinSet::new();
    for (id, credentials) in (1..).zip(credentials) {
        let (ready, dialling, args) = (Arc::clone(&ready), Arc::clone(&dialling), args.clone());
        gateways.spawn(async move {
            gateway(id, &credentials, address, &args, &ready, &dialling).await
        });
    }
    progress.step("connecting");
    tokio::select! {
        _ = ready.wait() => {}
        // Nobody is done before all have begun.
        Some(ended) = gateways.join_next() => {
            ended??;
            bail!("a gateway ended before the others began");
        }
    }
    progress.step(&format!("{} s of telemetry", args.seconds));
    let (begun, before) = (Instant::now(), cpu(pid)?);
    tokio::time::sleep(Duration::from_secs(args.seconds.into())).await;
    let cpu_cores = (cpu(pid)? - before).as_secs_f64() / begun.elapsed().as_secs_f64();
    let mut all = Told::default();
    while let Some(told) = gateways.join_next().await {
        let told = told??;
        all.sent += told.sent;
        all.acked += told.acked;
        all.reports += told.reports;
        all.bytes += told.bytes;
        all.slowest = all.slowest.max(told.slowest);
    }
    let pair_seconds = all.sent as f64 * f64::from(args.pairs);
    Ok(Outcome {
        gateways: args.gateways,
        pairs_per_gateway: args.pairs,
        seconds: args.seconds,
        sent_messages: all.sent,
        acked_messages: all.acked,
        cpu_cores,
        memory_bytes: memory(pid)?,
        report_bytes_per_pair_second: all.reports as f64 / pair_seconds,
        message_bytes_per_pair_second: all.bytes as f64 / pair_seconds,
        slowest_ack_ms: u64::try_from(all.slowest.as_millis())?,
    })
}
