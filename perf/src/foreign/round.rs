//! One round of both senders, and how they compare.

use serde::Serialize;

use super::turn::Turn;
use crate::record::{Spread, ratio, spread};
use crate::transit::Mode;

/// One round: a router, and both senders by turns.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    /// From 1.
    pub round: u32,
    /// By what the router forwarded.
    pub mode: Mode,
    /// Medians of the turns.
    pub ours: Turn,
    /// Medians of the turns.
    pub testpmd: Turn,
    /// One by one.
    pub turns: Vec<Turns>,
}

/// One turn of each, one right after the other.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Turns {
    /// This program's generator.
    pub ours: Turn,
    /// testpmd.
    pub testpmd: Turn,
}

impl Round {
    /// Of its turns.
    pub fn new(round: u32, mode: Mode, turns: Vec<Turns>) -> Round {
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
    pub fn ratio(&self, figure: fn(&Turn) -> Option<f64>) -> Option<Spread> {
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
pub fn ratio_of_all<'a>(
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
