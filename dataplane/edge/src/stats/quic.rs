//! QUIC connections of a pod, and how many streams they carry.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use dmsc_quic::Connection;

use super::Direction;

/// A QUIC connection to, or from, another pod.
#[derive(Debug)]
pub struct QuicConnection {
    /// Out: this pod calls.
    pub direction: Direction,
    /// Itself: peer, name, instance, statistics.
    pub connection: Connection,
    /// When it was made.
    pub since: Instant,
    streams: AtomicU64,
    /// When a stream began or ended last, s after `since`.
    used: AtomicU64,
}

impl QuicConnection {
    pub(super) fn new(direction: Direction, connection: Connection) -> Arc<Self> {
        Arc::new(Self {
            direction,
            connection,
            since: Instant::now(),
            streams: AtomicU64::new(0),
            used: AtomicU64::new(0),
        })
    }

    /// Streams that are open.
    #[must_use]
    pub fn streams(&self) -> u64 {
        self.streams.load(Relaxed)
    }

    /// A stream is open until the guard is dropped.
    #[must_use]
    pub fn stream(self: &Arc<Self>) -> OpenStream {
        self.streams.fetch_add(1, Relaxed);
        self.used();
        OpenStream(Arc::clone(self))
    }

    fn used(&self) {
        self.used.store(self.since.elapsed().as_secs(), Relaxed);
    }

    /// Whether there has been no stream for this long.
    #[must_use]
    pub fn is_idle(&self, duration: Duration) -> bool {
        let idle = self.since.elapsed().as_secs() - self.used.load(Relaxed);
        self.streams() == 0 && idle >= duration.as_secs()
    }
}

/// Counts a stream while it lives.
#[derive(Debug)]
pub struct OpenStream(Arc<QuicConnection>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Relaxed);
        self.0.used();
    }
}

impl std::ops::Deref for OpenStream {
    type Target = Arc<QuicConnection>;
    fn deref(&self) -> &Arc<QuicConnection> {
        &self.0
    }
}
