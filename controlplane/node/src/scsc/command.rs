//! The words of `dmsc-controlplane scsc`.

use std::path::PathBuf;

use clap::Args;

use super::StartError;
use super::config::CenterConfig;

const HELP: &str = "\
Gateways and routers of one area tell it, over mutual TLS, what they measured; it compares with thresholds and answers with signed policies: weights over
the members of a service group. While it is away policies end with their time to live, and then plain routes hold.

Signals:
  SIGHUP   read the file again: checked as a whole; with a mistake everything stays as it was
  SIGTERM  end; policies in force go on until their time to live

Examples:
  Credentials, once (the root stays offline):
    dmscctl pki issue --root root --out /etc/dmsc/scsc1 scsc scsc1
  Check the file without touching anything:
    dmsc-controlplane scsc --check --config /etc/dmsc/scsc.toml
  Run it:
    dmsc-controlplane scsc --config /etc/dmsc/scsc.toml
  Look at it, with operator and page in the file:
    dmscctl --node /run/dmsc-scsc/operator.sock show policies
    chromium http://127.0.0.1:9468/
  The smallest file:
    [scsc]                               [[threshold]]
    name = \"scsc1\"                       prefix = \"/shop\"
    replica = 1                          delay_ms = { raise = 50, clear = 40 }
    credentials = \"/etc/dmsc/scsc1\"
    state_dir = \"/var/lib/dmsc-scsc\"";

/// `dmsc-controlplane scsc`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct ScscArgs {
    /// The configuration file (TOML; conf/scsc.toml explains all fields)
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Check the file and exit
    #[arg(long)]
    pub check: bool,
    /// With --check: print JSON
    #[arg(long, requires = "check")]
    pub json: bool,
}

impl ScscArgs {
    /// Checks, or runs until a signal.
    ///
    /// # Errors
    /// Mistakes, or that it does not start.
    pub fn run(&self) -> Result<(), StartError> {
        if self.check {
            self.check()?;
            return Ok(());
        }
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(super::run(&self.config))
    }

    fn check(&self) -> Result<(), StartError> {
        let config = CenterConfig::load(&self.config)?;
        if config.credentials.exists() {
            super::credentials(&config)?;
        }
        let (name, replica, area) = (&config.name, config.engine.replica, config.engine.area);
        let thresholds = config.rules.len();
        let file = self.config.display().to_string();
        if self.json {
            let report = serde_json::json!({
                "file": file, "name": name, "replica": replica.0, "area": area, "thresholds": thresholds,
            });
            println!("{report}");
        } else {
            println!(
                "{file}: ok: scheduling center {name}, replica {replica} of area {area}, thresholds {thresholds}"
            );
        }
        Ok(())
    }
}
