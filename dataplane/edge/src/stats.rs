//! What a pod's thread counts, and metrics and the operator's API read. Only atomics are touched per call.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dmsc_quic::Connection;
use dmsc_wire::NameBuf;

/// Names of one pod that are counted apart; further ones are counted together.
pub const MAX_NAMES: usize = 4_096;

/// Which way a call goes, seen from the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From a program of the pod.
    Out,
    /// To a program of the pod.
    In,
}

impl Direction {
    /// The word of logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::In => "in",
        }
    }
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Protocol {
    Http1,
    Http2,
    Grpc,
    WebSocket,
    Tcp,
}

impl Protocol {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 5] = [
        Self::Http1,
        Self::Http2,
        Self::Grpc,
        Self::WebSocket,
        Self::Tcp,
    ];

    /// The word of logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "h1",
            Self::Http2 => "h2",
            Self::Grpc => "grpc",
            Self::WebSocket => "ws",
            Self::Tcp => "tcp",
        }
    }
}

/// How a call ended: the class of its status code, or of what stands for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Class {
    Informational,
    /// 2xx; gRPC OK; a TCP connection that ended in order.
    Success,
    Redirection,
    ClientError,
    /// 5xx; any other gRPC status; a TCP connection that was reset.
    ServerError,
    /// It has no status: the caller left, or the answer broke off.
    Broken,
}

impl Class {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 6] = [
        Self::Informational,
        Self::Success,
        Self::Redirection,
        Self::ClientError,
        Self::ServerError,
        Self::Broken,
    ];

    /// The word of metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::Broken => "broken",
        }
    }

    /// Of a status of HTTP.
    #[must_use]
    pub const fn of_status(status: u16) -> Self {
        match status {
            100..=199 => Self::Informational,
            200..=299 => Self::Success,
            300..=399 => Self::Redirection,
            400..=499 => Self::ClientError,
            _ => Self::ServerError,
        }
    }
}

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
    fn add(&self, duration: Duration) {
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
    fn new(direction: Direction, name: Option<NameBuf>) -> Self {
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

/// Connections of programs that are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionKind {
    /// Of a caller to the HTTP listener, or to a redirected address, speaking HTTP.
    Http,
    /// Of a caller, speaking something else.
    Tcp,
    /// To a program that serves.
    Served,
}

impl ConnectionKind {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 3] = [Self::Http, Self::Tcp, Self::Served];

    /// The word of metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Served => "served",
        }
    }
}

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

type Names = HashMap<(Direction, NameBuf), Arc<NameStats>>;

/// Everything counted for one pod.
#[derive(Debug)]
pub struct Stats {
    /// Its identity.
    pub pod: String,
    names: Mutex<Names>,
    /// Of names beyond [`MAX_NAMES`], and of calls without a name: out, in.
    others: [Arc<NameStats>; 2],
    errors: Mutex<HashMap<&'static str, u64>>,
    open: [AtomicU64; ConnectionKind::ALL.len()],
    quic: Mutex<Vec<Arc<QuicConnection>>>,
}

impl Stats {
    /// Of a pod.
    #[must_use]
    pub fn new(pod: &str) -> Self {
        let other = |direction| Arc::new(NameStats::new(direction, None));
        Self {
            pod: pod.to_owned(),
            names: Mutex::default(),
            others: [other(Direction::Out), other(Direction::In)],
            errors: Mutex::default(),
            open: Default::default(),
            quic: Mutex::default(),
        }
    }

    /// The counters of a name; those of all others together when there is no room, or no name.
    #[must_use]
    pub fn of(&self, direction: Direction, name: Option<&NameBuf>) -> Arc<NameStats> {
        let other = || Arc::clone(&self.others[direction as usize]);
        let Some(name) = name else { return other() };
        let mut names = lock(&self.names);
        let room = names.len() < MAX_NAMES;
        match names.entry((direction, name.clone())) {
            std::collections::hash_map::Entry::Occupied(found) => Arc::clone(found.get()),
            std::collections::hash_map::Entry::Vacant(place) if room => {
                let new = Arc::new(NameStats::new(direction, Some(name.clone())));
                Arc::clone(place.insert(new))
            }
            std::collections::hash_map::Entry::Vacant(_) => other(),
        }
    }

