//! Signed link-state objects, as they are flooded (design §6; `Object` in linkstate.proto).

use bytes::Bytes;
use dmsc_wire::NodeId;
use sha2::{Digest as _, Sha256};

/// Context of an object's signature.
pub const OBJECT_CONTEXT: &[u8] = b"dmsc-object-v1\0";
/// Largest body, bytes.
pub const MAX_BODY: usize = 65_536;
/// Largest certificate, bytes.
pub const MAX_CERTIFICATE: usize = 4_096;
/// Longest lifetime, seconds.
pub const MAX_LIFETIME_S: u32 = 86_400;

/// What an object says. Unknown kinds are kept and flooded, and ignored in computation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub u8);

impl Kind {
    /// Neighbours of a node; triggers SPF.
    pub const ADJACENCY: Self = Self(1);
    /// Prefixes of a gateway; never triggers SPF.
    pub const PREFIX: Self = Self(2);
    /// A prefix origin authorisation, signed by an authority.
    pub const AUTHORISATION: Self = Self(3);
    /// Ends authorisations early; signed by an authority.
    pub const REVOCATION: Self = Self(4);
    /// Voids a node's certificates; signed by the root.
    pub const ROOT_REVOCATION: Self = Self(5);
    /// Access rules and routes of a prefix; reserved.
    pub const SERVICE: Self = Self(6);
}

/// Which object: unique in an area.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// What it says.
    pub kind: Kind,
    /// Who says it.
    pub origin: NodeId,
    /// The originator's number of it.
    pub id: u64,
}

/// Persisted boot epoch in the upper 32 bits, a counter below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequence(pub u64);

/// Bit 0 of flags: the object is withdrawn by its originator.
pub const FLAG_PURGE: u8 = 1;

/// Orders the versions of one object: by sequence, then by [`Object::tag`], so that of two versions under one number (two processes with one key)
/// every router keeps the same one.
pub type Version = (Sequence, u128);

/// One object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Which.
    pub key: Key,
    /// [`FLAG_PURGE`]; other bits are kept.
    pub flags: u8,
    /// Which version of it.
    pub sequence: Sequence,
    /// From `originated_at_ms`, s.
    pub lifetime_s: u32,
    /// Area that it belongs to.
    pub area: u32,
    /// The originator's wall clock, ms since 1970.
    pub originated_at_ms: u64,
    /// By kind, see linkstate.proto; at most [`MAX_BODY`] bytes.
    pub body: Bytes,
    /// Ed25519 over [`Object::signed_bytes`].
    pub signature: [u8; 64],
    /// Of the originator, X.509 DER; at most [`MAX_CERTIFICATE`] bytes.
    pub certificate: Bytes,
    /// Not signed: seconds it spent on the way.
    pub age_s: u32,
}

impl Key {
    /// The next one in order.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        let Self { kind, origin, id } = self;
        if let Some(id) = id.checked_add(1) {
            return Some(Self { id, ..self });
        }
        if let Some(origin) = origin.0.checked_add(1) {
            let origin = NodeId(origin);
            return Some(Self {
                kind,
                origin,
                id: 0,
            });
        }
        let kind = Kind(kind.0.checked_add(1)?);
        let origin = NodeId(0);
        Some(Self {
            kind,
            origin,
            id: 0,
        })
    }
}

impl Object {
    /// Whether this withdraws the object.
    #[must_use]
    pub fn is_purge(&self) -> bool {
        self.flags & FLAG_PURGE != 0
    }

    /// Its place among the versions of it.
    #[must_use]
    pub fn version(&self) -> Version {
        (self.sequence, self.tag())
    }

    /// First 16 bytes of SHA-256 over the signature, big endian: tells versions under one sequence apart. Not of the signature itself, half of which
    /// its originator may choose.
    #[must_use]
    pub fn tag(&self) -> u128 {
        Sha256::digest(self.signature)
            .first_chunk()
            .map_or(0, |first| u128::from_be_bytes(*first))
    }

    /// What the signature covers: context, then all fixed fields in network byte order, length of the body and the body.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(OBJECT_CONTEXT.len() + 42 + self.body.len());
        bytes.extend_from_slice(OBJECT_CONTEXT);
        bytes.push(self.key.kind.0);
        bytes.push(self.flags);
        bytes.extend_from_slice(&self.key.origin.0.to_be_bytes());
        bytes.extend_from_slice(&self.key.id.to_be_bytes());
        bytes.extend_from_slice(&self.sequence.0.to_be_bytes());
        bytes.extend_from_slice(&self.lifetime_s.to_be_bytes());
        bytes.extend_from_slice(&self.area.to_be_bytes());
        bytes.extend_from_slice(&self.originated_at_ms.to_be_bytes());
        bytes.extend_from_slice(
            &u32::try_from(self.body.len())
                .unwrap_or(u32::MAX)
                .to_be_bytes(),
        );
        bytes.extend_from_slice(&self.body);
        bytes
    }
}
