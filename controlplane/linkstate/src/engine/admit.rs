//! What an accepted object changes: the graph, the RIB, authorisations and what they cover.

use std::collections::BTreeSet;

use bytes::Bytes;
use dmsc_wire::{Domain, NameBuf, NodeId};

use super::Engine;
use super::announced::Place;
use super::body::{self, Prefix};
use super::cover::Cover;
use super::lsdb::{Stored, body_id};
use super::parse::Parsed;
use crate::action::Action;
use crate::event::Known;
use crate::object::{Key, Kind};
use crate::trust::Revocation;

impl Engine {
    /// Wall clock that is believed, s.
    pub(super) fn now_s(&self) -> u64 {
        self.now.wall.as_secs()
    }

    /// Whether a claim is used, and whether it is stale (see [`super::cover`]); `old`: whether it was there, or announced, before this expiry (s).
    fn judgement(cover: Cover, old: impl FnOnce(u64) -> bool, now_s: u64) -> (bool, bool) {
        match cover {
            Cover::Valid => (true, false),
            Cover::Expired {
                not_after_s,
                until_s,
            } if now_s < until_s && old(not_after_s) => (true, true),
            _ => (false, false),
        }
    }

    /// Whether a prefix was announced before; 0 is no time.
    fn announced_before(announced_at_ms: u64, end_s: u64) -> bool {
        announced_at_ms > 0 && announced_at_ms < end_s.saturating_mul(1_000)
    }

    fn was_installed(&self, gateway: NodeId, domain: Domain, name: &NameBuf) -> bool {
        self.rib.installed(domain, name, gateway) || self.start.knows(domain, name, gateway)
    }

    fn judge(&self, gateway: NodeId, prefix: &Prefix) -> (bool, bool) {
        let (domain, name) = (prefix.domain, &prefix.name);
        let now_s = self.now_s();
        let cover = self.authorisations.cover(gateway, domain, name, now_s);
        let old = |end_s| {
            Self::announced_before(prefix.announced_at_ms, end_s)
                || self.was_installed(gateway, domain, name)
        };
        Self::judgement(cover, old, now_s)
    }

    /// Whether an object may be kept and flooded: some authorisation that is not revoked covers each of its prefixes, expired or not. This must not depend
    /// on what was here before, or databases would never become equal, and who starts behind a router that started late would lose what others have.
    pub(super) fn admissible(&self, origin: NodeId, prefixes: &[Prefix]) -> bool {
        let now_s = self.now_s();
        prefixes.iter().all(|prefix| {
            let (domain, name) = (prefix.domain, &prefix.name);
            self.authorisations.cover(origin, domain, name, now_s) != Cover::Nothing
        })
    }

    /// Whether this gateway may announce a prefix. Of its own it knows what was there before, so no time counts.
    pub(super) fn may_announce(&self, (domain, name): &Place) -> bool {
        let (own, now_s) = (self.config.node, self.now_s());
        let cover = self.authorisations.cover(own, *domain, name, now_s);
        Self::judgement(cover, |_| self.was_installed(own, *domain, name), now_s).0
    }

    /// Applies what changed under a key.
    pub(super) fn index(&mut self, key: Key, parsed: Parsed, body: &Bytes, old: Option<Stored>) {
        let was_live = old.as_ref().is_some_and(|old| !old.object.is_purge());
        match (key.kind, parsed) {
            (Kind::ADJACENCY, Parsed::Adjacency(body)) => {
                self.set_network(key, Some(body));
            }
            (Kind::ADJACENCY, _) => self.set_network(key, None),
            (Kind::PREFIX, Parsed::Prefixes(new)) => self.set_prefixes(key, &new, old),
            (Kind::PREFIX, Parsed::Purge) => self.set_prefixes(key, &[], old),
            (Kind::AUTHORISATION, Parsed::Authorisation(authorisation)) => {
                let known = self.authorisations.get(key.origin, key.id).is_some();
                if !known {
                    let grants = authorisation.grants.clone();
                    let domain = authorisation.domain;
                    self.authorisations
                        .insert(key.id, authorisation, self.now.wall.as_secs());
                    self.recheck(key.origin, domain, grants.iter().map(|grant| &grant.name));
                    self.reexamine.insert(key.origin);
                }
            }
            (Kind::AUTHORISATION, Parsed::Purge) if was_live => {
                if let Some(old) = self.authorisations.remove(key.origin, key.id) {
                    let names = old.grants.iter().map(|grant| &grant.name);
                    self.recheck(key.origin, old.domain, names);
                }
            }
            (Kind::REVOCATION, Parsed::Revocation(revocation)) => {
                self.revoke(key.id, revocation, body);
            }
            (Kind::ROOT_REVOCATION, Parsed::RootRevocation(revocation)) => {
                self.revoke_root(key.id, revocation, body);
            }
            _ => {}
        }
    }

    fn set_network(&mut self, key: Key, body: Option<body::AdjacencyBody>) {
        if self.network.set(key.origin, key.id, body, self.config.node) {
            self.backoff.trigger(self.now.mono);
            self.adjacency_changed_at.get_or_insert(self.now.mono);
        }
    }

    fn set_prefixes(&mut self, key: Key, new: &[Prefix], old: Option<Stored>) {
        let old: Vec<Prefix> = old
            .filter(|old| !old.object.is_purge())
            .and_then(|old| body::used_prefixes(&old.object.body, key.origin).ok())
            .unwrap_or_default();
        let draining = self.start.draining && key.origin == self.config.node;
        for prefix in new {
            let (installed, stale) = self.judge(key.origin, prefix);
            self.rib.claim(
                key.origin,
                key.id,
                prefix,
                self.now.mono,
                (installed && !draining, stale && !draining),
            );
        }
        let stays: BTreeSet<(Domain, &NameBuf)> = new
            .iter()
            .map(|prefix| (prefix.domain, &prefix.name))
            .collect();
        for prefix in &old {
            if !stays.contains(&(prefix.domain, &prefix.name)) {
                self.rib
                    .unclaim(key.origin, key.id, prefix.domain, &prefix.name);
            }
        }
    }