    /// All names, and the two that stand for the others if they counted anything.
    #[must_use]
    pub fn names(&self) -> Vec<Arc<NameStats>> {
        let mut all: Vec<_> = lock(&self.names).values().cloned().collect();
        let used = |one: &&Arc<NameStats>| one.all_calls() + one.in_flight() > 0;
        all.extend(self.others.iter().filter(used).cloned());
        all
    }

    /// Calls of all names that are not over.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        let names = lock(&self.names);
        let all = names.values().chain(&self.others);
        all.map(|one| one.in_flight()).sum()
    }

    /// Counts a failure by its word.
    pub fn error(&self, reason: &'static str) {
        *lock(&self.errors).entry(reason).or_default() += 1;
    }

    /// Failures by their word.
    #[must_use]
    pub fn errors(&self) -> Vec<(&'static str, u64)> {
        let mut all: Vec<_> = lock(&self.errors)
            .iter()
            .map(|(reason, count)| (*reason, *count))
            .collect();
        all.sort_unstable();
        all
    }

    /// A program's connection is open until the guard is dropped.
    #[must_use]
    pub fn opened(self: &Arc<Self>, kind: ConnectionKind) -> Opened {
        self.open[kind as usize].fetch_add(1, Relaxed);
        Opened {
            stats: Arc::clone(self),
            kind,
        }
    }

    /// Programs' connections that are open.
    #[must_use]
    pub fn open(&self, kind: ConnectionKind) -> u64 {
        self.open[kind as usize].load(Relaxed)
    }

    /// Notes a QUIC connection until it is over. Must be called in the pod's runtime.
    #[must_use]
    pub fn quic(
        self: &Arc<Self>,
        direction: Direction,
        connection: Connection,
    ) -> Arc<QuicConnection> {
        let noted = Arc::new(QuicConnection {
            direction,
            connection,
            since: Instant::now(),
            streams: AtomicU64::new(0),
            used: AtomicU64::new(0),
        });
        lock(&self.quic).push(Arc::clone(&noted));
        let (stats, watched) = (Arc::clone(self), Arc::clone(&noted));
        tokio::spawn(async move {
            watched.connection.closed().await;
            lock(&stats.quic).retain(|one| !Arc::ptr_eq(one, &watched));
        });
        noted
    }

    /// Whether any other pod is connected to call this one.
    #[must_use]
    pub fn is_called(&self) -> bool {
        let all = lock(&self.quic);
        all.iter().any(|one| one.direction == Direction::In)
    }

    /// QUIC connections that are not over.
    #[must_use]
    pub fn quic_connections(&self) -> Vec<Arc<QuicConnection>> {
        lock(&self.quic).clone()
    }
}

/// Counts a program's connection while it lives.
#[derive(Debug)]
pub struct Opened {
    stats: Arc<Stats>,
    kind: ConnectionKind,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.stats.open[self.kind as usize].fetch_sub(1, Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_calls_end_in_one_counter() {
        let stats = Stats::new("pod1/a");
        for number in 0..MAX_NAMES + 10 {
            let name = NameBuf::parse(&format!("/shop/{number}")).unwrap();
            let counters = stats.of(Direction::Out, Some(&name));
            counters.begin();
            counters.end(
                Protocol::Http1,
                Class::of_status(200),
                Duration::from_micros(250),
            );
        }
        let names = stats.names();
        assert_eq!(names.len(), MAX_NAMES + 1);
        let other = names.iter().find(|one| one.name.is_none()).unwrap();
        assert_eq!(other.calls(Protocol::Http1, Class::Success), 10);
        assert_eq!(
            (other.all_calls(), other.failed(), other.in_flight()),
            (10, 0, 0)
        );
        let (buckets, sum) = other.seconds.read();
        assert_eq!((buckets[0], sum), (10, 2_500));
        other.begin();
        other.end(Protocol::Grpc, Class::Broken, Duration::from_secs(60));
        assert_eq!(other.seconds.read().0[BOUNDS_US.len()], 1);
        assert_eq!(other.failed(), 1);
    }
}
