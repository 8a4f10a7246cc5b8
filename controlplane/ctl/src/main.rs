//! `dmscctl`: the operator's command. Everything it can do lives in the library beside it, so that it can be tested.

use std::process::ExitCode;

use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = dmscctl::cli::Cli::parse();
    ExitCode::from(dmscctl::run(cli).await)
}
