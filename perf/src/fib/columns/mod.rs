//! The tables that are compared, each with the names it is asked for.

mod exact;
mod levels;
mod ours;
mod two_stage;

pub use exact::{Exact, eal_for};
pub use levels::{Levels, LevelsColumn};
pub use ours::{Ours, build};
pub use two_stage::{TwoStage, TwoStageColumn};

/// Lookups of one call: what a worker of the dataplane has in hand at once.
pub const BURST: usize = 32;

/// A table under measurement.
pub trait Column {
    /// As in the report.
    fn word(&self) -> &'static str;

    /// Looks up the next [`BURST`] names, beginning again after the last; how many were found.
    fn burst(&mut self) -> usize;

    /// Bytes that the table takes, by its own account; `None` where it does not tell.
    fn bytes(&self) -> Option<usize> {
        None
    }
}

/// Goes round and round over `len` things, a burst at a time; what is left at the end is not used.
#[derive(Debug, Clone, Copy)]
struct Round {
    next: usize,
    len: usize,
}

impl Round {
    fn new(len: usize) -> Self {
        Self {
            next: 0,
            len: len / BURST * BURST,
        }
    }

    #[inline(always)]
    fn next(&mut self) -> std::ops::Range<usize> {
        let start = self.next;
        self.next = if start + BURST >= self.len {
            0
        } else {
            start + BURST
        };
        start..(start + BURST).min(self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_begin_again() {
        let mut round = Round::new(100);
        let starts: Vec<usize> = (0..4).map(|_| round.next().start).collect();
        assert_eq!(starts, [0, 32, 64, 0]);
        assert_eq!(Round::new(5).next(), 0..0);
    }
}
