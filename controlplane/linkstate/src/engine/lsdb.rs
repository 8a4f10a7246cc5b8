//! The link-state database: accepted objects, their digests and their ends.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use dmsc_wire::NodeId;
use sha2::{Digest as _, Sha256};

use crate::message::{BUCKETS, Digest};
use crate::object::{Key, Kind, Object, Sequence};

/// How long a purge is remembered, so that old versions do not come back.
pub const PURGE_TIME: Duration = Duration::from_secs(60);

/// An accepted object.
#[derive(Debug, Clone)]
pub struct Stored {
    /// As it was received.
    pub object: Object,
    /// When it was accepted.
    pub since: Duration,
    /// When it is forgotten.
    pub until: Duration,
}

impl Stored {
    /// Seconds it has spent on the way by now; rounded up, so that an object never lives longer by being passed on.
    pub fn age_s(&self, now: Duration) -> u32 {
        let here = now.saturating_sub(self.since);
        let seconds = here.as_secs() + u64::from(here.subsec_nanos() != 0);
        self.object
            .age_s
            .saturating_add(u32::try_from(seconds).unwrap_or(u32::MAX))
    }
}

/// What the objects of one originator take.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Objects.
    pub objects: usize,
    /// Bytes of bodies and certificates.
    pub bytes: usize,
}

/// Bytes that an object takes besides its fixed fields.
pub fn bytes_of(object: &Object) -> usize {
    object.body.len() + object.certificate.len()
}

/// Accepted objects of all kinds, purges too.
#[derive(Debug, Default)]
pub struct Lsdb {
    objects: BTreeMap<Key, Stored>,
    by_bucket: BTreeSet<(u8, Key)>,
    by_end: BTreeSet<(Duration, Key)>,
    of_origin: BTreeMap<NodeId, Size>,
    bytes: usize,
    digest: Digest,
}

fn hash(key: Key, sequence: Option<Sequence>) -> u64 {
    let mut hash = Sha256::new();
    hash.update([key.kind.0]);
    hash.update(key.origin.0.to_be_bytes());
    hash.update(key.id.to_be_bytes());
    if let Some(sequence) = sequence {
        hash.update(sequence.0.to_be_bytes());
    }
    first_8_bytes(&hash.finalize())
}

fn first_8_bytes(hash: &[u8]) -> u64 {
    hash.first_chunk()
        .map_or(0, |first| u64::from_be_bytes(*first))
}

/// The id of an object that stands for its body: first 8 bytes of SHA-256 over it.
pub fn body_id(body: &[u8]) -> u64 {
    first_8_bytes(&Sha256::digest(body))
}

/// The bucket of a key: the low bits of the first 8 bytes of SHA-256 over (kind, origin, id), big endian.
pub fn bucket_of(key: Key) -> u8 {
    u8::try_from(hash(key, None) % BUCKETS as u64).unwrap_or(0)
}

impl Lsdb {
    /// The object, or its purge.
    pub fn get(&self, key: Key) -> Option<&Stored> {
        self.objects.get(&key)
    }

    /// The object, unless it is purged.
    pub fn live(&self, key: Key) -> Option<&Stored> {
        self.get(key).filter(|stored| !stored.object.is_purge())
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

    /// Keys in one bucket of the digest, purged ones too.
    pub fn in_bucket(&self, bucket: u8) -> impl Iterator<Item = (Key, &Stored)> {
        let first = Key {
            kind: Kind(0),
            origin: NodeId(0),
            id: 0,
        };
        self.by_bucket
            .range((bucket, first)..)
            .take_while(move |(at, _)| *at == bucket)
            .filter_map(|(_, key)| Some((*key, self.objects.get(key)?)))
    }

    /// Number of all.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Bytes of all.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What those of one originator take.
    pub fn size_of(&self, origin: NodeId) -> Size {
        self.of_origin.get(&origin).copied().unwrap_or_default()
    }

    /// Of all objects that are not purged (purges are forgotten at other times by each node, and would show as differences).
    pub fn digest(&self) -> Digest {
        self.digest
    }

    fn toggle(&mut self, object: &Object, bucket: u8, add: bool) {
        if object.is_purge() {
            return;
        }
        if let Some(sum) = self.digest.buckets.get_mut(usize::from(bucket)) {
            *sum ^= hash(object.key, Some(object.sequence));
        }
        self.digest.count = if add {
            self.digest.count.saturating_add(1)
        } else {
            self.digest.count.saturating_sub(1)
        };
    }

    /// Puts an object in the place of its earlier version, which is returned.
    pub fn insert(&mut self, object: Object, now: Duration) -> Option<Stored> {
        let key = object.key;
        let old = self.remove(key);
        let bucket = bucket_of(key);
        let mut left =
            Duration::from_secs(u64::from(object.lifetime_s.saturating_sub(object.age_s)));
        if object.is_purge() {
            left =
                left.min(PURGE_TIME.saturating_sub(Duration::from_secs(u64::from(object.age_s))));
        }
        let until = now + left;
        self.toggle(&object, bucket, true);
        self.by_bucket.insert((bucket, key));
        self.by_end.insert((until, key));
        let size = self.of_origin.entry(key.origin).or_default();
        size.objects += 1;
        size.bytes += bytes_of(&object);
        self.bytes += bytes_of(&object);
        self.objects.insert(
            key,
            Stored {
                object,
                since: now,
                until,
            },
        );
        old
    }

    /// Removes an object without a trace.
    pub fn remove(&mut self, key: Key) -> Option<Stored> {
        let old = self.objects.remove(&key)?;
        let bucket = bucket_of(key);
        self.toggle(&old.object, bucket, false);
        self.by_bucket.remove(&(bucket, key));
        self.by_end.remove(&(old.until, key));
        self.bytes = self.bytes.saturating_sub(bytes_of(&old.object));
        if let Some(size) = self.of_origin.get_mut(&key.origin) {
            size.objects = size.objects.saturating_sub(1);
            size.bytes = size.bytes.saturating_sub(bytes_of(&old.object));
            if size.objects == 0 {
                self.of_origin.remove(&key.origin);
            }
        }
        Some(old)
    }

    /// When the next object ends.
    pub fn deadline(&self) -> Option<Duration> {
        self.by_end.first().map(|(until, _)| *until)
    }

    /// An object whose time is over.
    pub fn ended(&self, now: Duration) -> Option<Key> {
        self.by_end
            .first()
            .filter(|(until, _)| *until <= now)
            .map(|(_, key)| *key)
    }
}
