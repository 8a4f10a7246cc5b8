//! Revocations in force, found by name in as many look-ups as the name has components.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use dmsc_wire::{Domain, NameBuf, NodeId};

use crate::trust::{Authorisation, Revocation, RootRevocation};

/// Most that are kept; authorities sign them, so this is never reached by accident.
const MOST: usize = 100_000;

/// Of one authority in one domain.
#[derive(Debug, Default)]
struct Of {
    everything: Vec<u64>,
    below: HashMap<NameBuf, Vec<u64>>,
}

/// Revocations of authorisations and of nodes.
#[derive(Debug, Default)]
pub struct Revocations {
    by_id: BTreeMap<u64, Revocation>,
    index: HashMap<Option<Domain>, HashMap<String, Of>>,
    nodes: BTreeMap<u64, RootRevocation>,
}

impl Revocations {
    /// All of authorisations.
    pub fn iter(&self) -> impl Iterator<Item = &Revocation> {
        self.by_id.values()
    }

    /// From after one on, by id.
    pub fn iter_after(&self, after: Option<u64>) -> impl Iterator<Item = (u64, &Revocation)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_id
            .range((from, Bound::Unbounded))
            .map(|(id, one)| (*id, one))
    }

    /// Adds one; whether it is new.
    pub fn insert(&mut self, id: u64, revocation: Revocation) -> bool {
        if self.by_id.contains_key(&id) || self.by_id.len() >= MOST {
            return false;
        }
        let of = self
            .index
            .entry(revocation.domain)
            .or_default()
            .entry(revocation.authority.clone())
            .or_default();
        match &revocation.name {
            None => of.everything.push(id),
            Some(name) => of.below.entry(name.clone()).or_default().push(id),
        }
        self.by_id.insert(id, revocation);
        true
    }

    /// Adds one of a node; whether it is new.
    pub fn insert_node(&mut self, id: u64, revocation: RootRevocation) -> bool {
        if self.nodes.contains_key(&id) || self.nodes.len() >= MOST {
            return false;
        }
        self.nodes.insert(id, revocation);
        true
    }

    /// Whether an authorisation was revoked for a name.
    pub fn hit(&self, authorisation: &Authorisation, name: &NameBuf) -> bool {
        [None, Some(authorisation.domain)]
            .iter()
            .filter_map(|domain| self.index.get(domain)?.get(&authorisation.authority))
            .any(|of| self.hit_by(of, authorisation, name))
    }

    fn hit_by(&self, of: &Of, authorisation: &Authorisation, name: &NameBuf) -> bool {
        let applies = |ids: &Vec<u64>| {
            ids.iter()
                .filter_map(|id| self.by_id.get(id))
                .any(|revocation| Self::applies(revocation, authorisation))
        };
        applies(&of.everything)
            || (1..=name.as_name().component_count())
                .filter_map(|depth| of.below.get(name.as_name().prefix(depth).as_bytes()))
                .any(applies)
    }

    fn applies(revocation: &Revocation, authorisation: &Authorisation) -> bool {
        let gateway = |gateway: NodeId| gateway == authorisation.gateway;
        authorisation.issued_at_s <= revocation.issued_before_s
            && revocation.gateway.is_none_or(gateway)
            && revocation
                .identity
                .as_ref()
                .is_none_or(|identity| *identity == authorisation.identity)
    }

    /// Whether all of an authorisation is revoked.
    pub fn hit_all(&self, authorisation: &Authorisation) -> bool {
        !authorisation.grants.is_empty()
            && authorisation
                .grants
                .iter()
                .all(|grant| self.hit(authorisation, &grant.name))
    }

    /// Forgets those whose time is over by the wall clock, when there are many: they match nothing new.
    pub fn expire(&mut self, wall_s: u64) {
        self.nodes
            .retain(|_, revocation| revocation.until_s > wall_s);
        let before = self.by_id.len();
        self.by_id
            .retain(|_, revocation| revocation.until_s > wall_s);
        if self.by_id.len() == before {
            return;
        }
        let by_id = &self.by_id;
        for domain in self.index.values_mut() {
            for of in domain.values_mut() {
                of.everything.retain(|id| by_id.contains_key(id));
                of.below.retain(|_, ids| {
                    ids.retain(|id| by_id.contains_key(id));
                    !ids.is_empty()
                });
            }
        }
    }
}
