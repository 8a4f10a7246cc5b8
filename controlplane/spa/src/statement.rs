//! Signed statements in protobuf (authority.proto): `prost` messages, contexts, sign and verify.
//!
//! The structs are those of `dmsc.v1`, field by field; they stand here again so that this crate needs neither tonic nor generated code.
//! A signature is over context and statement bytes as carried: nothing is encoded again before it is verified.

use bytes::Bytes;
use prost::Message;

use crate::credentials::SigningKey;

/// Contexts: a signature is over context, then statement.
pub const AUTHORITY_CERTIFICATE: &[u8] = b"dmsc-spa-certificate-v1\0";
/// Of authorisations.
pub const AUTHORISATION: &[u8] = b"dmsc-authorisation-v1\0";
/// Of revocations.
pub const REVOCATION: &[u8] = b"dmsc-revocation-v1\0";
/// Of root revocations.
pub const ROOT_REVOCATION: &[u8] = b"dmsc-root-revocation-v1\0";
/// Of what a pod signs.
pub const REGISTER: &[u8] = b"dmsc-register-v1\0";

/// Most bytes of a signed authorisation, with the certificate inside.
pub const MAX_AUTHORISATION: usize = 65_536;
/// Most bytes of a signed authority certificate: a quarter of an authorisation, so that grants have room beside it.
pub const MAX_AUTHORITY_CERTIFICATE: usize = 16_384;
/// Most bytes of a signed revocation.
pub const MAX_REVOCATION: usize = 20_000;
/// Most bytes of a signed root revocation.
pub const MAX_ROOT_REVOCATION: usize = 1_024;
/// Most bytes of a pod's statement.
pub const MAX_POD_STATEMENT: usize = 1_024;
/// Most bytes of an X.509 certificate.
pub const MAX_CERTIFICATE: usize = 4_096;
/// Most subtrees, and most domains, of an authority certificate.
pub const MAX_SCOPE: usize = 256;
/// Most bytes of an authority's name.
pub const MAX_AUTHORITY_NAME: usize = 64;
/// Most keys of a root revocation.
pub const MAX_REVOKED_KEYS: usize = 16;
/// Most bytes of a reason and of an identity.
pub const MAX_TEXT: usize = 255;
/// Bytes of the nonce of a registration.
pub const NONCE: usize = 16;

/// A key that the root lets speak for subtrees, signed by the root.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SignedAuthorityCertificate {
    /// [`AuthorityCertificate`].
    #[prost(bytes = "bytes", tag = "1")]
    pub statement: Bytes,
    /// Ed25519 over [`AUTHORITY_CERTIFICATE`] and statement.
    #[prost(bytes = "bytes", tag = "2")]
    pub signature: Bytes,
}

/// What the root says of an authority.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct AuthorityCertificate {
    /// Name.
    #[prost(string, tag = "1")]
    pub authority: String,
    /// Ed25519, 32 bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub public_key: Bytes,
    /// Canonical names; one empty entry = everything.
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub subtrees: Vec<Bytes>,
    /// Empty = all.
    #[prost(uint32, repeated, tag = "4")]
    pub domains: Vec<u32>,
    /// Wall clock, s.
    #[prost(fixed64, tag = "5")]
    pub not_before_s: u64,
    /// Wall clock, s.
    #[prost(fixed64, tag = "6")]
    pub not_after_s: u64,
    /// Of this certificate.
    #[prost(fixed64, tag = "7")]
    pub serial: u64,
}

/// A prefix origin authorisation, signed by an authority.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SignedAuthorisation {
    /// [`Authorisation`].
    #[prost(bytes = "bytes", tag = "1")]
    pub statement: Bytes,
    /// Ed25519 over [`AUTHORISATION`] and statement.
    #[prost(bytes = "bytes", tag = "2")]
    pub signature: Bytes,
    /// [`SignedAuthorityCertificate`] of the key.
    #[prost(bytes = "bytes", tag = "3")]
    pub authority_certificate: Bytes,
}

