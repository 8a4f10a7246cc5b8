//! What one scheduling center is still to be told. Shared by the task that measures and the one that talks to it.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dmsc_scsc::backlog::{Backlog, Second, Span};
use tokio::sync::Notify;

use super::entered::{Counted, Entered, Key};
use super::services::States;
use super::traffic::Rows;

/// Seconds that are kept apart while a center does not acknowledge: two minutes. Then the oldest two become one, and so on: no probe is lost.
const SECONDS: usize = 120;

/// The same of what entered: there may be many prefixes.
const ENTERED: usize = 10;

/// One of `[scheduling] centers`.
#[derive(Debug)]
pub(super) struct Center {
    pub address: SocketAddr,
    /// There is something to tell.
    pub news: Notify,
    untold: Mutex<Untold>,
}

/// What waits.
#[derive(Debug)]
pub(super) struct Untold {
    pub backlog: Backlog,
    /// What entered, by the numbers of the same seconds.
    pub entered: Backlog<Entered>,
    /// What had no room in its second.
    late: Entered,
    /// Service groups as they are now.
    pub rows: Rows,
    /// Services of this gateway as they are now.
    pub states: States,
}

impl Center {
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            news: Notify::new(),
            untold: Mutex::new(Untold {
                backlog: Backlog::new(SECONDS),
                entered: Backlog::new(ENTERED),
                late: Entered::default(),
                rows: Rows::default(),
                states: States::default(),
            }),
        }
    }

    /// A second is over.
    pub fn push(&self, second: Second, rows: Rows, states: States, mut entered: Entered) {
        let mut untold = self.untold();
        untold.backlog.push(second);
        entered.merge(std::mem::take(&mut untold.late));
        untold.entered.push(entered);
        untold.rows = rows;
        untold.states = states;
        drop(untold);
        self.news.notify_one();
    }

    /// What entered in a second.
    pub fn entered(&self, number: u64) -> Entered {
        let mut untold = self.untold();
        let entered = untold.entered.get_mut(number);
        entered.map_or_else(Entered::default, |entered| entered.clone())
    }

    /// There was no room for these in that second: they are told with the next one that ends.
    pub fn defer(&self, number: u64, late: Vec<(Key, Counted)>) {
        let mut untold = self.untold();
        // Merged into a later one meanwhile, which has them as well.
        let Some(second) = untold.entered.get_mut(number) else {
            return;
        };
        for (key, _) in &late {
            second.0.remove(key);
        }
        untold.late.merge(Entered(late.into_iter().collect()));
    }

    /// The center has everything up to this number.
    pub fn acknowledge(&self, number: u64) {
        let mut untold = self.untold();
        untold.backlog.acknowledge(number);
        untold.entered.acknowledge(number);
    }

    pub fn untold(&self) -> MutexGuard<'_, Untold> {
        // Nothing that holds it panics half way.
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use dmsc_wire::{Domain, NameBuf};

    use super::*;

    fn entered(bytes: u64) -> Entered {
        let one = |text: &str, bytes| {
            let key = (Domain(1), NameBuf::parse(text).unwrap());
            let counted = Counted {
                bytes,
                ..Counted::default()
            };
            (key, counted)
        };
        Entered(BTreeMap::from([one("/a", bytes), one("/b", 2 * bytes)]))
    }

    fn sum(entered: &Entered) -> u64 {
        entered.0.values().map(|one| one.bytes).sum()
    }

    #[test]
    fn whatever_is_deferred_merged_or_told_again_nothing_is_lost_and_nothing_counts_twice() {
        let center = Center::new("127.0.0.1:1".parse().unwrap());
        let push = |bytes| {
            center.push(
                Second::new(),
                Rows::default(),
                States::default(),
                entered(bytes),
            )
        };
        let (mut came, mut acknowledged, mut number) = (0, 0, 0);
        for bytes in 1..=40 {
            push(bytes);
            came += 3 * bytes;
            number += 1;
            let second = center.entered(number);
            // Every third has room for one of two prefixes.
            let mut told = sum(&second);
            if bytes % 3 == 0 {
                let (key, counted) = second.0.into_iter().next_back().unwrap();
                told -= counted.bytes;
                center.defer(number, vec![(key, counted)]);
            }
            // Some are acknowledged, and some long after.
            if bytes % 4 == 0 || (20..35).contains(&bytes) {
                continue;
            }
            let untold: u64 = (1..number).map(|at| sum(&center.entered(at))).sum();
            acknowledged += untold + told;
            center.acknowledge(number);
        }
        push(0);
        let rest: u64 = (1..=number + 1).map(|at| sum(&center.entered(at))).sum();
        assert_eq!(acknowledged + rest, came);
    }
}
