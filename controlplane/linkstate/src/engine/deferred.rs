//! Verified versions that came sooner after the one before than `min_arrival`: the newest is taken when the time has come.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dmsc_wire::NodeId;

use crate::event::SessionId;
use crate::object::{Key, Object};

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

    /// Keeps a version that is newer than the one kept.
    pub fn insert(
        &mut self,
        object: Object,
        session: SessionId,
        received: Duration,
        due: Duration,
    ) {
        let key = object.key;
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
    }

    /// Drops those of an originator.
    pub fn remove_origin(&mut self, origin: NodeId) {
        self.objects.retain(|key, _| key.origin != origin);
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
        self.objects.remove(&key)
    }
}
