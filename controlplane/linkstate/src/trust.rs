//! What the engine must be told about keys and signed statements; implemented by the process around it.

use bytes::Bytes;
use dmsc_wire::{Domain, Name, NameBuf, NodeId};
use thiserror::Error;

use crate::time::Now;

/// An Ed25519 public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(pub [u8; 32]);

/// What a certificate binds to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeKey {
    /// Signs for it.
    pub key: PublicKey,
    /// Wall clock, s since 1970: what it signed is not kept for long after.
    pub not_after_s: u64,
}

/// Why a certificate or statement is not believed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TrustError {
    /// Not decodable, or a limit is exceeded.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// A signature is wrong.
    #[error("bad signature")]
    Signature,
    /// The certificate is for somebody else.
    #[error("the certificate is not for this node")]
    WrongNode,
    /// Not yet or no longer valid.
    #[error("outside of its validity")]
    Validity,
    /// The authority may not speak for what it signed.
    #[error("the authority may not speak for this")]
    NotItsSubtree,
    /// Genuine, and of a later version.
    #[error("of a later version")]
    NotUnderstood,
    /// Revoked.
    #[error("revoked")]
    Revoked,
}

/// The key of this node.
pub trait Signer {
    /// Signs `message`.
    fn sign(&self, message: &[u8]) -> [u8; 64];
    /// This node's certificate, X.509 DER.
    fn certificate(&self) -> Bytes;
}

/// Verifies what others signed. Implementations cache: the same certificate comes with every object of a node.
pub trait Trust {
    /// The key that `certificate` binds to `origin`, and until when.
    ///
    /// # Errors
    /// Why not.
    fn node_key(
        &mut self,
        origin: NodeId,
        certificate: &[u8],
        now: Now,
    ) -> Result<NodeKey, TrustError>;
    /// Whether `signature` is by `key` over `message`.
    fn verify(&mut self, key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool;
    /// Body of an authorisation object: verified against the root, but not for expiry (the engine keeps time).
    ///
    /// # Errors
    /// Why not.
    fn authorisation(&mut self, body: &[u8], now: Now) -> Result<Authorisation, TrustError>;
    /// Body of a revocation object.
    ///
    /// # Errors
    /// Why not.
    fn revocation(&mut self, body: &[u8], now: Now) -> Result<Revocation, TrustError>;
    /// Body of a root revocation object.
    ///
    /// # Errors
    /// Why not.
    fn root_revocation(&mut self, body: &[u8], now: Now) -> Result<RootRevocation, TrustError>;
    /// From now on certificates that this names are void: [`Trust::node_key`] answers [`TrustError::Revoked`]. Statements of an authority are
    /// verified as before: the engine knows which of them count.
    fn revoke(&mut self, revocation: &RootRevocation);
}

/// What an authority signed: these names may be announced at this gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorisation {
    /// Name of the authority.
    pub authority: String,
    /// SHA-256 of its public key.
    pub authority_key: [u8; 32],
    /// When the validity of its certificate began, wall clock, s since 1970.
    pub authority_issued_s: u64,
    /// Its number.
    pub serial: u64,
    /// Tenant.
    pub domain: Domain,
    /// The only gateway that may announce.
    pub gateway: NodeId,
    /// The pod's identity.
    pub identity: String,
    /// Wall clock, s since 1970. More than 300 s ahead of this node's: it covers nothing until then.
    pub issued_at_s: u64,
    /// Wall clock, s since 1970: ends admission, not forwarding.
    pub not_after_s: u64,
    /// How long an installed prefix outlives it, s.
    pub stale_s: u32,
    /// Names and subtrees. None: it covers nothing, because it asks for what this version does not understand.
    pub grants: Vec<Grant>,
    /// Number of this fragment, from 1.
    pub fragment: u32,
    /// Of how many.
    pub fragments: u32,
}

/// One name or subtree of an authorisation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Grant {
    /// The name.
    pub name: NameBuf,
    /// Only this name.
    pub exact: bool,
    /// Else: most components of a name below it.
    pub maximum_depth: u8,
}

/// Ends authorisations, whichever authority signed them, issued at or before `issued_before_s`, for names at or below `name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Name of the authority.
    pub authority: String,
    /// Its number.
    pub serial: u64,
    /// Tenant; `None` = any.
    pub domain: Option<Domain>,
    /// Subtree; `None` = everything that this authority may speak for.
    pub name: Option<NameBuf>,
    /// Only at this gateway.
    pub gateway: Option<NodeId>,
    /// Only for this identity.
    pub identity: Option<String>,
    /// Wall clock, s since 1970. One in the future counts at once: a clock that is wrong must not keep alive what somebody took back, and what
    /// counts only later would end as much then.
    pub issued_before_s: u64,
    /// May be forgotten then.
    pub until_s: u64,
    /// Names that its authority may speak for: it ends nothing for others. Empty = all.
    pub subtrees: Vec<NameBuf>,
    /// Domains that its authority may speak for. Empty = all.
    pub domains: Vec<Domain>,
    /// For people.
    pub reason: String,
}

impl Revocation {
    /// Whether an authorisation covers `name` no more, whichever authority signed it.
    #[must_use]
    pub fn ends(&self, one: &Authorisation, name: Name<'_>) -> bool {
        let above = |other: &NameBuf| other.as_name().is_prefix_of(name);
        one.issued_at_s <= self.issued_before_s
            && self.domain.is_none_or(|domain| domain == one.domain)
            && (self.domains.is_empty() || self.domains.contains(&one.domain))
            && self.gateway.is_none_or(|gateway| gateway == one.gateway)
            && self.identity.as_ref().is_none_or(|identity| *identity == one.identity)
            && self.name.as_ref().is_none_or(above)
            // An authority ends nothing that it may not speak for.
            && (self.subtrees.is_empty() || self.subtrees.iter().any(above))
    }
}

/// What the root takes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevokedSubject {
    /// Certificates of a node.
    Node(NodeId),
    /// Certificates of an authority, and so what it authorised with them.
    Authority(String),
    /// Whatever is certified for keys with these SHA-256, whenever that was.
    Keys(Vec<[u8; 32]>),
}

/// Voids certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootRevocation {
    /// Whose.
    pub subject: RevokedSubject,
    /// Of a node or an authority: certificates whose validity began before this, wall clock, s since 1970.
    pub issued_before_s: u64,
    /// May be forgotten then.
    pub until_s: u64,
    /// For people.
    pub reason: String,
}
