//! Real Ed25519 with certificates that are as small as possible: node, moment of issue, end, key, signature of the root.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use dmsc_linkstate::trust::{
    Authorisation, Grant, NodeKey, PublicKey, Revocation, RevokedSubject, RootRevocation,
    TrustError,
};
use dmsc_linkstate::{NodeId, Now, Signer, Trust};
use dmsc_wire::{Domain, NameBuf};
use prost::Message as _;

use super::EPOCH_S;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

/// A key from a seed.
pub fn key(seed: u32) -> Ed25519KeyPair {
    let mut bytes = [0x5a; 32];
    bytes[..4].copy_from_slice(&seed.to_be_bytes());
    Ed25519KeyPair::from_seed_unchecked(&bytes).unwrap()
}

const ROOT: u32 = 1_000_000;
const AUTHORITY: u32 = 1_000_001;
/// Stands for the hash of the authority's key.
pub const AUTHORITY_KEY: [u8; 32] = [0xa5; 32];

fn signed(key: &Ed25519KeyPair, mut bytes: Vec<u8>) -> Bytes {
    let signature = key.sign(&bytes);
    bytes.extend_from_slice(signature.as_ref());
    Bytes::from(bytes)
}

fn opened(seed: u32, bytes: &[u8]) -> Result<&[u8], TrustError> {
    let at = bytes
        .len()
        .checked_sub(64)
        .ok_or(TrustError::Malformed("too short"))?;
    let (statement, signature) = bytes.split_at(at);
    UnparsedPublicKey::new(&ED25519, key(seed).public_key().as_ref())
        .verify(statement, signature)
        .map_err(|_| TrustError::Signature)?;
    Ok(statement)
}

/// Signs for a node.
pub struct NodeSigner {
    key: Ed25519KeyPair,
    certificate: Bytes,
}

impl NodeSigner {
    /// Of a node, with the key of this seed.
    pub fn new(node: u32, seed: u32, issued_s: u64) -> Self {
        Self::until(node, seed, issued_s, u64::MAX)
    }

    /// With a certificate that ends.
    pub fn until(node: u32, seed: u32, issued_s: u64, not_after_s: u64) -> Self {
        let key = key(seed);
        let mut bytes = node.to_be_bytes().to_vec();
        bytes.extend_from_slice(&issued_s.to_be_bytes());
        bytes.extend_from_slice(&not_after_s.to_be_bytes());
        bytes.extend_from_slice(key.public_key().as_ref());
        Self {
            key,
            certificate: signed(&self::key(ROOT), bytes),
        }
    }
}

impl Signer for NodeSigner {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).as_ref().try_into().unwrap()
    }
    fn certificate(&self) -> Bytes {
        self.certificate.clone()
    }
}

/// Believes the root, and counts what that costs.
#[derive(Default)]
pub struct TestTrust {
    pub certificates: HashMap<Vec<u8>, (u32, u64, u64, [u8; 32])>,
    pub revoked: HashMap<u32, u64>,
    pub keys: HashSet<[u8; 32]>,
    pub verifications: Arc<AtomicU64>,
}

impl Trust for TestTrust {
    fn node_key(
        &mut self,
        origin: NodeId,
        certificate: &[u8],
        now: Now,
    ) -> Result<NodeKey, TrustError> {
        if !self.certificates.contains_key(certificate) {
            let statement = opened(ROOT, certificate)?;
            if statement.len() != 52 {
                return Err(TrustError::Malformed("length"));
            }
            let entry = (
                u32::from_be_bytes(statement[..4].try_into().unwrap()),
                u64::from_be_bytes(statement[4..12].try_into().unwrap()),
                u64::from_be_bytes(statement[12..20].try_into().unwrap()),
                statement[20..].try_into().unwrap(),
            );
            self.certificates.insert(certificate.to_vec(), entry);
        }
        let (node, issued_s, not_after_s, key) = self.certificates[certificate];
        if node != origin.0 {
            return Err(TrustError::WrongNode);
        }
        if self
            .revoked
            .get(&node)
            .is_some_and(|before| issued_s < *before)
            || self.keys.contains(&key)
        {
            return Err(TrustError::Revoked);
        }
        if now.wall.as_secs() > not_after_s {
            return Err(TrustError::Validity);
        }
        Ok(NodeKey {
            key: PublicKey(key),
            not_after_s,
        })
    }

    fn verify(&mut self, key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
        self.verifications.fetch_add(1, Ordering::Relaxed);
        UnparsedPublicKey::new(&ED25519, key.0)
            .verify(message, signature)
            .is_ok()
    }

