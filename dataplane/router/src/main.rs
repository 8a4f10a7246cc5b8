//! `dmsc-dataplane`: forwards packets by service prefix on poll-mode cores.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use dmsc_dataplane::config::Config;
use tracing_subscriber::EnvFilter;

/// Dataplane of a DMSC (Distributed Micro Service Communication) router or gateway: owns the ports, forwards by name, takes its
/// tables over a Unix socket. Without a control plane it keeps forwarding with what it has.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  dmsc-dataplane --config sg1.toml           run until SIGTERM or SIGINT
  dmsc-dataplane --config sg1.toml --takeover   replace the one that runs, under traffic (upgrade, changed ports)
  dmsc-dataplane --config sg1.toml --check   validate the file and say what it would run
  DMSC_LOG=debug dmsc-dataplane -c sg1.toml  with more log

conf/dataplane.toml is an annotated configuration. dmscctl looks into a running dataplane."
)]
struct Arguments {
    /// Configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Take over from the dataplane that runs with this agent socket: its tables, attachments and adjacencies, without a pause that
    /// neighbours notice.
    #[arg(long, conflicts_with = "check")]
    takeover: bool,
    /// Only validate the configuration.
    #[arg(long)]
    check: bool,
    /// Print what --check found as JSON.
    #[arg(long, requires = "check")]
    json: bool,
    /// Write the log as JSON lines.
    #[arg(long)]
    log_json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_env("DMSC_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,netlink_proto=warn"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr);
    if arguments.log_json {
        log.json().init();
    } else {
        log.init();
    }
    // A thread that is gone would leave a router that looks alive and forwards nothing: better none, and a restart.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dmsc-dataplane: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let config = Config::load(&arguments.config)?;
    if arguments.check {
        for warning in dmsc_dataplane::start::placement_warnings(&config) {
            tracing::warn!("{warning}");
        }
        let (node, name, role, ports) = (
            config.node,
            &config.name,
            config.role.as_str(),
            config.ports.len(),
        );
        if arguments.json {
            println!(
                "{{\"ok\":true,\"node\":{node},\"name\":{name:?},\"role\":{role:?},\"ports\":{ports}}}"
            );
        } else {
            println!(
                "{}: ok: node {node} ({name}, {role}) with {ports} ports",
                arguments.config.display()
            );
        }
        return Ok(());
    }
    // A signal before the runtime runs must not be lost: the handlers are there from here on.
    let signals = {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                runtime.block_on(async {
                    use tokio::signal::unix::{SignalKind, signal};
                    let (mut term, mut int) = (
                        signal(SignalKind::terminate())?,
                        signal(SignalKind::interrupt())?,
                    );
                    tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
                    let _ = sender.send(()); // the process may be ending already
                    std::io::Result::Ok(())
                })
            })?;
        receiver
    };
    dmsc_dataplane::start::run(config, arguments.takeover, async {
        let _ = signals.await; // an error means that no signal can come: run on
    })
}
