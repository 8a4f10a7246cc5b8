//! Answers requests of gateways: checks the pod's proof, applies the policy, signs authorisations in fragments, revokes.

use bytes::Bytes;
use dmsc_wire::{Domain, NameBuf, NodeId};

use crate::credentials::Credentials;
use crate::policy::Policy;

/// A request, as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// The gateway that asks (from its certificate).
    pub gateway: NodeId,
    /// Tenant.
    pub domain: Domain,
    /// The pod's proof.
    pub pod_certificate: Bytes,
    /// PodStatement bytes.
    pub pod_statement: Bytes,
    /// Over context and statement.
    pub pod_signature: Bytes,
    /// Wanted.
    pub prefixes: Vec<NameBuf>,
}

/// The answer.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// SignedAuthorisation each, at most 64 KB: the policy's subtrees and exact names that cover what was wanted (subtrees as the policy has them,
    /// so that one more prefix below asks nobody; of exact names those wanted).
    pub authorisations: Vec<Bytes>,
    /// With a sentence for the pod's owner.
    pub refused: Vec<(NameBuf, String)>,
}

/// One authority.
pub struct Authority {
    _todo: (),
}

#[allow(missing_docs, clippy::missing_errors_doc, clippy::must_use_candidate)]
impl Authority {
    /// `serial` is the last serial used (persisted by the caller, see [`Authority::serial`]); `revocations` are those of before.
    pub fn new(
        credentials: &Credentials,
        policy: Policy,
        serial: u64,
        revocations: Vec<Bytes>,
    ) -> Result<Self, AuthorityError> {
        let _ = (credentials, policy, serial, revocations);
        todo!()
    }
    pub fn name(&self) -> &str {
        todo!()
    }
    /// Serial of the last statement: start the next process above it. Serials begin with the wall clock in ms, so that one that was lost does no harm.
    pub fn serial(&self) -> u64 {
        todo!()
    }
    pub fn policy(&self) -> &Policy {
        todo!()
    }
    pub fn set_policy(&mut self, policy: Policy) {
        let _ = policy;
        todo!()
    }
    /// Error: the proof is not believed (text for the caller). Single prefixes that are not the pod's are refused in the answer. Revoked ones too:
    /// a revocation covers requests until it is lifted, i.e. until `until_s`.
    pub fn authorise(&mut self, request: &Request, now_s: u64) -> Result<Answer, AuthorityError> {
        let _ = (request, now_s);
        todo!()
    }
    /// Signs a revocation; kept and returned by [`Authority::revocations`].
    pub fn revoke(
        &mut self,
        domain: Domain,
        name: Option<NameBuf>,
        gateway: Option<NodeId>,
        identity: Option<String>,
        reason: &str,
        now_s: u64,
    ) -> Result<Bytes, AuthorityError> {
        let _ = (domain, name, gateway, identity, reason, now_s);
        todo!()
    }
    /// In force.
    pub fn revocations(&self, now_s: u64) -> Vec<Bytes> {
        let _ = now_s;
        todo!()
    }
}

/// Why not.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct AuthorityError(pub String);
