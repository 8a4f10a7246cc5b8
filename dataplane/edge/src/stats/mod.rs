//! What a pod's thread counts, and metrics and the operator's API read. Only atomics are touched per call.

mod histogram;
mod label;
mod name;
mod quic;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use dmsc_quic::Connection;
use dmsc_wire::NameBuf;

pub use histogram::{BOUNDS_US, Histogram};
pub use label::{Class, ConnectionKind, Direction, Protocol};
pub use name::NameStats;
pub use quic::{OpenStream, QuicConnection};

/// Names of one pod that are counted apart; further ones are counted together.
pub const MAX_NAMES: usize = 4_096;

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
        let noted = QuicConnection::new(direction, connection);
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
    use std::time::Duration;

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
