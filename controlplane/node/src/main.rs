//! The command `dmsc-controlplane`.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use dmsc_node::config::{Config, Role};
use dmsc_node::router::{self, RouterOptions};
use dmsc_node::routes::Routes;
use dmsc_node::scsc::command::ScscArgs;
use dmsc_node::spa::command::SpaArgs;
use dmsc_node::supervisor::{self, StaticOptions};

/// Control plane of DMSC (Distributed Micro Service Communication): of one router, a prefix authority, or a scheduling center.
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
    /// Runs a service gateway: link state with its neighbours, registration of its pods
    #[command(after_help = ROUTER_HELP)]
    Sg(Router),
    /// Runs a service router: link state with its neighbours
    #[command(after_help = ROUTER_HELP)]
    Sr(Router),
    /// Runs a prefix authority: says which pod may announce which service prefix
    Spa(SpaArgs),
    /// Runs a replica of a scheduling center: takes measured quality from routers, sends forwarding policies
    Scsc(ScscArgs),
}

const ROUTER_HELP: &str = "\
It takes the dataplane as it finds it, exchanges link state with its neighbours over mutual TLS, and programs what follows. It may die: the dataplane
goes on, and the next process finds everything again. Losing its state directory is survivable.

Signals:
  SIGHUP   read the file again: checked as a whole; with a mistake everything stays as it was
  SIGTERM  end; the dataplane keeps forwarding what it has (dmscctl drain takes the node out of service first)

Examples:
  Check a file without touching anything:
    dmsc-controlplane sg --check --config /etc/dmsc/sg1.toml
  Run for gateway 1:
    dmsc-controlplane sg --config /etc/dmsc/sg1.toml";

#[derive(Debug, Args)]
struct Router {
    /// The configuration file (TOML; conf/sg.toml and conf/sr.toml explain all fields)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Write what became of the routes here, as JSON: ok, error, generation, boot_nonce, state, digest, version
    #[arg(long, value_name = "FILE")]
    status: Option<PathBuf>,
    /// Check the configuration and exit
    #[arg(long)]
    check: bool,
    /// With --check: print JSON
    #[arg(long, requires = "check")]
    json: bool,
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
    dmsc_daemon::process::log();
    let result = match Cli::parse().command {
        Command::Static(arguments) => run(arguments),
        Command::Sg(arguments) => run_router(arguments, Role::Gateway),
        Command::Sr(arguments) => run_router(arguments, Role::Router),
        Command::Spa(arguments) => arguments.run().map_err(anyhow::Error::from),
        Command::Scsc(arguments) => arguments.run().map_err(anyhow::Error::from),
    };
    match result {
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
    block_on(supervisor::run(options))
}

/// One thread is plenty, and a router's cores are for its dataplane.
fn block_on(future: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(future)
}

fn run_router(arguments: Router, role: Role) -> anyhow::Result<()> {
    if arguments.check {
        return check_config(&arguments, role);
    }
    block_on(router::run(RouterOptions {
        config: arguments.config,
        role,
        status: arguments.status,
    }))
}

fn check_config(arguments: &Router, role: Role) -> anyhow::Result<()> {
    let path = arguments.config.display();
    let config = Config::load(&arguments.config, role)?;
    let (adjacencies, rules) = (config.adjacencies.len(), config.access_rules.len());
    let (id, name) = (config.node.id, &config.node.name);
    if arguments.json {
        let report = serde_json::json!({
            "file": path.to_string(), "node": id.0, "name": name, "adjacencies": adjacencies, "access_rules": rules,
        });
        println!("{report}");
    } else {
        println!("{path}: ok: node {id} ({name}), adjacencies {adjacencies}, access rules {rules}");
    }
    Ok(())
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
