//! Keys and signatures for the link-state engine: own signing key, others' certificates against the one root.

use std::collections::HashMap;

use bytes::Bytes;
use dmsc_linkstate::trust::{
    Authorisation, NodeKey, PublicKey, Revocation, RevokedSubject, RootRevocation, TrustError,
};
use dmsc_linkstate::{Now, Signer, Trust};
use dmsc_spa::credentials::SigningKey;
use dmsc_spa::identity::Identity;
use dmsc_spa::verify::{Certificate, RootKey, VerifyError};
use dmsc_wire::NodeId;

/// Most certificates that are remembered; one more, and all are verified anew.
const MAX_CERTIFICATES: usize = 4_096;

/// This node's key and certificate.
pub struct NodeSigner {
    /// Signs.
    pub key: SigningKey,
    /// X.509 DER.
    pub certificate: Bytes,
}

impl Signer for NodeSigner {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message)
    }

    fn certificate(&self) -> Bytes {
        self.certificate.clone()
    }
}

/// The root, and what it certified lately.
pub struct NodeTrust {
    root: RootKey,
    /// By DER: the same certificate comes with every object of a node.
    certificates: HashMap<Box<[u8]>, Certificate>,
}

impl NodeTrust {
    /// Trusts `root` and nothing else; what is revoked here is so for all that share `root`.
    #[must_use]
    pub fn new(root: RootKey) -> Self {
        Self {
            root,
            certificates: HashMap::new(),
        }
    }
}

/// For people: what a root revocation is about.
#[must_use]
pub fn subject(subject: &RevokedSubject) -> String {
    match subject {
        RevokedSubject::Node(node) => format!("certificates of node {node}"),
        RevokedSubject::Authority(name) => format!("certificates of authority {name}"),
        RevokedSubject::Keys(keys) if keys.len() == 1 => "1 key".to_owned(),
        RevokedSubject::Keys(keys) => format!("{} keys", keys.len()),
    }
}

fn trust_error(error: VerifyError) -> TrustError {
    match error {
        VerifyError::Malformed(what) => TrustError::Malformed(what),
        VerifyError::Signature => TrustError::Signature,
        VerifyError::NotUnderstood => TrustError::NotUnderstood,
        VerifyError::Validity => TrustError::Validity,
        VerifyError::Revoked => TrustError::Revoked,
        VerifyError::Scope => TrustError::NotItsSubtree,
    }
}

impl Trust for NodeTrust {
    fn node_key(&mut self, origin: NodeId, der: &[u8], now: Now) -> Result<NodeKey, TrustError> {
        let now_s = now.wall.as_secs();
        if !self.certificates.contains_key(der) {
            let certificate = self.root.certificate(der, now_s).map_err(trust_error)?;
            if self.certificates.len() >= MAX_CERTIFICATES {
                self.certificates.clear();
            }
            self.certificates.insert(der.into(), certificate);
        }
        let certificate = self
            .certificates
            .get(der)
            .ok_or(TrustError::Malformed("certificate"))?;
        if !(certificate.not_before_s..=certificate.not_after_s).contains(&now_s) {
            return Err(TrustError::Validity);
        }
        match certificate.identity {
            Identity::Node { id, .. } if id == origin => {}
            _ => return Err(TrustError::WrongNode),
        }
        if self.root.has_revoked(certificate) {
            return Err(TrustError::Revoked);
        }
        Ok(NodeKey {
            key: PublicKey(certificate.public_key),
            not_after_s: certificate.not_after_s,
        })
    }

    fn verify(&mut self, key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
        dmsc_spa::verify::verify(&key.0, message, signature)
    }

    fn authorisation(&mut self, body: &[u8], _: Now) -> Result<Authorisation, TrustError> {
        self.root.authorisation(body).map_err(trust_error)
    }

    fn revocation(&mut self, body: &[u8], _: Now) -> Result<Revocation, TrustError> {
        self.root.revocation(body).map_err(trust_error)
    }

    fn root_revocation(&mut self, body: &[u8], _: Now) -> Result<RootRevocation, TrustError> {
        self.root.root_revocation(body).map_err(trust_error)
    }

    fn revoke(&mut self, revocation: &RootRevocation) {
        self.root.revoke(revocation);
    }
}
