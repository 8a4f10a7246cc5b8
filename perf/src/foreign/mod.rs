//! Figures of this project's sender, confirmed by one that nobody here wrote: dpdk-testpmd, replaying a capture of DMSC frames.
//!
//! `sender`: the other sender; `pair`: both at one router, by turns; `turn`: what came of a turn.

mod args;
mod pair;
mod sender;
mod turn;

use std::process::ExitCode;

use comfy_table::{Table, presets};
use dmsc_lab::wait;
use serde::Serialize;

pub use args::ForeignArgs;
use pair::Pair;
use turn::Turn;

use crate::record::{Progress, Record, Spread, ratio, spread};
use crate::testpmd;
use crate::transit::{Mode, Rig, find_dataplane};

/// How far the ratio may be from 1.
const TOLERANCE: f64 = 0.05;

/// One round: a router, and both senders by turns.
#[derive(Debug, Clone, Serialize)]
struct Round {
    round: u32,
    mode: Mode,
    /// Medians of the turns.
    ours: Turn,
    /// Medians of the turns.
    testpmd: Turn,
    turns: Vec<Turns>,
}

/// One turn of each, one right after the other.
#[derive(Debug, Clone, Copy, Serialize)]
struct Turns {
    ours: Turn,
    testpmd: Turn,
}

impl Round {
    fn new(round: u32, mode: Mode, turns: Vec<Turns>) -> Round {
        let (ours, testpmd): (Vec<Turn>, Vec<Turn>) = turns
            .iter()
            .map(|turns| (turns.ours, turns.testpmd))
            .unzip();
        Round {
            round,
            mode,
            ours: Turn::median(&ours),
            testpmd: Turn::median(&testpmd),
            turns,
        }
    }

    /// Ours to testpmd's, of turns that followed each other.
    fn ratio(&self, figure: fn(&Turn) -> Option<f64>) -> Option<Spread> {
        ratio_of(&self.turns, figure)
    }
}

fn ratio_of<'a>(
    turns: impl IntoIterator<Item = &'a Turns>,
    figure: fn(&Turn) -> Option<f64>,
) -> Option<Spread> {
    let both = turns
        .into_iter()
        .map(|turns| (figure(&turns.ours), figure(&turns.testpmd)));
    let (ours, theirs): (Vec<_>, Vec<_>) = both.unzip();
    ratio(&ours, &theirs)
}

/// The median of all turns, and from which to which those of the rounds are.
fn ratio_of_all<'a>(
    rounds: impl Iterator<Item = &'a Round> + Clone,
    figure: fn(&Turn) -> Option<f64>,
) -> Option<Spread> {
    let all = ratio_of(rounds.clone().flat_map(|round| &round.turns), figure)?;
    let medians = rounds.filter_map(|round| Some(round.ratio(figure)?.median));
    let of_rounds = spread(&medians.collect::<Vec<f64>>())?;
    Some(Spread {
        median: all.median,
        ..of_rounds
    })
}

/// Of a mode.
#[derive(Debug, Clone, Serialize)]
struct Verdict {
    mode: Mode,
    /// By this program's generator.
    mpps: Option<Spread>,
    /// By testpmd.
    testpmd_mpps: Option<Spread>,
    /// By this program's generator: rate over the share of time in which the router had work.
    capacity_mpps: Option<Spread>,
    /// The same by testpmd.
    testpmd_capacity_mpps: Option<Spread>,
    /// Ours to testpmd's of the latter, in turns that followed each other: the median of all, and the least and greatest median of a round.
    ratio: Option<Spread>,
    /// The same of the rates.
    rate_ratio: Option<Spread>,
    /// The median of the ratio is within 5 % of 1.
    confirmed: bool,
}

#[derive(Debug, Clone, Default, Serialize)]
struct Outcome {
    /// Of the mode that is further from 1: ours to testpmd's, median of rounds.
    ratio: Option<f64>,
    /// Its smallest.
    ratio_min: Option<f64>,
    /// Its largest.
    ratio_max: Option<f64>,
    /// All modes are confirmed.
    confirmed: bool,
    /// The other sender.
    testpmd: String,
    /// Memory of this process's DPDK.
    memory: String,
    /// Of every mode.
    modes: Vec<Verdict>,
}

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
    sum_up(args, &record.rounds, &mut record.result);
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

