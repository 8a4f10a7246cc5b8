//! What every router does: X.509 certificates and signed statements against the one root. Wall clock in s since 1970 is given by the caller.

use crate::identity::Identity;
use bytes::Bytes;
use dmsc_wire::{Domain, NameBuf, NodeId};

/// The root's public key, taken from its certificate.
#[derive(Debug, Clone)]
pub struct RootKey(pub [u8; 32]);

/// A certificate that the root signed and that is valid now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Who.
    pub identity: Identity,
    /// Its key.
    pub public_key: [u8; 32],
    /// Wall clock, s.
    pub not_before_s: u64,
    /// Wall clock, s.
    pub not_after_s: u64,
}

/// An authorisation that an authority signed within its scope. Expiry is not judged here.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Authorisation {
    pub authority: String,
    pub serial: u64,
    pub domain: Domain,
    pub gateway: NodeId,
    pub identity: String,
    pub issued_at_s: u64,
    pub not_after_s: u64,
    pub stale_s: u32,
    /// (name, exact, maximum depth 1..=16)
    pub grants: Vec<(NameBuf, bool, u8)>,
    pub fragment: u32,
    pub fragments: u32,
}

/// A revocation that an authority signed within its scope.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Revocation {
    pub authority: String,
    pub serial: u64,
    pub domain: Domain,
    pub name: Option<NameBuf>,
    pub gateway: Option<NodeId>,
    pub identity: Option<String>,
    pub issued_before_s: u64,
    pub until_s: u64,
    pub reason: String,
}

/// A node revocation that the root signed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct NodeRevocation {
    pub node: NodeId,
    pub issued_before_s: u64,
    pub until_s: u64,
    pub reason: String,
}

/// Why something is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Not decodable, or beyond a limit.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// A signature is wrong, or not by who should have signed.
    #[error("bad signature")]
    Signature,
    /// Not yet or no longer valid.
    #[error("outside of its validity")]
    Validity,
    /// The authority may not speak for what it signed.
    #[error("the authority may not speak for this name or domain")]
    Scope,
}

#[allow(missing_docs, clippy::missing_errors_doc, unused_variables)]
impl RootKey {
    /// From the root's certificate, DER.
    pub fn from_certificate(der: &[u8]) -> Result<Self, VerifyError> {
        todo!()
    }
    pub fn certificate(&self, der: &[u8], now_s: u64) -> Result<Certificate, VerifyError> {
        todo!()
    }
    pub fn authorisation(&self, signed: &[u8]) -> Result<Authorisation, VerifyError> {
        todo!()
    }
    pub fn revocation(&self, signed: &[u8]) -> Result<Revocation, VerifyError> {
        todo!()
    }
    pub fn node_revocation(&self, signed: &[u8]) -> Result<NodeRevocation, VerifyError> {
        todo!()
    }
}

/// Ed25519.
#[must_use]
pub fn verify(public_key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, public_key)
        .verify(message, signature)
        .is_ok()
}