    /// What is covered at a gateway may have changed at or below these names.
    pub(super) fn recheck<'a>(
        &mut self,
        gateway: NodeId,
        domain: Domain,
        names: impl Iterator<Item = &'a NameBuf>,
    ) {
        for name in names {
            self.recheck_below(domain, Some(name), Some(gateway));
        }
    }

    fn recheck_below(&mut self, domain: Domain, name: Option<&NameBuf>, gateway: Option<NodeId>) {
        let now_s = self.now_s();
        for (name, gateways) in self.rib.names_below(domain, name, gateway) {
            for gateway in gateways {
                let cover = self.authorisations.cover(gateway, domain, &name, now_s);
                let known = self.start.knows(domain, &name, gateway);
                self.rib.judge(domain, &name, gateway, |claim| {
                    let old = |end_s| {
                        claim.installed
                            || known
                            || Self::announced_before(claim.announced_at_ms, end_s)
                    };
                    Self::judgement(cover, old, now_s)
                });
            }
        }
        if gateway.is_none_or(|gateway| gateway == self.config.node) {
            self.announced.touch(domain, name);
            if self.announced.is_dirty() {
                self.touch_prefixes();
            }
        }
    }

    pub(super) fn recheck_all(&mut self, name: Option<&NameBuf>, gateway: Option<NodeId>) {
        for domain in self.rib.domains() {
            self.recheck_below(domain, name, gateway);
        }
        if gateway.is_none_or(|gateway| gateway == self.config.node) {
            self.announced.touch_all(); // what is wanted may be in domains that have no prefix yet
            if self.announced.is_dirty() {
                self.touch_prefixes();
            }
        }
    }

    /// Authorisations that began, that expired, or whose time as stale is over.
    pub(super) fn expire_authorisations(&mut self) {
        let now_s = self.now_s();
        while let Some(turned) = self.authorisations.turned(now_s) {
            let (gateway, domain) = (turned.gateway, turned.domain);
            let names: Vec<NameBuf> = turned
                .grants
                .iter()
                .map(|grant| grant.name.clone())
                .collect();
            self.recheck(gateway, domain, names.iter());
            self.reexamine.insert(gateway);
        }
    }

    /// Objects that waited for an authorisation of these gateways.
    pub(super) fn reexamine_waiting(&mut self) {
        for origin in std::mem::take(&mut self.reexamine) {
            let keys: Vec<Key> = self.waiting.of(origin).collect();
            for key in keys {
                let Some(waiting) = self.waiting.get(key) else {
                    continue;
                };
                let Ok(prefixes) = body::used_prefixes(&waiting.object.body, origin) else {
                    continue;
                };
                if !self.admissible(origin, &prefixes) {
                    continue;
                }
                if let Some(waiting) = self.waiting.remove(key) {
                    // To all neighbours: from whom it came is not remembered, and an object too many is answered by nobody.
                    let since = waiting.since;
                    if self.key_of(&waiting.object).is_err()
                        || self.check_room(&waiting.object).is_err()
                        || self
                            .check_prefixes(&waiting.object, prefixes.len())
                            .is_err()
                    {
                        continue;
                    }
                    self.accept_waited(waiting.object, prefixes, since);
                }
            }
        }
    }

    fn accept_waited(
        &mut self,
        object: crate::object::Object,
        prefixes: Vec<Prefix>,
        since: std::time::Duration,
    ) {
        let waited = self.now.mono.saturating_sub(since);
        self.stages
            .push(super::stage::Stage::ReceivedVerified, waited);
        self.accept(object, Parsed::Prefixes(prefixes), None, since);
    }

    /// A verified revocation.
    pub(super) fn revoke(&mut self, id: u64, revocation: Revocation, body: &Bytes) {
        let Revocation {
            domain,
            name,
            gateway,
            ..
        } = revocation.clone();
        self.authorisations
            .revocations
            .carried((Kind::REVOCATION, id));
        // One that is over is taken too: the clock may be wrong, and it is forgotten in its time.
        if !self.authorisations.revoke(id, revocation, body.clone()) {
            return;
        }
        self.actions.push(Action::KeepRevocation(body.clone()));
        match domain {
            Some(domain) => self.recheck_below(domain, name.as_ref(), gateway),
            None => self.recheck_all(name.as_ref(), gateway),
        }
        self.own.prefixes_due = self.own.prefixes_due.map(|due| due.min(self.now.mono));
    }

    /// A statement that came by another way than a neighbour: verified, applied and originated.
    pub(super) fn state(&mut self, kind: Kind, body: Bytes) {
        let id = body_id(&body);
        if kind == Kind::REVOCATION {
            let Ok(revocation) = self.trust.revocation(&body, self.now) else {
                return;
            };
            self.revoke(id, revocation, &body);
        } else {
            let Ok(revocation) = self.trust.root_revocation(&body, self.now) else {
                return;
            };
            self.revoke_root(id, revocation, &body);
        }
        self.pass_on_given(kind, id, body);
    }

    /// Prefixes of the dataplane that are not in the RIB yet.
    pub(super) fn misses(&self, known: &Known) -> bool {
        !self.rib.installed(known.domain, &known.name, known.gateway)
    }
}
