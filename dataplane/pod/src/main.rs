//! The command `dmsc-pod`.
#![forbid(unsafe_code)]

mod command;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_env("DMSC_LOG").unwrap_or_else(|_| EnvFilter::new("warn")),
        )
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(false)
        .init();
    match command::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("dmsc-pod: {error:#}");
            ExitCode::FAILURE
        }
    }
}
