//! What the root takes back: certificates of a node or an authority, and keys.

use std::collections::{BTreeSet, HashMap, HashSet};

use bytes::Bytes;
use dmsc_wire::{Domain, NameBuf, NodeId};

use super::Engine;
use super::parse::Parsed;
use crate::action::Action;
use crate::object::{Key, Kind};
use crate::trust::{Authorisation, RevokedSubject, RootRevocation, TrustError};

/// Authorities and keys that are void. The root signs these, so they are few; they are not forgotten while the process runs.
#[derive(Debug, Default)]
pub struct Voided {
    authorities: HashMap<String, u64>,
    keys: HashSet<[u8; 32]>,
}

impl Voided {
    fn add(&mut self, revocation: &RootRevocation) {
        match &revocation.subject {
            RevokedSubject::Node(_) => {}
            RevokedSubject::Authority(name) => {
                let before = self.authorities.entry(name.clone()).or_default();
                *before = (*before).max(revocation.issued_before_s);
            }
            RevokedSubject::Keys(keys) => self.keys.extend(keys),
        }
    }

    /// Whether the authority could no longer sign this: by its name and the beginning of its certificate, or by its key.
    pub fn hits(&self, authorisation: &Authorisation) -> bool {
        self.keys.contains(&authorisation.authority_key)
            || self
                .authorities
                .get(&authorisation.authority)
                .is_some_and(|before| authorisation.authority_issued_s < *before)
    }
}

impl Engine {
    /// A verified revocation by the root: what was certified is gone, and does not come back with the same certificates. Revocations
    /// that an authority signed stay in force: whoever stole its key must not undo them.
    pub(super) fn revoke_root(&mut self, id: u64, revocation: RootRevocation, body: &Bytes) {
        self.trust.revoke(&revocation);
        let subject = revocation.subject.clone();
        self.authorisations.voided.add(&revocation);
        let revocations = &mut self.authorisations.revocations;
        revocations.carried((Kind::ROOT_REVOCATION, id));
        if !revocations.insert_root(id, revocation, body.clone()) {
            return;
        }
        self.actions.push(Action::KeepRootRevocation(body.clone()));
        match subject {
            RevokedSubject::Node(node) => self.void_objects(Some(node)),
            RevokedSubject::Authority(_) => self.recheck_voided(),
            RevokedSubject::Keys(_) => {
                self.void_objects(None);
                self.recheck_voided();
            }
        }
    }

    /// Removes objects whose certificate is void: of one node, or of all.
    fn void_objects(&mut self, node: Option<NodeId>) {
        let own = self.config.node;
        let mut void: Vec<Key> = Vec::new();
        for (key, stored) in self.lsdb.iter().chain(self.waiting.iter()) {
            // The others no longer listen to this node itself; what is here still forwards.
            if key.origin == own || node.is_some_and(|node| key.origin != node) {
                continue;
            }
            let certificate = &stored.object.certificate;
            let is_void = match self.trust.node_key(key.origin, certificate, self.now) {
                Ok(_) => false,
                Err(TrustError::Revoked) => true,
                Err(_) => node.is_some(),
            };
            if is_void {
                void.push(key);
            }
        }
        let mut peers: BTreeSet<NodeId> = node.into_iter().filter(|node| *node != own).collect();
        for key in void {
            if key.kind == Kind::ADJACENCY {
                peers.insert(key.origin);
            }
            self.deferred.remove_origin(key.origin);
            self.waiting.remove(key);
            let old = self.lsdb.remove(key);
            if old.is_some() {
                self.index(key, Parsed::Purge, &Bytes::new(), old);
            }
        }
        // Nor does what somebody else signed with its key keep a new certificate's objects out.
        let trust = &mut self.trust;
        let now = self.now;
        self.buried.forget_where(|key, certificate| {
            key.origin != own
                && node.is_none_or(|node| key.origin == node)
                && trust.node_key(key.origin, certificate, now) == Err(TrustError::Revoked)
        });
        for peer in peers {
            self.deferred.remove_origin(peer);
            self.close_where(
                |state| state.peer == peer,
                "the certificate of this neighbour was revoked",
            );
        }
    }

    /// What void authorities covered is covered no more.
    fn recheck_voided(&mut self) {
        let voided: Vec<(NodeId, Domain, Vec<NameBuf>)> = self
            .authorisations
            .iter()
            .filter(|authorisation| self.authorisations.voided.hits(authorisation))
            .map(|authorisation| {
                let names = authorisation.grants.iter().map(|grant| grant.name.clone());
                (authorisation.gateway, authorisation.domain, names.collect())
            })
            .collect();
        for (gateway, domain, names) in voided {
            self.recheck(gateway, domain, names.iter());
        }
        self.own.prefixes_due = self.own.prefixes_due.map(|due| due.min(self.now.mono));
    }
}
