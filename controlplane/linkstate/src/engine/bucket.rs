//! A token bucket, so that no neighbour decides how much this node works.

use std::time::Duration;

/// What a new object costs.
pub const NEW: u64 = 10;
/// What is only looked up costs.
pub const KNOWN: u64 = 1;

/// Fills with a rate, up to ten seconds' worth.
#[derive(Debug)]
pub struct Bucket {
    per_second: u64,
    burst: u64,
    tokens: u64,
    at: Duration,
}

impl Bucket {
    /// A full one, for `objects` new objects per second.
    pub fn new(objects: u32, now: Duration) -> Self {
        let per_second = u64::from(objects.max(1)) * NEW;
        let burst = per_second * 10;
        Self {
            per_second,
            burst,
            tokens: burst,
            at: now,
        }
    }

    /// Whether `cost` may be spent; it is then.
    pub fn take(&mut self, cost: u64, now: Duration) -> bool {
        let passed = now.saturating_sub(self.at).as_micros();
        let filled = passed.saturating_mul(u128::from(self.per_second)) / 1_000_000;
        if filled > 0 {
            let filled = u64::try_from(filled).unwrap_or(u64::MAX);
            self.tokens = self.tokens.saturating_add(filled).min(self.burst);
            self.at = now;
        }
        match self.tokens.checked_sub(cost) {
            Some(rest) => {
                self.tokens = rest;
                true
            }
            None => false,
        }
    }
}
