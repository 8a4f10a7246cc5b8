//! What came out: of every mode whether the senders confirm each other.

use comfy_table::{Table, presets};
use serde::Serialize;

use super::round::{Round, ratio_of_all};
use super::turn::Turn;
use crate::record::{Spread, spread};
use crate::transit::Mode;

/// How far the ratio may be from 1.
const TOLERANCE: f64 = 0.05;

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
pub struct Outcome {
    /// Of the mode that is furthest from 1: ours to testpmd's, median of all turns.
    ratio: Option<f64>,
    /// Least median of a round.
    ratio_min: Option<f64>,
    /// Greatest.
    ratio_max: Option<f64>,
    /// All modes are confirmed.
    pub confirmed: bool,
    /// The other sender.
    pub testpmd: String,
    /// Memory of this process's DPDK.
    pub memory: String,
    /// Of every mode.
    modes: Vec<Verdict>,
}

/// Fills in what the rounds say of each mode.
pub fn sum_up(modes: &[Mode], rounds: &[Round], outcome: &mut Outcome) {
    for mode in modes {
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

/// For people.
pub fn table(outcome: &Outcome) -> String {
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
    use crate::foreign::round::Turns;
    use crate::foreign::turn::Turn;

    fn turn(mpps: f64, busy: f64) -> Turn {
        Turn {
            mpps,
            capacity_mpps: Some(mpps / busy),
            router_received_mpps: mpps,
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
        let rounds = [
            round(Mode::Gateway, &[((1.0, 1.0), (1.02, 1.0))]),
            round(Mode::Name, &[((0.9, 1.0), (1.0, 1.0))]),
        ];
        let mut outcome = Outcome::default();
        sum_up(&[Mode::Gateway, Mode::Name], &rounds, &mut outcome);
        assert_eq!(outcome.ratio, Some(0.9));
        assert!(outcome.modes[0].confirmed && !outcome.modes[1].confirmed && !outcome.confirmed);
        assert!(table(&outcome).contains("not within 5 %"));
    }

    #[test]
    fn a_sender_that_is_too_slow_is_compared_by_the_routers_time() {
        let rounds = [round(Mode::Mac, &[((26.0, 1.0), (20.0, 0.8))])];
        let mut outcome = Outcome::default();
        sum_up(&[Mode::Mac], &rounds, &mut outcome);
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

    #[test]
    fn the_median_is_of_turns_and_the_range_of_rounds() {
        let turn = |ratio: f64| ((ratio, 1.0), (1.0, 1.0));
        let rounds = [
            round(Mode::Name, &[0.5, 0.9, 0.9].map(turn)),
            round(Mode::Name, &[1.0, 1.1, 1.1].map(turn)),
        ];
        let ratio = ratio_of_all(rounds.iter(), Turn::capacity).expect("a ratio");
        assert_eq!((ratio.median, ratio.min, ratio.max), (0.95, 0.9, 1.1));
    }
}
