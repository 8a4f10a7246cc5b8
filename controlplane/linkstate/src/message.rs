//! What neighbours say to each other once they have greeted (linkstate.proto without its hello).

use crate::object::{Key, Object, Sequence, Version};

/// One version of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Which object.
    pub key: Key,
    /// Which version of it …
    pub sequence: Sequence,
    /// … and of two under one sequence, which: [`Object::tag`].
    pub tag: u128,
}

impl Header {
    /// Of an object.
    #[must_use]
    pub fn of(object: &Object) -> Self {
        Self {
            key: object.key,
            sequence: object.sequence,
            tag: object.tag(),
        }
    }

    /// Its place among the versions of the object.
    #[must_use]
    pub fn version(&self) -> Version {
        (self.sequence, self.tag)
    }
}

/// Buckets of a digest.
pub const BUCKETS: usize = 64;

/// A message on an established session.
// A digest is half a kilobyte, and messages are few: not worth a box.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Objects that the other end lacks.
    Flood(Vec<Object>),
    /// What the sender has.
    Digest {
        /// Of its objects.
        digest: Digest,
        /// It may lack what its neighbours cannot tell it yet: see [`crate::Engine::restoring`].
        restoring: bool,
    },
    /// Headers of the buckets in `bucket_mask`, completely from `from` to `to`.
    Summary {
        /// Bit n: bucket n.
        bucket_mask: u64,
        /// All of its objects in the range.
        headers: Vec<Header>,
        /// First key of the range; `None`: from the beginning.
        from: Option<Key>,
        /// Last key of the range; `None`: to the end.
        to: Option<Key>,
    },
    /// Objects that the sender lacks.
    Request(Vec<Key>),
}

/// XOR of the first 8 bytes of SHA-256 over (kind, origin, id, sequence, signature) of all accepted objects, in buckets by the same over (kind, origin, id).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// Number of objects.
    pub count: u32,
    /// One XOR for each bucket.
    pub buckets: [u64; BUCKETS],
}

impl Default for Digest {
    fn default() -> Self {
        Self {
            count: 0,
            buckets: [0; BUCKETS],
        }
    }
}

impl Digest {
    /// One number for people: the XOR of all buckets.
    #[must_use]
    pub fn fold(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, bucket| sum ^ bucket)
    }
}
