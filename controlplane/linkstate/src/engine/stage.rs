//! How long each stage of a change took, so that convergence is measured in production.

use std::collections::VecDeque;
use std::time::Duration;

/// One observed stage of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Pod's announcement taken → object originated (own objects).
    AnnouncedOriginated,
    /// Object originated → received here (others' objects; by wall clocks of two nodes).
    OriginatedReceived,
    /// Received → verified and accepted: more than 0 where it had to wait, for `min_arrival` or an authorisation.
    ReceivedVerified,
    /// Accepted → in the RIB.
    VerifiedRouted,
    /// In the RIB → acknowledged by the dataplane.
    RoutedProgrammed,
    /// Pod's announcement taken → acknowledged by this dataplane.
    AnnouncedProgrammed,
}

/// Most times that are kept.
const MOST: usize = 10_000;
/// Most changes that wait for their acknowledgement.
const MOST_PENDING: usize = 1_000;
/// Older than this when seen here: brought by a resync, says nothing of convergence.
const FRESH_MS: u64 = 60_000;

/// A delta that was told.
#[derive(Debug)]
struct Pending {
    version: u64,
    at: Duration,
    announced_ms: Vec<u64>,
}

/// Times until they are fetched.
#[derive(Debug, Default)]
pub struct Stages {
    times: VecDeque<(Stage, u64)>,
    pending: VecDeque<Pending>,
}

impl Stages {
    /// Notes a time.
    pub fn push(&mut self, stage: Stage, time: Duration) {
        if self.times.len() >= MOST {
            self.times.pop_front();
        }
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.times.push_back((stage, us));
    }

    /// Notes the time since a wall clock, if it is recent.
    pub fn push_since(&mut self, stage: Stage, then_ms: u64, wall: Duration) {
        let then = Duration::from_millis(then_ms);
        if let Some(passed) = wall.checked_sub(then)
            && then_ms != 0
            && passed.as_millis() <= u128::from(FRESH_MS)
        {
            self.push(stage, passed);
        }
    }

    /// A delta was told.
    pub fn told(&mut self, version: u64, at: Duration, mut announced_ms: Vec<u64>) {
        if self.pending.len() >= MOST_PENDING {
            self.pending.pop_front();
        }
        announced_ms.truncate(MOST);
        self.pending.push_back(Pending {
            version,
            at,
            announced_ms,
        });
    }

    /// Deltas up to this version were acknowledged.
    pub fn programmed(&mut self, version: u64, now: Duration, wall: Duration) {
        while let Some(pending) = self.pending.front()
            && pending.version <= version
        {
            let Some(pending) = self.pending.pop_front() else {
                return;
            };
            self.push(Stage::RoutedProgrammed, now.saturating_sub(pending.at));
            for announced in pending.announced_ms {
                self.push_since(Stage::AnnouncedProgrammed, announced, wall);
            }
        }
    }

    /// What was noted since the last call.
    pub fn take(&mut self) -> Vec<(Stage, u64)> {
        std::mem::take(&mut self.times).into()
    }
}
