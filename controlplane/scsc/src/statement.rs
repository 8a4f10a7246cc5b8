//! A policy as it is signed and carried, in the manner of `dmsc_spa::statement`: Ed25519 over a context and the statement's bytes as carried.

use std::time::Duration;

use bytes::Bytes;
use dmsc_linkstate::action::Topology;
use dmsc_spa::credentials::SigningKey;
use dmsc_wire::{Domain, NameBuf, NodeId};
use prost::Message;

use crate::policy::{
    Epoch, MAX_MEMBERS, MAX_REASON, MAX_TTL, Policy, PolicyId, Rank, ReplicaId, Share,
};

/// Context: a signature is over this, then the statement.
pub const POLICY: &[u8] = b"dmsc-policy-v1\0";
/// Most bytes of a statement.
pub const MAX_STATEMENT: usize = 4_096;

/// A policy, signed by a scheduling center. Fields as in `scheduling.proto`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SignedPolicy {
    /// [`Statement`].
    #[prost(bytes = "bytes", tag = "1")]
    pub statement: Bytes,
    /// Ed25519 over [`POLICY`] and statement.
    #[prost(bytes = "bytes", tag = "2")]
    pub signature: Bytes,
    /// X.509 certificate of the key, DER.
    #[prost(bytes = "bytes", tag = "3")]
    pub certificate: Bytes,
}

/// A [`Policy`] in protobuf.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Statement {
    /// Of the replica, ascending.
    #[prost(fixed64, tag = "1")]
    pub id: u64,
    /// One start of the replica.
    #[prost(fixed64, tag = "2")]
    pub epoch: u64,
    /// Which replica.
    #[prost(uint32, tag = "3")]
    pub replica: u32,
    /// Of routers.
    #[prost(uint32, tag = "4")]
    pub area: u32,
    /// Tenant.
    #[prost(uint32, tag = "5")]
    pub domain: u32,
    /// Canonical.
    #[prost(bytes = "bytes", tag = "6")]
    pub prefix: Bytes,
    /// 0 = all.
    #[prost(uint32, tag = "7")]
    pub gateway: u32,
    /// From acceptance; 0 = ended.
    #[prost(uint32, tag = "8")]
    pub ttl_ms: u32,
    /// By gateway, then topology, ascending.
    #[prost(message, repeated, tag = "9")]
    pub shares: Vec<ShareStatement>,
    /// For people.
    #[prost(string, tag = "10")]
    pub reason: String,
    /// Bits that must be understood: none is by version 1.
    #[prost(uint32, tag = "11")]
    pub conditions: u32,
}

/// A [`Share`] in protobuf.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ShareStatement {
    /// The member's.
    #[prost(uint32, tag = "1")]
    pub gateway: u32,
    /// 0 = excluded.
    #[prost(uint32, tag = "2")]
    pub weight: u32,
    /// 0 metric, 1 delay.
    #[prost(uint32, tag = "3")]
    pub topology: u32,
}

/// Why something is no policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Not by this key.
    #[error("policy: the signature is not by the scheduling center's key")]
    Signature,
    /// Not protobuf, or not as its encoder writes it.
    #[error("policy: not a canonical statement of at most {MAX_STATEMENT} bytes")]
    Encoding,
    /// The prefix is no name.
    #[error("policy: its prefix is not a canonical name")]
    Prefix,
    /// It lives too long.
    #[error("policy: lives {0} ms, at most an hour is possible")]
    Ttl(u32),
    /// Too many, twice the same, or not in order.
    #[error(
        "policy: shares must ascend by gateway and topology, none twice, at most {MAX_MEMBERS}"
    )]
    Members,
    /// A weight or topology that there is not.
    #[error("policy: gateway {0} has a weight above 65535 or an unknown topology")]
    Share(u32),
    /// It asks for what this version does not know.
    #[error(
        "policy: has conditions {0:#x} that this version does not understand; upgrade the gateway"
    )]
    Conditions(u32),
}

