//! The command line.

use std::path::PathBuf;

use clap::Parser;

use crate::config::Config;
use crate::edge;

const HELP: &str = "\
It registers every [[pod]] of the file at that pod's gateway, with that pod's credentials and in its network namespace, lets the programs in there call
names (http://cart.shop.dmsc for /shop/cart), and hands what comes for their prefixes to them.

Signals:
  SIGHUP   opens the file of the access log anew, after it was moved away
  SIGTERM  takes no new calls, lets what runs end (30 s at most), withdraws, ends

Examples:
  Check a file without touching anything:
    dmsc-edge --check --config /etc/dmsc/edge.toml
  Run it, and replace the one that runs, without losing a call:
    dmsc-edge --config /etc/dmsc/edge.toml
    dmsc-edge --config /etc/dmsc/edge.toml --takeover

Logging goes to stderr; DMSC_LOG=debug tells more, DMSC_LOG=warn less.";

/// Edge of DMSC (Distributed Micro Service Communication): unmodified HTTP, gRPC and TCP programs call each other by service name.
#[derive(Debug, Parser)]
#[command(version, after_help = HELP)]
pub struct Cli {
    /// The configuration file (TOML; conf/edge.toml explains all fields)
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Check the configuration and exit
    #[arg(long)]
    pub check: bool,
    /// With --check: print JSON
    #[arg(long, requires = "check")]
    pub json: bool,
    /// Take the listening sockets of the edge that runs with the same `operator` socket; it then ends
    #[arg(long, conflicts_with = "check")]
    pub takeover: bool,
}

impl Cli {
    /// Does what it says.
    ///
    /// # Errors
    /// A configuration with mistakes, or sockets and namespaces that cannot be had.
    pub fn run(self) -> anyhow::Result<()> {
        let config = Config::load(&self.config)?;
        if self.check {
            check(&config, self.json);
            return Ok(());
        }
        edge::run(config, self.takeover)
    }
}

fn check(config: &Config, json: bool) {
    let file = config.file.display().to_string();
    let (pods, serves) = (
        config.pods.len(),
        config
            .pods
            .iter()
            .map(|pod| pod.serves.len())
            .sum::<usize>(),
    );
    if json {
        println!(
            "{}",
            serde_json::json!({ "file": file, "pods": pods, "serves": serves })
        );
    } else {
        println!("{file}: ok: pods {pods}, serves {serves}");
    }
}
