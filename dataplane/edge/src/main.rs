//! The command `dmsc-edge`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use dmsc_edge::cli::Cli;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_env("DMSC_LOG").unwrap_or_else(|_| EnvFilter::new("info")),
        )
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(false)
        .init();
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dmsc-edge: {error:#}");
            ExitCode::FAILURE
        }
    }
}
