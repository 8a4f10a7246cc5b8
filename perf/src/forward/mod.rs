//! `dmsc-perf forward`, `scale` and `cycles`: what forwarding costs, beside DPDK's testpmd on the same rig in the same run.
//!
//! `child` is the process that is measured, a whole dataplane, which `control` tells what to do; `belt` makes its frames go round and stamps them; `draw` makes names;
//! `tables` says what is programmed; `router` and `testpmd` start the two; `bench` takes turns with them; `outcome` is what came
//! out; `baseline` is what instructions are compared with.

mod args;
mod baseline;
mod belt;
mod bench;
mod child;
mod control;
mod cycles;
mod draw;
mod outcome;
mod router;
mod scale;
mod tables;
mod testpmd;
mod veth;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use dmsc_lab::wait;

pub use args::{Carrier, ForwardArgs, Pmd, Traffic};
pub use child::{RouterArgs, run as serve};
pub use cycles::{CyclesArgs, run as cycles};
pub use scale::{ScaleArgs, run as scale};

use crate::record::{Progress, Record};
use crate::report;
use crate::transit::{Mode, Size};
use bench::{Bench, Round, Site};
use child::Count;
use outcome::{Figures, Outcome};

/// Time before each count, ms.
const WARM_MS: u64 = 300;
/// Most frames that go round in each direction: a burst, as testpmd's `tx_first` makes.
const BURST: usize = 32;

/// Frames that go round in each direction: whole cycles of lengths.
fn frames_in_loop(size: Size) -> usize {
    let cycle = size.cycle().len();
    BURST / cycle * cycle
}

/// Measures.
///
/// # Errors
/// When a process cannot be started or ends early; what was measured until then is in the JSON.
pub fn run(args: &ForwardArgs) -> anyhow::Result<ExitCode> {
    check(args)?;
    let main = other_core(&[args.core])?;
    let mut record = Record::<Round, Outcome>::new("forward");
    if args.pmd.iter().any(|pmd| pmd.is_of_kernel()) {
        veth::enter_namespace()?;
    }
    wait::catch_signals()?;
    let result = all(args, main, &mut record);
    record.complete = result.is_ok();
    record.leave(args.json.as_deref(), |record| record.result.table())?;
    result?;
    if let Some(path) = &args.plot {
        report::plot_prefixes(&record, path)?;
    }
    if record.rounds.iter().any(Round::is_lossy) {
        eprintln!("frames were dropped while counting: the figures are not of forwarding alone");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn check(args: &ForwardArgs) -> anyhow::Result<()> {
    if args.pmd.contains(&Pmd::Null) && args.frame.contains(&Size::Imix) {
        bail!("--pmd null gives frames of one length, so it cannot be measured with --frame imix");
    }
    if args.pmd.contains(&Pmd::Null) && args.prefixes.contains(&1) {
        bail!(
            "--pmd null receives on both ports without end, and one prefix leads out of one of them: --prefixes 2 or more there"
        );
    }
    if args.pmd.contains(&Pmd::AfXdp) && args.frame.iter().any(|size| size.longest() > 1_500) {
        bail!("--pmd af_xdp carries frames of at most 1500 bytes: it keeps a frame in one page");
    }
    Ok(())
}

fn all(args: &ForwardArgs, main: usize, record: &mut Record<Round, Outcome>) -> anyhow::Result<()> {
    let mut sites = Vec::new();
    for pmd in &args.pmd {
        for frame in &args.frame {
            sites.extend(args.prefixes.iter().map(|prefixes| Site {
                pmd: *pmd,
                frame: *frame,
                prefixes: *prefixes,
            }));
        }
    }
    let starts = args.rounds.div_ceil(args.restart_every);
    let steps = sites.len() * (starts + args.rounds) as usize;
    let mut progress = Progress::start("forward", steps);
    for site in sites {
        progress.step(&format!("{site}: loading"));
        let mut bench = Bench::start(args, site, main)?;
        let first = record.rounds.len();
        for number in 1..=args.rounds {
            if number > 1 && (number - 1) % args.restart_every == 0 {
                progress.step(&format!("{site}: starting anew"));
                bench = bench.anew(main)?;
            }
            let round = bench.round(number)?;
            progress.step(&round.line());
            record.rounds.push(round);
        }
        let rounds = &record.rounds[first..];
        let figures = args
            .mode
            .iter()
            .map(|mode| Figures::new(args, &bench, *mode, rounds));
        record.result.add(figures);
    }
    Ok(())
}

/// Millions of frames per second.
///
/// # Errors
/// When nothing was counted.
fn rate(count: &Count, what: &str) -> anyhow::Result<f64> {
    if count.packets == 0 {
        bail!(
            "no frame goes round in the series {what}: the router dropped {}",
            count.drops
        );
    }
    Ok(count.packets as f64 * 1e3 / count.ns as f64)
}

/// A core that is none of `cores`, for everything else.
fn other_core(cores: &[usize]) -> anyhow::Result<usize> {
    let allowed = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0))?;
    let all: Vec<usize> = (0..nix::sched::CpuSet::count())
        .filter(|core| allowed.is_set(*core).unwrap_or(false))
        .collect();
    if let Some(missing) = cores.iter().find(|core| !all.contains(core)) {
        bail!("core {missing} is not there, or this process may not use it; there are {all:?}");
    }
    // Where all cores forward, the rest shares the first one.
    let other = all.iter().find(|core| !cores.contains(core));
    Ok(other.or(all.first()).copied().unwrap_or(0))
}

/// A folder that goes with this value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Folder> {
        let parent = std::env::temp_dir();
        crate::testpmd::sweep(&parent);
        let path = parent.join(format!("dmsc-perf-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // what cannot be removed is in the way of nobody
    }
}