/// These names may be announced at this gateway.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Authorisation {
    /// Name of the authority.
    #[prost(string, tag = "1")]
    pub authority: String,
    /// Of this authority, ascending.
    #[prost(fixed64, tag = "2")]
    pub serial: u64,
    /// Tenant.
    #[prost(uint32, tag = "3")]
    pub domain: u32,
    /// Only there.
    #[prost(uint32, tag = "4")]
    pub gateway: u32,
    /// The pod's.
    #[prost(string, tag = "5")]
    pub identity: String,
    /// Wall clock, s.
    #[prost(fixed64, tag = "6")]
    pub issued_at_s: u64,
    /// Wall clock, s: ends admission, not forwarding.
    #[prost(fixed64, tag = "7")]
    pub not_after_s: u64,
    /// How long an installed prefix outlives it.
    #[prost(uint32, tag = "8")]
    pub stale_s: u32,
    /// What.
    #[prost(message, repeated, tag = "9")]
    pub grants: Vec<Grant>,
    /// From 1.
    #[prost(uint32, tag = "10")]
    pub fragment: u32,
    /// Of how many.
    #[prost(uint32, tag = "11")]
    pub fragments: u32,
    /// Bits that must be understood: none is by version 1.
    #[prost(uint32, tag = "12")]
    pub conditions: u32,
}

/// One name or subtree.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Grant {
    /// Canonical.
    #[prost(bytes = "bytes", tag = "1")]
    pub name: Bytes,
    /// This name only.
    #[prost(bool, tag = "2")]
    pub exact: bool,
    /// Components in all; 0 = 16.
    #[prost(uint32, tag = "3")]
    pub maximum_depth: u32,
    /// Bits; 0 = announce.
    #[prost(uint32, tag = "4")]
    pub rights: u32,
}

/// A revocation, signed by an authority.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SignedRevocation {
    /// [`Revocation`].
    #[prost(bytes = "bytes", tag = "1")]
    pub statement: Bytes,
    /// Ed25519 over [`REVOCATION`] and statement.
    #[prost(bytes = "bytes", tag = "2")]
    pub signature: Bytes,
    /// [`SignedAuthorityCertificate`] of the key.
    #[prost(bytes = "bytes", tag = "3")]
    pub authority_certificate: Bytes,
}

/// Ends authorisations early.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Revocation {
    /// Name of the authority.
    #[prost(string, tag = "1")]
    pub authority: String,
    /// Of this authority, ascending.
    #[prost(fixed64, tag = "2")]
    pub serial: u64,
    /// Tenant.
    #[prost(uint32, tag = "3")]
    pub domain: u32,
    /// Subtree; empty = all that this authority may speak for.
    #[prost(bytes = "bytes", tag = "4")]
    pub name: Bytes,
    /// 0 = any.
    #[prost(uint32, tag = "5")]
    pub gateway: u32,
    /// Empty = any.
    #[prost(string, tag = "6")]
    pub identity: String,
    /// Wall clock, s.
    #[prost(fixed64, tag = "7")]
    pub issued_before_s: u64,
    /// May be forgotten then.
    #[prost(fixed64, tag = "8")]
    pub until_s: u64,
    /// For people.
    #[prost(string, tag = "9")]
    pub reason: String,
    /// Bits that must be understood: none is by version 1.
    #[prost(uint32, tag = "10")]
    pub conditions: u32,
}

/// A root revocation, signed by the root.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SignedRootRevocation {
    /// [`RootRevocation`].
    #[prost(bytes = "bytes", tag = "1")]
    pub statement: Bytes,
    /// Ed25519 over [`ROOT_REVOCATION`] and statement.
    #[prost(bytes = "bytes", tag = "2")]
    pub signature: Bytes,
}

/// Voids certificates of a node or an authority, or whatever is certified for keys: exactly one of them.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RootRevocation {
    /// The node; 0 = none.
    #[prost(uint32, tag = "1")]
    pub node: u32,
    /// Certificates whose validity began before this.
    #[prost(fixed64, tag = "2")]
    pub issued_before_s: u64,
    /// May be forgotten then.
    #[prost(fixed64, tag = "3")]
    pub until_s: u64,
    /// For people.
    #[prost(string, tag = "4")]
    pub reason: String,
    /// Instead of a node: certificates of this authority.
    #[prost(string, tag = "5")]
    pub authority: String,
    /// Instead: whatever is certified for keys with these hashes.
    #[prost(bytes = "bytes", repeated, tag = "6")]
    pub key_sha256: Vec<Bytes>,
    /// Bits that must be understood: none is by version 1.
    #[prost(uint32, tag = "7")]
    pub conditions: u32,
}

