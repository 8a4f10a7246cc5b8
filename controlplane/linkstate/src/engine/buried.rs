//! Versions that are over but not forgotten: until what they took the place of is over too, nobody brings that back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use dmsc_wire::NodeId;

use super::Engine;
use super::lifetime::AHEAD;
use super::lsdb::Stored;
use crate::object::{Key, Version};

/// The last version of each object, with or without a purge in it.
#[derive(Debug, Default)]
pub struct Buried {
    last: BTreeMap<Key, Stored>,
    by_end: BTreeSet<(Duration, Key)>,
    of_origin: BTreeMap<NodeId, BTreeSet<(Duration, Key)>>,
}

impl Buried {
    /// Remembers a version until what it replaced is over (`Stored::shadow`). Of what is too much, for its originator or for all, that goes which ends first.
    pub fn insert(&mut self, mut stored: Stored, of_origin: usize, in_all: usize) {
        let key = stored.object.key;
        self.remove(key);
        if !stored.object.is_purge() {
            stored.object.body = Bytes::new(); // over, so it is never sent
        }
        let end = (stored.shadow, key);
        self.by_end.insert(end);
        self.of_origin.entry(key.origin).or_default().insert(end);
        self.last.insert(key, stored);
        let its = self.of_origin.get(&key.origin);
        if let Some(its) = its.filter(|its| its.len() > of_origin.max(1))
            && let Some((_, first)) = its.first().copied()
        {
            self.remove(first);
        }
        if self.by_end.len() > in_all.max(1)
            && let Some((_, first)) = self.by_end.first().copied()
        {
            self.remove(first);
        }
    }

    /// What is remembered of an object.
    pub fn get(&self, key: Key) -> Option<&Stored> {
        self.last.get(&key)
    }

    /// Its last version.
    pub fn version(&self, key: Key) -> Option<Version> {
        self.get(key).map(|stored| stored.object.version())
    }

    /// Number of all.
    pub fn len(&self) -> usize {
        self.last.len()
    }

    /// Forgets an object.
    pub fn remove(&mut self, key: Key) -> Option<Stored> {
        let old = self.last.remove(&key)?;
        let end = (old.shadow, key);
        self.by_end.remove(&end);
        if let Some(its) = self.of_origin.get_mut(&key.origin) {
            its.remove(&end);
            if its.is_empty() {
                self.of_origin.remove(&key.origin);
            }
        }
        Some(old)
    }

    /// Forgets objects, by key and the certificate of what is remembered.
    pub fn forget_where(&mut self, mut forget: impl FnMut(Key, &[u8]) -> bool) {
        let gone: Vec<Key> = self
            .last
            .iter()
            .filter(|(key, stored)| forget(**key, &stored.object.certificate))
            .map(|(key, _)| *key)
            .collect();
        for key in gone {
            self.remove(key);
        }
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

impl Engine {
    /// The present version of an object, in the place of `old`, is remembered no longer than anybody takes what is older: until that is over by what
    /// its originator signed, by whatever clock. Of versions that never came here, a purge shows when they end: none was signed after it.
    pub(super) fn bound_shadow(&mut self, key: Key, old: Option<&Stored>) {
        if self.clock.is_frozen() {
            return; // nobody knows what time it is, so anything younger by its age is taken
        }
        let now = self.now;
        let end = |stored: &Stored| {
            let lifetime = Duration::from_secs(u64::from(stored.object.lifetime_s));
            let end = Duration::from_millis(stored.object.originated_at_ms) + lifetime + AHEAD;
            now.mono + end.saturating_sub(now.wall)
        };
        let purge = self.lsdb.get(key).filter(|stored| stored.object.is_purge());
        let before = old.map(|old| old.shadow);
        let ends = [old.map(end), before, purge.map(end)];
        let until = ends.into_iter().flatten().max();
        self.lsdb.shadow_by(key, until.unwrap_or(now.mono));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{FLAG_PURGE, Kind, Object, Sequence};

    fn stored(origin: u32, id: u64, shadow: u64) -> Stored {
        let object = Object {
            key: Key {
                kind: Kind::PREFIX,
                origin: NodeId(origin),
                id,
            },
            flags: FLAG_PURGE,
            sequence: Sequence(1),
            lifetime_s: 60,
            area: 0,
            originated_at_ms: 0,
            body: Bytes::new(),
            signature: [0; 64],
            certificate: Bytes::new(),
            age_s: 0,
        };
        Stored {
            object,
            prefixes: 0,
            since: Duration::ZERO,
            aged_at: Duration::ZERO,
            until: Duration::ZERO,
            shadow: Duration::from_secs(shadow),
        }
    }

    #[test]
    fn it_is_bounded_for_each_originator_and_for_all() {
        let mut buried = Buried::default();
        for id in 0..1_000 {
            buried.insert(stored(1, id, 10_000 - id), 10, 25);
        }
        assert_eq!(buried.last.len(), 10);
        assert!(buried.version(stored(1, 0, 0).object.key).is_some());
        for origin in 2..10 {
            for id in 0..10 {
                buried.insert(stored(origin, id, 100 + u64::from(origin)), 10, 25);
            }
        }
        assert_eq!(buried.last.len(), 25);
        assert_eq!(buried.by_end.len(), 25);
        buried.expire(Duration::from_secs(100_000));
        assert!(buried.last.is_empty() && buried.of_origin.is_empty());
    }
}
