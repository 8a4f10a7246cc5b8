//! How long calls took, in buckets.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the histogram of durations, µs; one more bucket is for what is longer.
pub const BOUNDS_US: [u64; 14] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    5_000_000, 15_000_000,
];

/// How long calls took.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    pub(super) fn add(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }

    /// Calls per bucket (not cumulative), the last one for what is longer than all bounds; and all durations together, µs.
    #[must_use]
    pub fn read(&self) -> ([u64; BOUNDS_US.len() + 1], u64) {
        let buckets = std::array::from_fn(|at| self.buckets[at].load(Relaxed));
        (buckets, self.sum_us.load(Relaxed))
    }
}