/// What a pod signs when it registers.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PodStatement {
    /// 16 bytes, chosen by the gateway for this registration.
    #[prost(bytes = "bytes", tag = "1")]
    pub nonce: Bytes,
    /// The gateway that the pod talks to.
    #[prost(uint32, tag = "2")]
    pub gateway: u32,
    /// The pod's.
    #[prost(string, tag = "3")]
    pub identity: String,
    /// Wall clock, ms.
    #[prost(fixed64, tag = "4")]
    pub signed_at_ms: u64,
    /// As in the registration.
    #[prost(uint32, tag = "5")]
    pub domain: u32,
    /// Over length(16) and canonical encoding of each prefix, in their order.
    #[prost(bytes = "bytes", tag = "6")]
    pub prefixes_sha256: Bytes,
    /// Where it wants to be attached, and which lease moves there: see [`endpoint_sha256`]. Empty = where it registers from, and none.
    #[prost(bytes = "bytes", tag = "7")]
    pub endpoint_sha256: Bytes,
}

impl PodStatement {
    /// The statement's bytes, and the signature over them that proves the identity.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> (Bytes, Bytes) {
        let statement = Bytes::from(self.encode_to_vec());
        let signature = sign(key, REGISTER, &statement);
        (statement, signature)
    }
}

/// A list of prefixes in the form that [`PodStatement::prefixes_sha256`] is over: length(16, network byte order) and canonical encoding of each.
#[must_use]
pub fn prefix_list<'a>(prefixes: impl IntoIterator<Item = &'a [u8]>) -> Bytes {
    let mut list = Vec::new();
    for prefix in prefixes {
        // Names have at most 255 bytes; what is longer is none, and refused as such.
        let length = u16::try_from(prefix.len()).unwrap_or(u16::MAX);
        list.extend_from_slice(&length.to_be_bytes());
        list.extend_from_slice(prefix);
    }
    list.into()
}

/// The prefixes of a [`prefix_list`].
pub fn listed(mut list: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = list.split_first_chunk()?;
        let (prefix, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        list = rest;
        Some(prefix)
    })
}

/// What a pod's statement binds: SHA-256 over a [`prefix_list`].
#[must_use]
pub fn prefixes_sha256<'a>(prefixes: impl IntoIterator<Item = &'a [u8]>) -> Bytes {
    Bytes::copy_from_slice(&sha256(&prefix_list(prefixes)))
}

/// What a pod's statement binds of where it is to be attached: SHA-256 over length(16) and text of port and address, and the lease that moves there
/// (64 bits), in network byte order; nothing if the registration names none of them.
#[must_use]
pub fn endpoint_sha256(port: &str, address: &str, lease: u64) -> Bytes {
    if port.is_empty() && address.is_empty() && lease == 0 {
        return Bytes::new();
    }
    let mut all = Vec::new();
    for text in [port, address] {
        // The limits of both are far below; what is longer is refused as such.
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        all.extend_from_slice(&length.to_be_bytes());
        all.extend_from_slice(text.as_bytes());
    }
    all.extend_from_slice(&lease.to_be_bytes());
    Bytes::copy_from_slice(&sha256(&all))
}

/// SHA-256, as it stands in statements for lists and keys.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    let mut all = [0; 32];
    all.copy_from_slice(digest.as_ref());
    all
}

/// Signature over context and statement.
#[must_use]
pub fn sign(key: &SigningKey, context: &[u8], statement: &[u8]) -> Bytes {
    Bytes::copy_from_slice(&key.sign(&signed_bytes(context, statement)))
}

/// Whether `signature` is by `public_key` over context and statement.
#[must_use]
pub fn verify(public_key: &[u8; 32], context: &[u8], statement: &[u8], signature: &[u8]) -> bool {
    crate::verify::verify(public_key, &signed_bytes(context, statement), signature)
}

fn signed_bytes(context: &[u8], statement: &[u8]) -> Vec<u8> {
    [context, statement].concat()
}
