//! The command `dmsc-edge`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use dmsc_edge::cli::Cli;

fn main() -> ExitCode {
    dmsc_daemon::process::log();
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dmsc-edge: {error:#}");
            ExitCode::FAILURE
        }
    }
}
