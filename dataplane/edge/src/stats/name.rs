//! Counters of one name.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use dmsc_wire::NameBuf;

use super::{Class, Direction, Histogram, Protocol};

/// What is counted of one name in one direction.
#[derive(Debug)]
pub struct NameStats {
    /// Which way.
    pub direction: Direction,
    /// The name that was called, or the prefix that is served; `None`: all that there was no room for.
    pub name: Option<NameBuf>,
    calls: [[AtomicU64; Class::ALL.len()]; Protocol::ALL.len()],
    in_flight: AtomicU64,
    failed: AtomicU64,
    /// Until the last byte.
    pub seconds: Histogram,
}

impl NameStats {
    pub(super) fn new(direction: Direction, name: Option<NameBuf>) -> Self {
        Self {
            direction,
            name,
            calls: Default::default(),
            in_flight: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            seconds: Histogram::default(),
        }
    }

    /// A call begins.
    pub fn begin(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// A call that began is over.
    pub fn end(&self, protocol: Protocol, class: Class, duration: Duration) {
        self.in_flight.fetch_sub(1, Relaxed);
        self.calls[protocol as usize][class as usize].fetch_add(1, Relaxed);
        if matches!(class, Class::ServerError | Class::Broken) {
            self.failed.fetch_add(1, Relaxed);
        }
        self.seconds.add(duration);
    }

    /// Calls that are over.
    #[must_use]
    pub fn calls(&self, protocol: Protocol, class: Class) -> u64 {
        self.calls[protocol as usize][class as usize].load(Relaxed)
    }

    /// Calls that are over, of all kinds.
    #[must_use]
    pub fn all_calls(&self) -> u64 {
        let classes = self.calls.iter().flatten();
        classes.map(|count| count.load(Relaxed)).sum()
    }

    /// Of those, the ones that failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// Calls that are not over.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Relaxed)
    }
}
