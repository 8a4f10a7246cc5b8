//! `dmscctl`: the operator's command. Everything it can do lives in the library beside it, so that it can be tested.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = dmscctl::cli::Cli::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    ExitCode::from(dmscctl::run(cli).await)
}
