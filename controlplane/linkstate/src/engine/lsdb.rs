//! The link-state database: accepted objects, their digests and their ends.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use dmsc_wire::NodeId;
use sha2::{Digest as _, Sha256};

use super::lifetime::AHEAD;
use super::own::ADJACENCY_ID;
use super::room::{Share, rank};
use crate::message::{BUCKETS, Digest};
use crate::object::{Key, Kind, Object, Version};
use crate::time::Now;

/// How long a purge is told to whoever has not heard of it; it is remembered for longer, so that old versions do not come back.
pub const PURGE_TIME: Duration = Duration::from_secs(60);

/// Two clocks that differ by less show the same time.
const AGREE: Duration = Duration::from_secs(300);

/// An accepted object.
#[derive(Debug, Clone)]
pub struct Stored {
    /// As it was received.
    pub object: Object,
    /// Prefixes that it names.
    pub prefixes: usize,
    /// When it was accepted.
    pub since: Duration,
    /// When it was as old as `object.age_s` says.
    pub aged_at: Duration,
    /// When its own time is over.
    pub until: Duration,
    /// When all that it took the place of is over: so long it is remembered.
    pub shadow: Duration,
}

impl Stored {
    /// Seconds it has spent on the way by now; rounded up, so that an object never lives longer by being passed on.
    pub fn age_s(&self, now: Duration) -> u32 {
        let here = now.saturating_sub(self.aged_at);
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
    /// Prefixes.
    pub prefixes: usize,
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
    bucket_len: BTreeMap<u8, usize>,
    by_end: BTreeSet<(Duration, Key)>,
    of_origin: BTreeMap<(NodeId, Share), Size>,
    /// In the order in which they stay, see [`super::room`].
    ranked: BTreeSet<(NodeId, Share, u8, Key)>,
    /// Who carries a statement (a revocation, by an authority or by the root) that is not purged, by its kind and id.
    carriers: BTreeMap<(Kind, u64), BTreeSet<NodeId>>,
    bytes: usize,
    digest: Digest,
}

/// Whether objects of this kind repeat what an authority or the root said, and nothing of their originator's own.
pub fn is_statement(kind: Kind) -> bool {
    matches!(kind, Kind::REVOCATION | Kind::ROOT_REVOCATION)
}

fn hash(key: Key, version: Option<Version>) -> u64 {
    let mut hash = Sha256::new();
    hash.update([key.kind.0]);
    hash.update(key.origin.0.to_be_bytes());
    hash.update(key.id.to_be_bytes());
    if let Some((sequence, tag)) = version {
        hash.update(sequence.0.to_be_bytes());
        hash.update(tag.to_be_bytes());
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

    /// Keys in one bucket of the digest from `from` to `to`, purged ones too.
    pub fn in_bucket(
        &self,
        bucket: u8,
        from: Option<Key>,
        to: Option<Key>,
    ) -> impl Iterator<Item = (Key, &Stored)> {
        let first = from.unwrap_or(Key {
            kind: Kind(0),
            origin: NodeId(0),
            id: 0,
        });
        self.by_bucket
            .range((bucket, first)..)
            .take_while(move |(at, key)| *at == bucket && to.is_none_or(|to| *key <= to))
            .filter_map(|(_, key)| Some((*key, self.objects.get(key)?)))
    }

    /// Number of keys in one bucket of the digest, purged ones too.
    pub fn bucket_len(&self, bucket: u8) -> usize {
        self.bucket_len.get(&bucket).copied().unwrap_or(0)
    }

    /// Those of one kind, by key.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (Key, &Stored)> {
        let from = Key {
            kind,
            origin: NodeId(0),
            id: 0,
        };
        self.objects
            .range(from..)
            .take_while(move |(key, _)| key.kind == kind)
            .map(|(key, stored)| (*key, stored))
    }

    /// Objects of all nodes that carry a statement, by node.
    pub fn carriers(&self, (kind, id): (Kind, u64)) -> impl Iterator<Item = (NodeId, &Stored)> {
        let origins = self.carriers.get(&(kind, id)).into_iter().flatten();
        origins.filter_map(move |origin| {
            let origin = *origin;
            let stored = self.objects.get(&Key { kind, origin, id })?;
            Some((origin, stored))
        })
    }

    /// Whether most nodes but `own`, and at least two, show this time: by when they originated their adjacency object, and its age.
    pub fn shows(&self, own: NodeId, now: Duration, wall: Duration) -> bool {
        let (mut all, mut agree) = (0_usize, 0_usize);
        for (key, stored) in self.of_kind(Kind::ADJACENCY) {
            if key.origin == own || key.id != ADJACENCY_ID || stored.object.is_purge() {
                continue;
            }
            let theirs = Duration::from_millis(stored.object.originated_at_ms)
                .saturating_add(Duration::from_secs(u64::from(stored.age_s(now))));
            all += 1;
            agree += usize::from(theirs.abs_diff(wall) <= AGREE);
        }
        agree >= 2 && agree > all / 2
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
    pub fn size_of(&self, origin: NodeId, share: Share) -> Size {
        let size = self.of_origin.get(&(origin, share));
        size.copied().unwrap_or_default()
    }

    /// Those of the same originator and share that come after an object, the last one first.
    pub fn after(&self, object: &Object) -> impl Iterator<Item = &Stored> {
        let (origin, share) = (object.key.origin, Share::of(object.key));
        let last = Key {
            kind: Kind(u8::MAX),
            origin: NodeId(u32::MAX),
            id: u64::MAX,
        };
        let from = Bound::Excluded((origin, share, rank(object), object.key));
        let to = Bound::Included((origin, share, u8::MAX, last));
        // An own purge of the last key that there is comes after nothing.
        let is_last = rank(object) == u8::MAX && object.key == last;
        let range = (!is_last).then(|| self.ranked.range((from, to)));
        let keys = range.into_iter().flatten().rev();
        keys.filter_map(|(_, _, _, key)| self.objects.get(key))
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
            *sum ^= hash(object.key, Some(object.version()));
        }
        self.digest.count = if add {
            self.digest.count.saturating_add(1)
        } else {
            self.digest.count.saturating_sub(1)
        };
    }

    /// Puts an object in the place of its earlier version, which is returned.
    pub fn insert(&mut self, object: Object, prefixes: usize, now: Duration) -> Option<Stored> {
        let key = object.key;
        let old = self.remove(key);
        let bucket = bucket_of(key);
        let mut left =
            Duration::from_secs(u64::from(object.lifetime_s.saturating_sub(object.age_s)));
        let lifetime = Duration::from_secs(u64::from(object.lifetime_s)) + AHEAD;
        let mut shadow = old.as_ref().map_or(Duration::ZERO, |old| {
            let lifetime = Duration::from_secs(u64::from(old.object.lifetime_s)) + AHEAD;
            old.shadow.max(old.since + lifetime)
        });
        if object.is_purge() {
            left = left.min(PURGE_TIME);
            shadow = shadow.max(now + lifetime); // of versions that never came here
        }
        let until = now + left;
        self.toggle(&object, bucket, true);
        self.by_bucket.insert((bucket, key));
        *self.bucket_len.entry(bucket).or_default() += 1;
        self.by_end.insert((until, key));
        if is_statement(key.kind) && !object.is_purge() {
            let statement = (key.kind, key.id);
            self.carriers
                .entry(statement)
                .or_default()
                .insert(key.origin);
        }
        let share = Share::of(key);
        self.ranked.insert((key.origin, share, rank(&object), key));
        let size = self.of_origin.entry((key.origin, share)).or_default();
        size.objects += 1;
        size.bytes += bytes_of(&object);
        size.prefixes += prefixes;
        self.bytes += bytes_of(&object);
        self.objects.insert(
            key,
            Stored {
                object,
                prefixes,
                since: now,
                aged_at: now,
                until,
                shadow,
            },
        );
        old
    }

    /// The same version came by another way and is younger there: it ends later, but never after what its originator signed.
    pub fn extend(&mut self, key: Key, age_s: u32, now: Now, frozen: bool) {
        let Some(stored) = self.objects.get_mut(&key) else {
            return;
        };
        // A purge that is younger there is remembered long enough here.
        if stored.object.is_purge() || age_s >= stored.age_s(now.mono) {
            return;
        }
        let lifetime = Duration::from_secs(u64::from(stored.object.lifetime_s));
        let mut left = lifetime.saturating_sub(Duration::from_secs(u64::from(age_s)));
        if !frozen {
            let end = Duration::from_millis(stored.object.originated_at_ms) + lifetime;
            left = left.min(end.saturating_sub(now.wall) + AHEAD);
        }
        let until = now.mono + left;
        if until <= stored.until {
            return;
        }
        self.by_end.remove(&(stored.until, key));
        self.by_end.insert((until, key));
        stored.until = until;
        stored.aged_at = now.mono;
        stored.object.age_s = age_s;
    }

    /// It ends then at the latest.
    pub fn end_by(&mut self, key: Key, until: Duration) {
        if let Some(stored) = self.objects.get_mut(&key)
            && until < stored.until
        {
            self.by_end.remove(&(stored.until, key));
            self.by_end.insert((until, key));
            stored.until = until;
        }
    }

    /// What was remembered of an object before its present version.
    pub fn shade(&mut self, key: Key, until: Duration) {
        if let Some(stored) = self.objects.get_mut(&key) {
            stored.shadow = stored.shadow.max(until);
        }
    }

    /// It is remembered until then at most.
    pub fn shadow_by(&mut self, key: Key, until: Duration) {
        if let Some(stored) = self.objects.get_mut(&key) {
            stored.shadow = stored.shadow.min(until);
        }
    }

    /// Removes an object without a trace.
    pub fn remove(&mut self, key: Key) -> Option<Stored> {
        let old = self.objects.remove(&key)?;
        let bucket = bucket_of(key);
        self.toggle(&old.object, bucket, false);
        self.by_bucket.remove(&(bucket, key));
        if let Some(len) = self.bucket_len.get_mut(&bucket) {
            *len = len.saturating_sub(1);
        }
        self.by_end.remove(&(old.until, key));
        self.bytes = self.bytes.saturating_sub(bytes_of(&old.object));
        let statement = (key.kind, key.id);
        if let Some(origins) = self.carriers.get_mut(&statement) {
            origins.remove(&key.origin);
            if origins.is_empty() {
                self.carriers.remove(&statement);
            }
        }
        let share = Share::of(key);
        self.ranked
            .remove(&(key.origin, share, rank(&old.object), key));
        if let Some(size) = self.of_origin.get_mut(&(key.origin, share)) {
            size.objects = size.objects.saturating_sub(1);
            size.bytes = size.bytes.saturating_sub(bytes_of(&old.object));
            size.prefixes = size.prefixes.saturating_sub(old.prefixes);
            if size.objects == 0 {
                self.of_origin.remove(&(key.origin, share));
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