    fn authorisation(&mut self, body: &[u8], _: Now) -> Result<Authorisation, TrustError> {
        let malformed = |_| TrustError::Malformed("authorisation");
        let body = WireAuthorisation::decode(opened(AUTHORITY, body)?).map_err(malformed)?;
        Ok(Authorisation {
            authority: "test".into(),
            authority_key: AUTHORITY_KEY,
            authority_issued_s: EPOCH_S,
            serial: body.serial,
            domain: Domain(body.domain),
            gateway: NodeId(body.gateway),
            identity: "pod/test".into(),
            issued_at_s: body.issued_at_s,
            not_after_s: body.not_after_s,
            stale_s: body.stale_s,
            grants: body
                .names
                .iter()
                .filter(|_| body.conditions == 0)
                .map(|name| Grant {
                    name: NameBuf::parse(name).unwrap(),
                    exact: body.exact,
                    maximum_depth: 16,
                })
                .collect(),
            fragment: 1,
            fragments: 1,
        })
    }

    fn revocation(&mut self, body: &[u8], _: Now) -> Result<Revocation, TrustError> {
        let malformed = |_| TrustError::Malformed("revocation");
        let body = WireRevocation::decode(opened(AUTHORITY, body)?).map_err(malformed)?;
        Ok(Revocation {
            authority: "test".into(),
            serial: body.serial,
            domain: Some(Domain(1)),
            name: (!body.name.is_empty()).then(|| NameBuf::parse(&body.name).unwrap()),
            gateway: (body.gateway != 0).then_some(NodeId(body.gateway)),
            identity: None,
            issued_before_s: body.issued_before_s,
            until_s: body.until_s,
            subtrees: Vec::new(),
            domains: Vec::new(),
            reason: String::new(),
        })
    }

    fn root_revocation(&mut self, body: &[u8], _: Now) -> Result<RootRevocation, TrustError> {
        let malformed = |_| TrustError::Malformed("root revocation");
        let body = WireRevocation::decode(opened(ROOT, body)?).map_err(malformed)?;
        Ok(RootRevocation {
            subject: match body.keys.as_slice() {
                [] if !body.name.is_empty() => RevokedSubject::Authority(body.name),
                [] => RevokedSubject::Node(NodeId(body.gateway)),
                keys => RevokedSubject::Keys(
                    keys.iter()
                        .map(|key| key.as_slice().try_into().unwrap())
                        .collect(),
                ),
            },
            issued_before_s: body.issued_before_s,
            until_s: body.until_s,
            reason: String::new(),
        })
    }

    fn revoke(&mut self, revocation: &RootRevocation) {
        match &revocation.subject {
            RevokedSubject::Node(node) => {
                self.revoked.insert(node.0, revocation.issued_before_s);
            }
            RevokedSubject::Keys(keys) => self.keys.extend(keys),
            RevokedSubject::Authority(_) => {}
        }
    }
}

/// What the test's authority signs.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WireAuthorisation {
    #[prost(uint64, tag = "1")]
    pub serial: u64,
    #[prost(uint32, tag = "2")]
    pub domain: u32,
    #[prost(uint32, tag = "3")]
    pub gateway: u32,
    #[prost(uint64, tag = "4")]
    pub issued_at_s: u64,
    #[prost(uint64, tag = "5")]
    pub not_after_s: u64,
    #[prost(uint32, tag = "6")]
    pub stale_s: u32,
    #[prost(string, repeated, tag = "7")]
    pub names: Vec<String>,
    #[prost(bool, tag = "8")]
    pub exact: bool,
    /// Not understood: covers nothing.
    #[prost(uint32, tag = "9")]
    pub conditions: u32,
}

impl WireAuthorisation {
    pub fn signed(&self) -> Bytes {
        signed(&key(AUTHORITY), self.encode_to_vec())
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct WireRevocation {
    #[prost(uint64, tag = "1")]
    pub serial: u64,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(uint32, tag = "3")]
    pub gateway: u32,
    #[prost(uint64, tag = "4")]
    pub issued_before_s: u64,
    #[prost(uint64, tag = "5")]
    pub until_s: u64,
    /// By the root: instead of a node or an authority.
    #[prost(bytes = "vec", repeated, tag = "6")]
    pub keys: Vec<Vec<u8>>,
}

impl WireRevocation {
    pub fn signed(&self) -> Bytes {
        signed(&key(AUTHORITY), self.encode_to_vec())
    }
    pub fn signed_by_root(&self) -> Bytes {
        signed(&key(ROOT), self.encode_to_vec())
    }
}
