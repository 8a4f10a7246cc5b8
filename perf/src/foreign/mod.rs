//! Figures of this project's sender, confirmed by one that nobody here wrote: dpdk-testpmd, replaying a capture of DMSC frames.
//!
//! `sender`: the other sender; `pair`: both at one router, by turns; `turn`, `round`, `outcome`: what came of it.

mod args;
mod outcome;
mod pair;
mod round;
mod sender;
mod turn;

use std::process::ExitCode;

use dmsc_lab::wait;

pub use args::ForeignArgs;
use outcome::{Outcome, sum_up, table};
use pair::Pair;
use round::Round;
use turn::Turn;

use crate::record::{Progress, Record};
use crate::testpmd;
use crate::transit::{Rig, find_dataplane};

/// Measures, and shows what came out.
///
/// # Errors
/// When it cannot be run, or somebody asks to stop; what was measured until then is in the JSON.
pub fn run(args: &ForeignArgs) -> anyhow::Result<ExitCode> {
    let mut record = Record::<Round, Outcome>::new("foreign");
    record.result.testpmd = testpmd::version()?;
    let mut rig = Rig::new("foreign", find_dataplane(args.bin_dir.as_deref())?)?;
    wait::catch_signals()?;
    record.result.memory = rig.memory();
    let result = all(args, &mut rig, &mut record.rounds);
    record.complete = result.is_ok();
    sum_up(&args.mode, &record.rounds, &mut record.result);
    record.leave(args.json.as_deref(), |record| table(&record.result))?;
    result?;
    Ok(ExitCode::from(u8::from(!record.result.confirmed)))
}

fn all(args: &ForeignArgs, rig: &mut Rig, rounds: &mut Vec<Round>) -> anyhow::Result<()> {
    let mut progress = Progress::start("foreign", args.rounds as usize * args.mode.len());
    for round in 1..=args.rounds {
        for mode in &args.mode {
            let mut pair = Pair::start(args, rig, *mode)?;
            let turns = pair.turns(args.turns())?;
            pair.stop()?;
            let round = Round::new(round, *mode, turns);
            let ratio = round.ratio(Turn::capacity);
            progress.step(&format!(
                "{mode}: {:.3} Mpps, by testpmd {:.3}, ratio with work {:.3}",
                round.ours.mpps,
                round.testpmd.mpps,
                ratio.map_or(f64::NAN, |ratio| ratio.median)
            ));
            rounds.push(round);
        }
    }
    Ok(())
}
