//! `dmsc-perf`: load on a real dataplane, through real ports, and what calls over it cost.

#![forbid(unsafe_code)]

mod cli;
mod forward;
mod http;
mod prng;
#[allow(
    dead_code,
    unused_imports,
    reason = "the interface of all commands, of which not all use all of it"
)]
mod record;
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
