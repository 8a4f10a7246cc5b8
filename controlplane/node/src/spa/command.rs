//! The words of `dmsc-controlplane spa`.

use std::path::PathBuf;

use clap::Args;

use super::StartError;

const HELP: &str = "\
Gateways ask it, over mutual TLS, which service prefixes their pods may announce; it answers by its policy, with statements that every router checks
offline. While it is away everything that is announced goes on; new prefixes wait.

Signals:
  SIGHUP   read the policy again: checked as a whole; with a mistake everything stays as it was
  SIGTERM  end

Examples:
  Credentials, once (the root stays offline):
    dmscctl pki init root --trust-domain example.org
    dmscctl pki issue --root root --out /etc/dmsc/spa1 spa spa1 --subtree /shop
  Check both files without touching anything:
    dmsc-controlplane spa --check --config /etc/dmsc/spa.toml
  Run it:
    dmsc-controlplane spa --config /etc/dmsc/spa.toml
  Take a right back, at once and everywhere:
    dmscctl --node /run/dmsc-spa/operator.sock revoke /shop/a --identity pod1/a --reason \"key was lost\"
  The smallest files:
    [spa]                                [[policy]]
    name = \"spa1\"                        identity = \"pod1/*\"
    credentials = \"/etc/dmsc/spa1\"       subtrees = [\"/shop/a\"]
    state_dir = \"/var/lib/dmsc-spa\"
    policy = \"spa.policy.toml\"";

/// `dmsc-controlplane spa`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct SpaArgs {
    /// The configuration file (TOML); the policy file is named there
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Check both files and exit
    #[arg(long)]
    pub check: bool,
    /// With --check: print JSON
    #[arg(long, requires = "check")]
    pub json: bool,
}

impl SpaArgs {
    /// Checks, or runs until a signal.
    ///
    /// # Errors
    /// Mistakes, or that it does not start.
    pub fn run(&self) -> Result<(), StartError> {
        if self.check {
            self.check()?;
            return Ok(());
        }
        // One thread for calls; signing happens beside it.
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(super::run(&self.config))
    }

    fn check(&self) -> Result<(), StartError> {
        let config = super::check(&self.config)?;
        let policy = config.policy.display().to_string();
        if self.json {
            let report = serde_json::json!({
                "file": self.config.display().to_string(),
                "name": config.name,
                "policy": policy,
            });
            println!("{report}");
        } else {
            println!(
                "{}: ok: authority {}; {policy}: ok",
                self.config.display(),
                config.name
            );
        }
        Ok(())
    }
}
