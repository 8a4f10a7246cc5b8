//! The router in mode `mac`: a whole dataplane whose ports are cross-connected two by two, which no configuration can do.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use dmsc_dataplane::config::Config;
use dmsc_dataplane::mac::MacAddress;
use dmsc_dataplane::port::Cross;
use dmsc_dataplane::rig::Rig;
use dmsc_dataplane::start;

use super::link::{LINKS, OTHERS};

/// Arguments of the crossed router.
#[derive(Debug, Clone, Args)]
pub struct CrossedArgs {
    /// Configuration file of a dataplane
    #[arg(long)]
    pub config: PathBuf,
}

/// Runs it until somebody asks it to end.
///
/// # Errors
/// What keeps a dataplane from starting.
pub fn run(args: &CrossedArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config)?;
    dmsc_lab::wait::catch_signals()?;
    let rig = Rig {
        gears: Vec::new(),
        is_on: Arc::default(),
        control: Box::new(|shared, _| {
            // In the order of the configuration.
            let links = [LINKS, OTHERS].concat();
            for (port, state) in shared.ports.iter().enumerate() {
                let to = port ^ 1;
                state.tuning.set_cross(Some(Cross {
                    port: to as u8,
                    destination: MacAddress(links[to].far_mac().0),
                }));
            }
        }),
    };
    start::run_with_rig(config, rig, async {
        while !dmsc_lab::wait::interrupted() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })?;
    Ok(ExitCode::SUCCESS)
}
