//! `dmsc-perf`: load on a real dataplane, through real ports, and what calls over it cost.

#![forbid(unsafe_code)]

mod cli;
mod http;
mod prng;
mod torture;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("dmsc-perf: {error:#}");
            ExitCode::from(2)
        }
    }
}
