//! Both clocks, for an engine that has none.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dmsc_linkstate::Now;

/// Counts from its creation.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Begins now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// Now, on both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        Now {
            mono: self.start.elapsed(),
            wall: wall(),
        }
    }

    /// A moment of the engine's monotonic clock.
    #[must_use]
    pub fn at(&self, mono: Duration) -> Instant {
        self.start + mono
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// Since 1970; a clock before that is taken for 1970.
#[must_use]
pub fn wall() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Wall clock, ms since 1970.
#[must_use]
pub fn wall_ms() -> u64 {
    u64::try_from(wall().as_millis()).unwrap_or(u64::MAX)
}
