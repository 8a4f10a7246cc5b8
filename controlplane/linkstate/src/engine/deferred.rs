//! Verified versions that came sooner after the one before than `min_arrival`: the newest is taken when the time has come.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dmsc_wire::NodeId;

use super::lsdb::bytes_of;
use crate::event::SessionId;
use crate::object::{Key, Object};

/// Most bytes of all.
const BYTES: usize = 64 << 20;

/// A version that is taken later.
#[derive(Debug)]
pub struct Later {
    /// The version.
    pub object: Object,
    /// From whom.
    pub session: SessionId,
    /// When it came.
    pub received: Duration,
    due: Duration,
}

/// One version per object at most.
#[derive(Debug, Default)]
pub struct Deferred {
    objects: BTreeMap<Key, Later>,
    by_due: BTreeSet<(Duration, Key)>,
    bytes: usize,
}

impl Deferred {
    /// The version that waits.
    pub fn get(&self, key: Key) -> Option<&Later> {
        self.objects.get(&key)
    }

    /// Number of all.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Keeps a version that is newer than the one kept, if there is room; else the digest exchange brings it again.
    pub fn insert(
        &mut self,
        object: Object,
        session: SessionId,
        received: Duration,
        due: Duration,
    ) -> bool {
        let key = object.key;
        let before = self.objects.get(&key).map_or(0, |l| bytes_of(&l.object));
        let bytes = self.bytes.saturating_sub(before) + bytes_of(&object);
        if bytes > BYTES {
            return false;
        }
        self.bytes = bytes;
        // The deadline of the first one stays: a stream of versions does not put it off.
        let due = self.objects.get(&key).map_or(due, |later| later.due);
        self.by_due.insert((due, key));
        self.objects.insert(
            key,
            Later {
                object,
                session,
                received,
                due,
            },
        );
        true
    }

    /// Drops those of an originator.
    pub fn remove_origin(&mut self, origin: NodeId) {
        let bytes = &mut self.bytes;
        self.objects.retain(|key, later| {
            let stays = key.origin != origin;
            if !stays {
                *bytes = bytes.saturating_sub(bytes_of(&later.object));
            }
            stays
        });
        self.by_due.retain(|(_, key)| key.origin != origin);
    }

    /// When the next one is due.
    pub fn deadline(&self) -> Option<Duration> {
        self.by_due.first().map(|(due, _)| *due)
    }

    /// One that is due.
    pub fn take(&mut self, now: Duration) -> Option<Later> {
        let (due, key) = *self.by_due.first()?;
        if due > now {
            return None;
        }
        self.by_due.remove(&(due, key));
        let later = self.objects.remove(&key)?;
        self.bytes = self.bytes.saturating_sub(bytes_of(&later.object));
        Some(later)
    }
}
