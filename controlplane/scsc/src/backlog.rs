//! Reports that nobody has acknowledged yet, at the gateway: what a slow or absent scheduling center costs is bounded, and paid in resolution.

use std::collections::{BTreeMap, VecDeque};

use crate::pair::Pair;
use crate::report::Report;

/// One second of all pairs.
pub type Second = BTreeMap<Pair, Report>;

/// What was measured in a span, and can be told together with that of the span before it.
pub trait Span {
    /// Adds the span before.
    fn merge(&mut self, before: Self);
}

impl Span for Second {
    fn merge(&mut self, before: Self) {
        for (pair, report) in before {
            self.entry(pair)
                .and_modify(|there| there.merge(&report))
                .or_insert(report);
        }
    }
}

/// Unacknowledged seconds, oldest first. When there are too many, the two oldest are merged: every probe stays counted, only when is told less
/// precisely. So nothing is lost over a reconnect while the number of pairs is bounded.
#[derive(Debug)]
pub struct Backlog<S = Second> {
    seconds: VecDeque<(u64, S)>,
    most: usize,
    next: u64,
    merged: u64,
}

impl<S: Span> Backlog<S> {
    /// Keeps at most `most` seconds apart, at least 2.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            seconds: VecDeque::new(),
            most: most.max(2),
            next: 1,
            merged: 0,
        }
    }

    /// Takes a second; gives its number.
    pub fn push(&mut self, second: S) -> u64 {
        let number = self.next;
        self.next += 1;
        self.seconds.push_back((number, second));
        while self.seconds.len() > self.most {
            self.merge_oldest();
        }
        number
    }

    /// The center has everything up to this number. A second that was merged into a later one meanwhile is told again with it.
    pub fn acknowledge(&mut self, number: u64) {
        while self.seconds.front().is_some_and(|(n, _)| *n <= number) {
            self.seconds.pop_front();
        }
    }

    /// What is to be told over a new connection, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &S)> {
        self.seconds
            .iter()
            .map(|(number, second)| (*number, second))
    }

    /// The second with this number, unless it was acknowledged or merged.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut S> {
        let at = self.seconds.binary_search_by_key(&number, |(n, _)| *n);
        Some(&mut self.seconds[at.ok()?].1)
    }

    /// How often two were merged for want of room.
    #[must_use]
    pub fn merged(&self) -> u64 {
        self.merged
    }

    fn merge_oldest(&mut self) {
        let Some((_, old)) = self.seconds.pop_front() else {
            return;
        };
        let Some((_, into)) = self.seconds.front_mut() else {
            return;
        };
        into.merge(old);
        self.merged += 1;
    }
}
