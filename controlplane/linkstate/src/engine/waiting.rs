//! Prefix objects that no authorisation covers yet: kept for a while, neither flooded nor used.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use dmsc_wire::NodeId;

use super::lsdb::{Stored, bytes_of};
use crate::object::{Key, Kind, Object};

/// Most of one originator.
pub const PER_ORIGIN: usize = 256;
/// Most of all.
pub const IN_ALL: usize = 10_000;
/// Most bytes of all.
pub const BYTES: usize = 64 << 20;
/// Then they are forgotten; the digest exchange brings them again.
pub const WAIT: Duration = Duration::from_secs(60);

/// Verified objects that wait.
#[derive(Debug, Default)]
pub struct Waiting {
    objects: BTreeMap<Key, Stored>,
    by_end: BTreeSet<(Duration, Key)>,
    bytes: usize,
}

impl Waiting {
    /// Keeps an object in place of an earlier version of it, if there is room.
    pub fn insert(&mut self, object: Object, now: Duration) -> bool {
        let key = object.key;
        self.remove(key);
        let full = self.objects.len() >= IN_ALL || self.bytes + bytes_of(&object) > BYTES;
        if full || self.of(key.origin).count() >= PER_ORIGIN {
            return false;
        }
        let until = now + WAIT;
        self.bytes += bytes_of(&object);
        self.by_end.insert((until, key));
        self.objects.insert(
            key,
            Stored {
                object,
                prefixes: 0,
                since: now,
                aged_at: now,
                until,
            },
        );
        true
    }

    /// The waiting version.
    pub fn get(&self, key: Key) -> Option<&Stored> {
        self.objects.get(&key)
    }

    /// Takes it out.
    pub fn remove(&mut self, key: Key) -> Option<Stored> {
        let old = self.objects.remove(&key)?;
        self.bytes = self.bytes.saturating_sub(bytes_of(&old.object));
        self.by_end.remove(&(old.until, key));
        Some(old)
    }

    /// Keys of those of one originator.
    pub fn of(&self, origin: NodeId) -> impl Iterator<Item = Key> {
        let from = Key {
            kind: Kind::PREFIX,
            origin,
            id: 0,
        };
        let to = Key {
            id: u64::MAX,
            ..from
        };
        self.objects.range(from..=to).map(|(key, _)| *key)
    }

    /// All, by key.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &Stored)> {
        self.iter_from(None)
    }

    /// From a key on, by key.
    pub fn iter_from(&self, from: Option<Key>) -> impl Iterator<Item = (Key, &Stored)> {
        let from = from.map_or(Bound::Unbounded, Bound::Included);
        self.objects
            .range((from, Bound::Unbounded))
            .map(|(key, stored)| (*key, stored))
    }

    /// Number of all.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// When the next one is forgotten.
    pub fn deadline(&self) -> Option<Duration> {
        self.by_end.first().map(|(until, _)| *until)
    }

    /// Forgets those whose time is over.
    pub fn expire(&mut self, now: Duration) {
        while let Some(&(until, key)) = self.by_end.first() {
            if until > now {
                return;
            }
            self.remove(key);
        }
    }
}
