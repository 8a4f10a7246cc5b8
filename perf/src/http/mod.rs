//! What a call over HTTP costs: directly, through pairs of proxies, and over names; one run, interleaved, the same load, server, cores and hops.
//!
//! `column`: what is compared; `site`, `certificates`, `envoy`, `haproxy`, `ours`, `membership`, `rig`: what it runs on; `server`, `load`: the two ends; `cost`,
//! `memory`, `iperf`, `calibrate`, `machine`: what is read; `measure`: one column in one round; `peers`, `run`: all
//! of them; `statistics`, `stages`, `report`, `table`: what
//! comes out.

mod args;
mod calibrate;
mod certificates;
mod column;
pub mod cost;
mod envoy;
mod haproxy;
mod iperf;
mod load;
mod machine;
mod measure;
mod membership;
pub mod memory;
mod ours;
mod peers;
mod processes;
mod report;
mod rig;
mod run;
mod server;
mod site;
mod stages;
mod statistics;
mod table;

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use dmsc_lab::wait;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

pub use args::{HttpArgs, ServerArgs};
use run::Run;

/// Cores that everything shares.
const CORES: usize = 2;

/// Serves pages until the process is ended.
///
/// # Errors
/// When it cannot listen.
pub fn serve(args: &ServerArgs) -> anyhow::Result<ExitCode> {
    let size = args.size;
    if let Some(membership) = &args.membership {
        server::run_on_names(membership, args.services, size)?;
    }
    if let Some(listen) = args.listen {
        server::run(listen, size, |address| {
            eprintln!("serving pages of {size} bytes on {address}");
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Measures, and shows what came out.
///
/// # Errors
/// When it cannot be run, or somebody asks to stop; what was measured until then is shown all the same.
pub fn run(args: &HttpArgs) -> anyhow::Result<ExitCode> {
    if !nix::unistd::geteuid().is_root() {
        bail!("http makes network namespaces and needs root: run it with sudo");
    }
    dmsc_lab::tools::check(false)?;
    wait::catch_signals()?;
    let cores = share_cores()?;
    let run = Run::prepare(args, cores)?;
    let mut rounds = Vec::new();
    let result = run.all(&mut rounds);
    let report = run.report(rounds, result.is_ok());
    let text = serde_json::to_string_pretty(&report)? + "\n";
    match &args.json {
        Some(path) if path.as_os_str() == "-" => print!("{text}"),
        Some(path) => {
            std::fs::write(path, text)
                .with_context(|| format!("cannot write {}", path.display()))?;
            println!("{}", table::show(&report));
        }
        None => println!("{}", table::show(&report)),
    }
    result?;
    Ok(ExitCode::SUCCESS)
}

/// Everything that is started from here on runs on the first two cores that this process may use.
fn share_cores() -> anyhow::Result<Vec<usize>> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let cores: Vec<usize> = (0..CpuSet::count())
        .filter(|core| allowed.is_set(*core).unwrap_or(false))
        .take(CORES)
        .collect();
    let mut set = CpuSet::new();
    for core in &cores {
        set.set(*core)?;
    }
    sched_setaffinity(Pid::from_raw(0), &set)?;
    Ok(cores)
}
