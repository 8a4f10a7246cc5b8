//! What the root took back, as far as a process heard of it.

use std::collections::{HashMap, HashSet};

use dmsc_linkstate::trust::{RevokedSubject, RootRevocation};
use dmsc_wire::NodeId;

use crate::identity::Identity;
use crate::statement::sha256;
use crate::verify::{Authorisation, Certificate};

/// Grows only by what the root signed. Nothing is forgotten: a revocation lasts as long as the root itself.
#[derive(Debug, Default)]
pub(crate) struct Void {
    /// Certificates whose validity began before (s) are void.
    nodes: HashMap<NodeId, u64>,
    authorities: HashMap<String, u64>,
    /// SHA-256 of public keys.
    keys: HashSet<[u8; 32]>,
}

impl Void {
    /// From now on. Whether it voids anything more than before.
    pub(crate) fn add(&mut self, revocation: &RootRevocation) -> bool {
        let before_s = revocation.issued_before_s;
        let later = |known: &mut u64| {
            let more = *known < before_s;
            *known = before_s.max(*known);
            more
        };
        match &revocation.subject {
            RevokedSubject::Node(node) => later(self.nodes.entry(*node).or_default()),
            RevokedSubject::Authority(name) => {
                later(self.authorities.entry(name.clone()).or_default())
            }
            RevokedSubject::Keys(keys) => {
                let known = self.keys.len();
                self.keys.extend(keys);
                self.keys.len() > known
            }
        }
    }

    pub(crate) fn has_node(&self, node: NodeId) -> bool {
        self.nodes.contains_key(&node)
    }

    pub(crate) fn has_key(&self, public_key: &[u8; 32]) -> bool {
        // Nothing is hashed while nothing is revoked, which is nearly always.
        !self.keys.is_empty() && self.keys.contains(&sha256(public_key))
    }

    pub(crate) fn has_certificate(&self, certificate: &Certificate) -> bool {
        let before_s = match &certificate.identity {
            Identity::Node { id, .. } => self.nodes.get(id),
            Identity::Authority(name) => self.authorities.get(name),
            _ => None,
        };
        before_s.is_some_and(|before_s| certificate.not_before_s < *before_s)
            || self.has_key(&certificate.public_key)
    }

    pub(crate) fn has_authorisation(&self, one: &Authorisation) -> bool {
        let before_s = self.authorities.get(&one.authority);
        before_s.is_some_and(|before_s| one.authority_issued_s < *before_s)
            || self.keys.contains(&one.authority_key)
    }
}
