//! The tables that are compared, each with the names it is asked for.

mod exact;
mod levels;
mod ours;
mod two_stage;

use serde::Serialize;

pub use exact::{Exact, eal_for};
pub use levels::{Levels, LevelsColumn};
pub use ours::{Ours, build};
pub use two_stage::{TwoStage, TwoStageColumn};

/// Lookups of one call: what a worker of the dataplane has in hand at once.
pub const BURST: usize = 32;

/// How it is known what a table takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Account {
    /// The table counts what it has allocated.
    Counted,
    /// From what it was made with; it does not count.
    Reckoned,
}

/// Memory of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes {
    /// All of it, free places included.
    pub count: usize,
    /// Who says so.
    pub account: Account,
}

impl Bytes {
    /// By the table's own account.
    pub fn counted(count: usize) -> Self {
        let account = Account::Counted;
        Self { count, account }
    }

    /// By ours.
    pub fn reckoned(count: usize) -> Self {
        let account = Account::Reckoned;
        Self { count, account }
    }
}

/// A table under measurement.
pub trait Column {
    /// As in the report.
    fn word(&self) -> &'static str;

    /// Looks up the next [`BURST`] names, beginning again after the last; how many were found.
    fn burst(&mut self) -> usize;

    /// What the table takes; `None` where nobody knows.
    fn bytes(&self) -> Option<Bytes> {
        None
    }
}

/// A table, and what it took to fill it.
pub struct Filled<'a> {
    /// The table.
    pub column: Box<dyn Column + 'a>,
    /// CPU time from nothing until all prefixes were in it, s.
    pub build_s: f64,
}

impl<'a> Filled<'a> {
    /// Puts both together.
    pub fn new(column: impl Column + 'a, build_s: f64) -> Self {
        let column = Box::new(column);
        Self { column, build_s }
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
