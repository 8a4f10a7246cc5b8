//! What the engine keeps of one stream to a neighbour: sets of keys, never objects.

use std::collections::BTreeSet;
use std::time::Duration;

use dmsc_wire::NodeId;

use super::bucket::Bucket;
use super::own::ADJACENCY_ID;
use super::pace::Exchange;
use super::receive::Refusal;
use crate::event::AdjacencyId;
use crate::object::{Key, Kind};

/// Most keys that are asked for at a time.
pub const MOST_WANTED: usize = 20_000;
/// So many intervals digests are put off because of objects that are on their way.
pub const PATIENCE: u32 = 3;
/// What the other end is about to send anyway is not asked for.
pub const ASK_AFTER: Duration = Duration::from_millis(50);

/// What a neighbour may cost. It belongs to the adjacency: a new stream over it does not renew it.
#[derive(Debug)]
pub struct Pace {
    /// How much it may send.
    pub bucket: Bucket,
    /// Pace of summaries.
    pub exchange: Exchange,
}

impl Pace {
    /// Nothing was spent yet.
    pub fn new(objects_per_second: u32, interval: Duration, now: Duration) -> Self {
        Self {
            bucket: Bucket::new(objects_per_second, now),
            exchange: Exchange::new(interval),
        }
    }
}

/// In which order objects are sent: what carries traffic, then what admits prefixes, then these.
fn rank(key: Key) -> u8 {
    match key.kind {
        Kind::ADJACENCY if key.id == ADJACENCY_ID => 0, // others say nothing that is used
        Kind::ROOT_REVOCATION | Kind::REVOCATION => 1,
        Kind::AUTHORISATION => 2,
        Kind::PREFIX => 3,
        _ => 4,
    }
}

/// That of a purge: one of an authorisation comes after the objects of prefixes that it covered, or these would have to wait for another one.
fn purge_rank(key: Key) -> u8 {
    match key.kind {
        Kind::AUTHORISATION => 5,
        _ => rank(key),
    }
}

/// A set of keys in the order in which objects are sent.
#[derive(Debug, Default)]
pub struct SendSet(BTreeSet<(u8, Key)>);

impl SendSet {
    /// Adds a key.
    pub fn insert(&mut self, key: Key) {
        self.insert_version(key, false);
    }

    /// Adds a key of which a purge, or another version, is to be sent.
    pub fn insert_version(&mut self, key: Key, purge: bool) {
        let (now, before) = (rank(key), purge_rank(key));
        let (now, before) = if purge { (before, now) } else { (now, before) };
        if now != before {
            self.0.remove(&(before, key));
        }
        self.0.insert((now, key));
    }

    /// Removes a key.
    pub fn remove(&mut self, key: Key) {
        self.0.remove(&(rank(key), key));
        self.0.remove(&(purge_rank(key), key));
    }

    /// The first key; it is no longer in it.
    pub fn pop(&mut self) -> Option<Key> {
        self.0.pop_first().map(|(_, key)| key)
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One stream.
#[derive(Debug)]
pub struct Session {
    /// Over which adjacency.
    pub link: AdjacencyId,
    /// With whom.
    pub peer: NodeId,
    /// What it lacks.
    pub send: SendSet,
    /// What this node lacks.
    pub wanted: SendSet,
    /// When to ask for it.
    pub ask_at: Option<Duration>,
    /// Buckets whose headers are to be sent.
    pub summary: u64,
    /// A bucket of which a part was sent, and where the rest begins.
    pub rest: Option<(u8, Key)>,
    /// A digest is to be sent.
    pub digest: bool,
    /// Then it goes before objects, however many there are.
    pub digest_by: Duration,
    /// When the next one is due.
    pub digest_at: Duration,
    /// The caller knows that there is something to send.
    pub woken: bool,
    /// The last message came then.
    pub heard_at: Duration,
    /// It is to be closed, and heard no more.
    pub closing: bool,
    /// Digests were equal at the last exchange.
    pub synced: bool,
    /// They were at least once.
    pub synced_once: bool,
    /// They were at least once while the other end was not restoring.
    pub synced_whole: bool,
    /// Objects refused.
    pub refused: u64,
    /// Why the last one was.
    pub last_refusal: Option<Refusal>,
    /// Objects accepted.
    pub accepted: u64,
}

impl Session {
    /// A new one: says its digest first.
    pub fn new(link: AdjacencyId, peer: NodeId, interval: Duration, now: Duration) -> Self {
        Self {
            link,
            peer,
            send: SendSet::default(),
            wanted: SendSet::default(),
            ask_at: None,
            summary: 0,
            rest: None,
            digest: true,
            digest_by: now + interval * PATIENCE,
            digest_at: now + interval,
            woken: false,
            heard_at: now,
            closing: false,
            synced: false,
            synced_once: false,
            synced_whole: false,
            refused: 0,
            last_refusal: None,
            accepted: 0,
        }
    }

    /// Whether there is something to say.
    pub fn has_message(&self, now: Duration) -> bool {
        !self.closing
            && (!self.send.is_empty()
                || self.digest
                || self.summary != 0
                || self.rest.is_some()
                || self
                    .ask_at
                    .is_some_and(|at| at <= now && !self.wanted.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_authorisation_covered_goes_before_its_purge() {
        let key = |kind, id| Key {
            kind,
            origin: NodeId(1),
            id,
        };
        let mut send = SendSet::default();
        send.insert_version(key(Kind::AUTHORISATION, 1), true);
        send.insert_version(key(Kind::PREFIX, 1), true);
        send.insert_version(key(Kind::AUTHORISATION, 2), false);
        send.insert_version(key(Kind::AUTHORISATION, 3), false);
        send.insert_version(key(Kind::AUTHORISATION, 3), true);
        send.insert_version(key(Kind::AUTHORISATION, 4), true);
        send.remove(key(Kind::AUTHORISATION, 4));
        let order: Vec<(u8, u64)> = std::iter::from_fn(|| send.pop())
            .map(|key| (key.kind.0, key.id))
            .collect();
        assert_eq!(order, [(3, 2), (2, 1), (3, 1), (3, 3)]);
    }

    #[test]
    fn only_the_adjacency_object_that_counts_goes_first() {
        let mut send = SendSet::default();
        for (kind, id) in [(1, 2), (2, 1), (1, 1), (200, 0)] {
            send.insert(Key {
                kind: Kind(kind),
                origin: NodeId(1),
                id,
            });
        }
        let order: Vec<(u8, u64)> = std::iter::from_fn(|| send.pop())
            .map(|key| (key.kind.0, key.id))
            .collect();
        assert_eq!(order, [(1, 1), (2, 1), (1, 2), (200, 0)]);
    }
}
