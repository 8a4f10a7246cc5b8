//! The command `dmsc-controlplane`.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use dmsc_node::routes::Routes;
use dmsc_node::spa::command::SpaArgs;
use dmsc_node::supervisor::{self, StaticOptions};
use tracing_subscriber::EnvFilter;

/// Control plane of DMSC (Distributed Micro Service Communication): of one router, or a prefix authority.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Logging goes to stderr; DMSC_LOG=debug tells more, DMSC_LOG=warn less."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Programs one dataplane from a routes file and registers its pods.
    #[command(after_help = STATIC_HELP)]
    Static(Static),
    /// Runs a prefix authority: says which pod may announce which service prefix.
    Spa(SpaArgs),
}

const STATIC_HELP: &str = "\
One process per router. It waits for the dataplane's agent, compares what is programmed with the file, and tells the difference; it never
flushes. When either side restarts it does the same again. At a gateway (role sg) pods register at --listen.

Signals:
  SIGHUP   read the file again: checked as a whole; with a mistake everything stays as it was
  SIGTERM  end; the dataplane keeps forwarding what it has

Examples:
  Check a file without touching anything:
    dmsc-controlplane static --check --routes sg1.routes.toml
  Run for gateway 1:
    dmsc-controlplane static --routes sg1.routes.toml --agent /run/dmsc/sg1.agent.sock --status /run/dmsc/sg1.status.json
  The smallest file (see the README for all fields):
    [node]
    id = 1
    [[identity]]
    id = \"pod1/*\"
    prefixes = [\"/shop/a\"]";

#[derive(Debug, Args)]
struct Static {
    /// The routes file (TOML)
    #[arg(long, value_name = "FILE")]
    routes: PathBuf,
    /// Unix socket of the dataplane's agent (`socket` under `agent` in its configuration)
    #[arg(
        long,
        value_name = "SOCKET",
        env = "DMSC_AGENT",
        required_unless_present = "check"
    )]
    agent: Option<PathBuf>,
    /// Where pods register, over TCP
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:35030")]
    listen: SocketAddr,
    /// Write what became of the routes here, as JSON: generation, ok, error, applied_at_ns, boot_nonce
    #[arg(long, value_name = "FILE")]
    status: Option<PathBuf>,
    /// Check the routes file and exit
    #[arg(long)]
    check: bool,
    /// With --check: print JSON
    #[arg(long, requires = "check")]
    json: bool,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_env("DMSC_LOG").unwrap_or_else(|_| EnvFilter::new("info")),
        )
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(false)
        .init();
    let done = match Cli::parse().command {
        Command::Static(arguments) => run(arguments),
        Command::Spa(arguments) => arguments.run().map_err(anyhow::Error::from),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dmsc-controlplane: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Static) -> anyhow::Result<()> {
    let agent = match (arguments.check, arguments.agent) {
        (true, _) => return check(&arguments.routes, arguments.json),
        (false, agent) => agent.context("--agent is missing")?,
    };
    let options = StaticOptions {
        routes: arguments.routes,
        agent,
        listen: arguments.listen,
        status: arguments.status,
    };
    // One thread is plenty, and a router's cores are for its dataplane.
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(supervisor::run(options))
}

fn check(path: &std::path::Path, json: bool) -> anyhow::Result<()> {
    let routes = Routes::load(path)?;
    let tables = &routes.tables;
    let counts = [
        ("adjacencies", tables.adjacencies.len()),
        ("gateways", tables.gateways.len()),
        ("groups", tables.groups.len()),
        ("prefixes", tables.prefixes.len()),
        ("access_rules", tables.access_rules.len()),
        ("identities", routes.identities.len()),
    ];
    if json {
        let mut report = serde_json::Map::new();
        report.insert("file".into(), path.display().to_string().into());
        report.insert("node".into(), routes.node.0.into());
        report.extend(counts.map(|(what, count)| (what.to_owned(), count.into())));
        println!("{}", serde_json::Value::Object(report));
    } else {
        let counts = counts.map(|(what, count)| format!("{} {count}", what.replace('_', " ")));
        println!(
            "{}: ok: node {}, {}",
            path.display(),
            routes.node,
            counts.join(", ")
        );
    }
    Ok(())
}
