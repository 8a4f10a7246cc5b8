//! How long a program's connection has been quiet, and whether what is said on it is an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A head must be there so long after its first byte.
const HEAD: Duration = Duration::from_secs(10);
/// A connection without a call is closed after so long.
const IDLE: Duration = Duration::from_secs(60);

/// Of one connection.
#[derive(Debug)]
pub struct Pulse {
    base: Instant,
    /// Whether heads are awaited byte by byte (HTTP/1).
    heads: bool,
    calls: AtomicU32,
    in_head: AtomicBool,
    /// Whether all that was to be answered has been said, to the last byte.
    said_all: AtomicBool,
    /// Since when it is as it is, ms after `base`.
    since: AtomicU64,
}

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooQuiet {
    /// A head began, and did not end.
    Head,
    /// No call for a long time.
    Idle,
}

impl Pulse {
    /// Of a connection whose first bytes are there, or not.
    #[must_use]
    pub fn new(heads: bool) -> Arc<Self> {
        Arc::new(Self {
            base: Instant::now(),
            heads,
            calls: AtomicU32::new(0),
            in_head: AtomicBool::new(heads),
            said_all: AtomicBool::new(true),
            since: AtomicU64::new(0),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn heard(&self) {
        if self.heads && self.calls.load(Relaxed) == 0 && !self.in_head.swap(true, Relaxed) {
            self.since.store(self.now(), Relaxed);
        }
    }

    /// A call goes on until the guard is dropped.
    #[must_use]
    pub fn call(self: &Arc<Self>) -> Call {
        self.calls.fetch_add(1, Relaxed);
        self.in_head.store(false, Relaxed);
        self.said_all.store(false, Relaxed);
        Call(Arc::clone(self))
    }

    /// All that was written has left. An answer's head is written in the same step in which its call may end: nothing is left of it here.
    pub(super) fn flushed(&self) {
        if self.calls.load(Relaxed) == 0 {
            self.said_all.store(true, Relaxed);
        }
    }

    /// Whether what is said now cannot be an answer to a call.
    pub(super) fn has_said_all(&self) -> bool {
        self.said_all.load(Relaxed)
    }

    /// Whether no call goes on.
    pub(super) fn is_quiet(&self) -> bool {
        self.calls.load(Relaxed) == 0
    }

    /// Why it is to be closed now, or when to look again.
    ///
    /// # Errors
    /// It has been quiet for too long.
    pub fn check(&self) -> Result<Instant, TooQuiet> {
        let now = Instant::now();
        if self.calls.load(Relaxed) > 0 {
            return Ok(now + HEAD);
        }
        let since = self.base + Duration::from_millis(self.since.load(Relaxed));
        let (why, limit) = if self.in_head.load(Relaxed) {
            (TooQuiet::Head, HEAD)
        } else {
            (TooQuiet::Idle, IDLE)
        };
        // A head may begin at any time.
        let look = now + HEAD;
        match since + limit {
            end if end <= now => Err(why),
            end => Ok(end.min(look)),
        }
    }
}

/// A call of a connection.
#[derive(Debug)]
pub struct Call(Arc<Pulse>);

impl Drop for Call {
    fn drop(&mut self) {
        if self.0.calls.fetch_sub(1, Relaxed) == 1 {
            self.0.since.store(self.0.now(), Relaxed);
            self.0.in_head.store(false, Relaxed);
        }
    }
}
