//! The command `dmsc-lab`.

#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("dmsc-lab: {error:#}");
            ExitCode::from(2)
        }
    }
}
