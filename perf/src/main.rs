//! `dmsc-perf`: load on a real dataplane, through real ports, and what calls over it cost.

#![forbid(unsafe_code)]

mod attach;
mod churn;
mod cli;
mod failover;
mod fib;
mod foreign;
mod forward;
mod http;
mod idle;
mod load;
mod pcap;
mod prng;
mod record;
mod report;
mod rfc2544;
mod rig;
mod schedule;
mod speaker;
mod table;
mod telemetry;
mod testpmd;
mod torture;
mod transit;

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