impl Policy {
    /// The bytes that are signed.
    #[must_use]
    pub fn to_statement(&self) -> Bytes {
        let shares = self.shares.iter().map(|share| ShareStatement {
            gateway: share.gateway.0,
            weight: share.weight.into(),
            topology: u32::from(share.topology == Topology::Delay),
        });
        let statement = Statement {
            id: self.rank.id.0,
            epoch: self.rank.epoch.0,
            replica: self.rank.replica.0,
            area: self.area,
            domain: self.domain.0,
            prefix: Bytes::copy_from_slice(self.prefix.as_bytes()),
            gateway: self.gateway.0,
            ttl_ms: u32::try_from(self.ttl.as_millis()).unwrap_or(u32::MAX),
            shares: shares.collect(),
            reason: self.reason.clone(),
            conditions: 0,
        };
        statement.encode_to_vec().into()
    }

    /// Reads what was signed.
    ///
    /// # Errors
    /// Which part of it is none.
    pub fn from_statement(bytes: &[u8]) -> Result<Self, PolicyError> {
        let statement = Statement::decode(bytes).map_err(|_| PolicyError::Encoding)?;
        let canonical = bytes.len() <= MAX_STATEMENT && statement.encode_to_vec() == bytes;
        if !canonical || statement.reason.len() > MAX_REASON {
            return Err(PolicyError::Encoding);
        }
        if statement.conditions != 0 {
            return Err(PolicyError::Conditions(statement.conditions));
        }
        let ttl = Duration::from_millis(statement.ttl_ms.into());
        if ttl > MAX_TTL {
            return Err(PolicyError::Ttl(statement.ttl_ms));
        }
        let ascending = statement
            .shares
            .windows(2)
            .all(|pair| (pair[0].gateway, pair[0].topology) < (pair[1].gateway, pair[1].topology));
        let first = statement.shares.first().is_none_or(|s| s.gateway > 0);
        if statement.shares.len() > MAX_MEMBERS || !ascending || !first {
            return Err(PolicyError::Members);
        }
        let shares = statement.shares.iter().map(|share| {
            let topology = match share.topology {
                0 => Topology::Metric,
                1 => Topology::Delay,
                _ => return Err(PolicyError::Share(share.gateway)),
            };
            Ok(Share {
                gateway: NodeId(share.gateway),
                weight: u16::try_from(share.weight)
                    .map_err(|_| PolicyError::Share(share.gateway))?,
                topology,
            })
        });
        Ok(Self {
            rank: Rank {
                epoch: Epoch(statement.epoch),
                replica: ReplicaId(statement.replica),
                id: PolicyId(statement.id),
            },
            area: statement.area,
            domain: Domain(statement.domain),
            prefix: NameBuf::from_bytes(&statement.prefix).map_err(|_| PolicyError::Prefix)?,
            gateway: NodeId(statement.gateway),
            ttl,
            shares: shares.collect::<Result<_, _>>()?,
            reason: statement.reason,
        })
    }

    /// Signs it; `certificate` is the X.509 certificate of the key, DER.
    #[must_use]
    pub fn sign(&self, key: &SigningKey, certificate: Bytes) -> SignedPolicy {
        let statement = self.to_statement();
        let signature = dmsc_spa::statement::sign(key, POLICY, &statement);
        SignedPolicy {
            statement,
            signature,
            certificate,
        }
    }
}

impl SignedPolicy {
    /// The policy, if it is signed by `public_key`: that of the certificate, which the caller has verified.
    ///
    /// # Errors
    /// The signature first, then which part is none.
    pub fn verify(&self, public_key: &[u8; 32]) -> Result<Policy, PolicyError> {
        if !dmsc_spa::statement::verify(public_key, POLICY, &self.statement, &self.signature) {
            return Err(PolicyError::Signature);
        }
        Policy::from_statement(&self.statement)
    }
}