fn sum_up(args: &ForeignArgs, rounds: &[Round], outcome: &mut Outcome) {
    for mode in &args.mode {
        let rounds = || rounds.iter().filter(|round| round.mode == *mode);
        let of = |figure: &dyn Fn(&Round) -> Option<f64>| {
            spread(&rounds().filter_map(figure).collect::<Vec<f64>>())
        };
        let ratio = ratio_of_all(rounds(), Turn::capacity);
        outcome.modes.push(Verdict {
            mode: *mode,
            mpps: of(&|round| round.ours.rate()),
            testpmd_mpps: of(&|round| round.testpmd.rate()),
            capacity_mpps: of(&|round| round.ours.capacity()),
            testpmd_capacity_mpps: of(&|round| round.testpmd.capacity()),
            ratio,
            rate_ratio: ratio_of_all(rounds(), Turn::rate),
            confirmed: ratio.is_some_and(|ratio| (ratio.median - 1.0).abs() <= TOLERANCE),
        });
    }
    let distance = |ratio: &Spread| (ratio.median - 1.0).abs();
    let ratios = outcome.modes.iter().filter_map(|verdict| verdict.ratio);
    let worst = ratios.max_by(|a, b| distance(a).total_cmp(&distance(b)));
    outcome.ratio = worst.map(|ratio| ratio.median);
    outcome.ratio_min = worst.map(|ratio| ratio.min);
    outcome.ratio_max = worst.map(|ratio| ratio.max);
    outcome.confirmed = outcome.modes.iter().all(|verdict| verdict.confirmed);
}

fn table(outcome: &Outcome) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "mode",
        "Mpps",
        "by testpmd",
        "with work",
        "by testpmd",
        "ratio",
        "from",
        "to",
        "verdict",
    ]);
    for verdict in &outcome.modes {
        let median = |spread: Option<Spread>| match spread {
            Some(spread) => format!("{:.3}", spread.median),
            None => "–".into(),
        };
        let (from, to) = verdict
            .ratio
            .map_or((f64::NAN, f64::NAN), |r| (r.min, r.max));
        table.add_row([
            verdict.mode.to_string(),
            median(verdict.mpps),
            median(verdict.testpmd_mpps),
            median(verdict.capacity_mpps),
            median(verdict.testpmd_capacity_mpps),
            median(verdict.ratio),
            format!("{from:.3}"),
            format!("{to:.3}"),
            match verdict.confirmed {
                true => "confirmed".into(),
                false => "not within 5 %".to_owned(),
            },
        ]);
    }
    format!(
        "{table}\n\nWith work: the rate over the share of time in which the router had work, which the slower sender cannot give it all the time. Ratio: of that, \
         ours to testpmd's in turns that followed each other: the median of all, and from which to which medians of rounds are. {}; memory: {}.",
        outcome.testpmd, outcome.memory
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ForeignArgs,
    }

    fn turn(mpps: f64, busy: f64) -> Turn {
        Turn {
            mpps,
            router_mpps: mpps,
            mean_burst: None,
            router_busy: Some(busy),
        }
    }

    /// Rate and share of the time with work.
    type Figures = (f64, f64);

    fn round(mode: Mode, turns: &[(Figures, Figures)]) -> Round {
        let turns = turns.iter().map(|(ours, theirs)| Turns {
            ours: turn(ours.0, ours.1),
            testpmd: turn(theirs.0, theirs.1),
        });
        Round::new(1, mode, turns.collect())
    }

    #[test]
    fn the_mode_that_is_further_off_stands_for_all() {
        let args = Line::parse_from(["foreign", "--mode", "gateway,name"]).args;
        let rounds = [
            round(Mode::Gateway, &[((1.0, 1.0), (1.02, 1.0))]),
            round(Mode::Name, &[((0.9, 1.0), (1.0, 1.0))]),
        ];
        let mut outcome = Outcome::default();
        sum_up(&args, &rounds, &mut outcome);
        assert_eq!(outcome.ratio, Some(0.9));
        assert!(outcome.modes[0].confirmed && !outcome.modes[1].confirmed && !outcome.confirmed);
        assert!(table(&outcome).contains("not within 5 %"));
    }

    #[test]
    fn a_sender_that_is_too_slow_is_compared_by_the_routers_time() {
        let args = Line::parse_from(["foreign", "--mode", "mac"]).args;
        let rounds = [round(Mode::Mac, &[((26.0, 1.0), (20.0, 0.8))])];
        let mut outcome = Outcome::default();
        sum_up(&args, &rounds, &mut outcome);
        assert!(outcome.confirmed, "{:?}", outcome.ratio);
        assert_eq!(outcome.modes[0].rate_ratio.map(|r| r.median), Some(1.3));
    }

    /// A machine that is three times slower from one turn to the next changes both of a pair alike.
    #[test]
    fn turns_are_compared_with_those_beside_them() {
        let (fast, slow) = (((9.0, 1.0), (9.0, 1.0)), ((3.0, 1.0), (3.0, 1.0)));
        let torn = ((9.0, 1.0), (3.0, 1.0));
        let round = round(Mode::Name, &[fast, fast, torn, slow, slow]);
        assert_eq!((round.ours.mpps, round.testpmd.mpps), (9.0, 3.0));
        assert_eq!(round.ratio(Turn::rate).map(|ratio| ratio.median), Some(1.0));
    }
}
