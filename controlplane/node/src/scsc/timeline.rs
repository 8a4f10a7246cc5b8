//! What changed and why, as people read it: the last decisions, those of before the last start too.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use dmsc_scsc::store::Store;

/// Decisions that are known.
pub const KEPT: usize = 1_000;

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// Wall clock.
    pub at_ms: u64,
    /// Group, gateway, why, shares.
    pub text: String,
}

/// The last [`KEPT`] decisions, oldest first.
#[derive(Debug, Default)]
pub struct Timeline(Mutex<VecDeque<Moment>>);

impl Timeline {
    /// Those of before.
    #[must_use]
    pub fn load(store: &Store) -> Self {
        let all = store.decisions(0, u64::MAX);
        let skip = all.len().saturating_sub(KEPT);
        let all = all.into_iter().skip(skip);
        Self(Mutex::new(
            all.map(|(at_ms, text)| Moment { at_ms, text }).collect(),
        ))
    }

    /// One more.
    pub fn add(&self, at_ms: u64, text: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= KEPT {
            all.pop_front();
        }
        let text = text.to_owned();
        all.push_back(Moment { at_ms, text });
    }

    /// The last `limit`, the latest last.
    #[must_use]
    pub fn latest(&self, limit: usize) -> Vec<Moment> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let skip = all.len().saturating_sub(limit);
        all.iter().skip(skip).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_known_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let all = 0..KEPT as u64 + 5;
        store.record(all.map(|at| (at, "moved"))).unwrap();
        let timeline = Timeline::load(&store);
        timeline.add(9_999, "back");
        assert_eq!(timeline.latest(usize::MAX).len(), KEPT);
        let last = timeline.latest(2);
        assert_eq!((last[0].at_ms, last[1].text.as_str()), (1_004, "back"));
    }
}
