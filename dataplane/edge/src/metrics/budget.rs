//! How many series are told: what there is no room for is told together, as `other`.

use std::collections::HashSet;

use dmsc_wire::NameBuf;

use crate::stats::{Class, Direction, Protocol};

/// What takes room: one, or some, lines of the text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Series {
    /// The durations of a name.
    Seconds(String, Direction, Option<NameBuf>),
    /// Calls of a name, by what was spoken and how they ended.
    Calls(String, Direction, Option<NameBuf>, Protocol, Class),
    /// Open connections of a pod.
    Open(String),
    /// Failures of a pod by their reason.
    Error(String, &'static str),
}

/// Room for series; what had room once keeps it, and what had none never gets it, so that every counter only grows.
#[derive(Debug)]
pub(super) struct Budget {
    left: usize,
    has: HashSet<Series>,
    folded: HashSet<Series>,
}

/// What `other` takes when everything is folded: two directions with durations and all kinds of calls, connections, reasons.
const OTHER: usize = 160;
/// Refusals that are remembered, to be counted once.
const REMEMBERED: usize = 65_536;

impl Budget {
    pub fn new(series: usize) -> Self {
        Self {
            left: series.saturating_sub(OTHER),
            has: HashSet::new(),
            folded: HashSet::new(),
        }
    }

    /// Whether it is told apart; it takes so many lines.
    pub fn admit(&mut self, series: Series, lines: usize) -> bool {
        if self.has.contains(&series) {
            return true;
        }
        if self.folded.contains(&series) {
            return false;
        }
        if lines <= self.left {
            self.left -= lines;
            self.has.insert(series);
            return true;
        }
        if self.folded.len() < REMEMBERED {
            self.folded.insert(series);
        } else {
            // Whoever comes later and is smaller is not to come in before those that were refused.
            self.left = 0;
        }
        false
    }

    /// Label sets that are told as `other`; 65,536 stands for more.
    pub fn folded(&self) -> u64 {
        self.folded.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_stays_and_what_is_out_stays_out() {
        let mut budget = Budget::new(OTHER + 10);
        let open = |pod: &str| Series::Open(pod.to_owned());
        assert!(budget.admit(open("a"), 3));
        assert!(budget.admit(open("b"), 3));
        assert!(!budget.admit(open("c"), 5));
        assert!(!budget.admit(open("c"), 1), "it was refused before");
        assert!(budget.admit(open("d"), 4));
        assert!(budget.admit(open("a"), 3) && budget.admit(open("b"), 3));
        assert!(!budget.admit(open("e"), 1));
        assert_eq!(budget.folded(), 2);
    }
}
