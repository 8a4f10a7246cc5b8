//! The RIB: who serves which prefix, by accepted objects and their authorisations; and what of that was told.
//! What a change costs grows with the change, never with what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use dmsc_wire::{Domain, NameBuf, NodeId};

use super::body::Prefix;
use crate::action::{PrefixChange, PrefixMember};

/// That one object of a gateway names a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Who.
    pub gateway: NodeId,
    /// In which of its objects.
    pub object: u64,
    /// To be added to the distance of the gateway.
    pub metric: u32,
    /// At least 1.
    pub weight: u32,
    /// When the pod announced it, wall clock, ms.
    pub announced_at_ms: u64,
    /// When its object was accepted here.
    pub accepted: Duration,
    /// It is used.
    pub installed: bool,
    /// Its authorisation expired.
    pub stale: bool,
}

/// One prefix.
#[derive(Debug, Default)]
pub struct Entry {
    /// Who claims it.
    pub claims: Vec<Claim>,
    told: Vec<PrefixMember>,
}

impl Entry {
    /// One member per gateway, ascending.
    fn members(&self) -> Vec<PrefixMember> {
        let mut members: Vec<PrefixMember> = Vec::new();
        for claim in self.claims.iter().filter(|claim| claim.installed) {
            if members
                .last()
                .is_none_or(|last| last.gateway != claim.gateway)
            {
                members.push(PrefixMember {
                    gateway: claim.gateway,
                    metric: claim.metric,
                    weight: claim.weight,
                });
            }
        }
        members
    }
}

/// Prefixes of all domains.
#[derive(Debug, Default)]
pub struct Rib {
    domains: BTreeMap<Domain, BTreeMap<NameBuf, Entry>>,
    /// Names that a gateway claims, so that its authorisations cost nothing to others.
    of_gateway: BTreeMap<(NodeId, Domain), BTreeMap<NameBuf, ()>>,
    /// Claims of one object: how many, and how many of them are installed.
    of_object: BTreeMap<(NodeId, u64), Count>,
    changed: BTreeSet<(Domain, NameBuf)>,
    stale: usize,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    claims: usize,
    installed: usize,
}

/// Names at or below `name` are neighbours in the order of encodings.
fn below<'a, V>(
    names: &'a BTreeMap<NameBuf, V>,
    name: Option<&'a NameBuf>,
    after: Option<&'a NameBuf>,
) -> impl Iterator<Item = (&'a NameBuf, &'a V)> {
    let from = name.map_or(Bound::Unbounded, |name| Bound::Included(name.as_bytes()));
    let from = match after {
        Some(after) if name.is_none_or(|name| name <= after) => Bound::Excluded(after.as_bytes()),
        _ => from,
    };
    names
        .range::<[u8], _>((from, Bound::Unbounded))
        .take_while(move |(at, _)| {
            name.is_none_or(|name| name.as_name().is_prefix_of(at.as_name()))
        })
}

impl Rib {
    /// Domains with prefixes.
    pub fn domains(&self) -> Vec<Domain> {
        self.domains.keys().copied().collect()
    }

    /// Prefixes at or below a name in one domain that this gateway (or any) claims, with those who claim them.
    pub fn names_below(
        &self,
        domain: Domain,
        name: Option<&NameBuf>,
        gateway: Option<NodeId>,
    ) -> Vec<(NameBuf, Vec<NodeId>)> {
        if let Some(gateway) = gateway {
            let names = self.of_gateway.get(&(gateway, domain));
            return names
                .into_iter()
                .flat_map(|names| below(names, name, None))
                .map(|(name, ())| (name.clone(), vec![gateway]))
                .collect();
        }
        let names = self.domains.get(&domain);
        names
            .into_iter()
            .flat_map(|names| below(names, name, None))
            .map(|(name, entry)| {
                let mut gateways: Vec<NodeId> =
                    entry.claims.iter().map(|claim| claim.gateway).collect();
                gateways.dedup();
                (name.clone(), gateways)
            })
            .collect()
    }

    /// Entries at or below a name in all domains, from after one on.
    pub fn iter_below<'a>(
        &'a self,
        name: Option<&'a NameBuf>,
        after: Option<&'a (Domain, NameBuf)>,
    ) -> impl Iterator<Item = (Domain, &'a NameBuf, &'a Entry)> {
        let first = after.map_or(Domain(0), |(domain, _)| *domain);
        self.domains
            .range(first..)
            .flat_map(move |(domain, names)| {
                let after = after.filter(|(of, _)| of == domain).map(|(_, name)| name);
                below(names, name, after).map(move |(name, entry)| (*domain, name, entry))
            })
    }

    /// Number of prefixes that somebody serves.
    pub fn len(&self) -> usize {
        self.domains.values().map(BTreeMap::len).sum()
    }

    /// Installed claims whose authorisation expired.
    pub fn stale(&self) -> usize {
        self.stale
    }

    /// Whether a prefix is installed for a gateway.
    pub fn installed(&self, domain: Domain, name: &NameBuf, gateway: NodeId) -> bool {
        self.domains
            .get(&domain)
            .and_then(|names| names.get(name))
            .is_some_and(|entry| {
                entry
                    .claims
                    .iter()
                    .any(|claim| claim.gateway == gateway && claim.installed)
            })
    }

    /// Whether an object claims so many prefixes, and all of them are installed.
    pub fn is_installed(&self, gateway: NodeId, object: u64, prefixes: usize) -> bool {
        let count = self.of_object.get(&(gateway, object));
        count.is_some_and(|count| count.claims == prefixes && count.installed == prefixes)
    }

    /// Adds or replaces the claim of one object.
    pub fn claim(
        &mut self,
        gateway: NodeId,
        object: u64,
        prefix: &Prefix,
        accepted: Duration,
        (installed, stale): (bool, bool),
    ) {
        let claim = Claim {
            gateway,
            object,
            metric: prefix.metric,
            weight: prefix.weight,
            announced_at_ms: prefix.announced_at_ms,
            accepted,
            installed,
            stale,
        };
        let entry = self
            .domains
            .entry(prefix.domain)
            .or_default()
            .entry(prefix.name.clone())
            .or_default();
        self.stale += usize::from(stale);
        let count = self.of_object.entry((gateway, object)).or_default();
        count.installed += usize::from(installed);
        match entry
            .claims
            .binary_search_by_key(&(gateway, object), |claim| (claim.gateway, claim.object))
        {
            Ok(at) => {
                if let Some(old) = entry.claims.get_mut(at) {
                    self.stale = self.stale.saturating_sub(usize::from(old.stale));
                    count.installed = count.installed.saturating_sub(usize::from(old.installed));
                    *old = claim;
                }
            }
            Err(at) => {
                count.claims += 1;
                entry.claims.insert(at, claim);
            }
        }
        self.of_gateway
            .entry((gateway, prefix.domain))
            .or_default()
            .insert(prefix.name.clone(), ());
        self.changed.insert((prefix.domain, prefix.name.clone()));
    }

    /// Removes the claim of one object.
    pub fn unclaim(&mut self, gateway: NodeId, object: u64, domain: Domain, name: &NameBuf) {
        let Some(entry) = self
            .domains
            .get_mut(&domain)
            .and_then(|names| names.get_mut(name))
        else {
            return;
        };
        let stale = &mut self.stale;
        let mut count = self
            .of_object
            .remove(&(gateway, object))
            .unwrap_or_default();
        entry.claims.retain(|claim| {
            let gone = claim.gateway == gateway && claim.object == object;
            if gone {
                *stale = stale.saturating_sub(usize::from(claim.stale));
                count.claims = count.claims.saturating_sub(1);
                count.installed = count.installed.saturating_sub(usize::from(claim.installed));
            }
            !gone
        });
        if count.claims > 0 {
            self.of_object.insert((gateway, object), count);
        }
        let claims_it = entry.claims.iter().any(|claim| claim.gateway == gateway);
        if !claims_it && let Some(names) = self.of_gateway.get_mut(&(gateway, domain)) {
            names.remove(name);
            if names.is_empty() {
                self.of_gateway.remove(&(gateway, domain));
            }
        }
        self.changed.insert((domain, name.clone()));
    }

    /// Judges the claims of a gateway to a prefix anew.
    pub fn judge(
        &mut self,
        domain: Domain,
        name: &NameBuf,
        gateway: NodeId,
        judgement: impl Fn(&Claim) -> (bool, bool),
    ) {
        let Some(entry) = self
            .domains
            .get_mut(&domain)
            .and_then(|names| names.get_mut(name))
        else {
            return;
        };
        for claim in entry
            .claims
            .iter_mut()
            .filter(|claim| claim.gateway == gateway)
        {
            let (installed, stale) = judgement(claim);
            if claim.installed != installed {
                claim.installed = installed;
                let count = self.of_object.entry((gateway, claim.object)).or_default();
                count.installed = if installed {
                    count.installed + 1
                } else {
                    count.installed.saturating_sub(1)
                };
                self.changed.insert((domain, name.clone()));
            }
            self.stale = (self.stale + usize::from(stale)).saturating_sub(usize::from(claim.stale));
            claim.stale = stale;
        }
    }

    /// Whether something is to be told.
    pub fn is_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Nothing counts as told.
    pub fn tell_all(&mut self) {
        for (domain, names) in &mut self.domains {
            for (name, entry) in names {
                entry.told.clear();
                self.changed.insert((*domain, name.clone()));
            }
        }
    }

    /// What changed since it was told; it is told now. With each, the claims that are new since `told_at` (accepted, announced).
    pub fn take_changes(&mut self) -> (Vec<PrefixChange>, Vec<(Duration, u64)>) {
        let mut changes = Vec::new();
        let mut times = Vec::new();
        for (domain, name) in std::mem::take(&mut self.changed) {
            let Some(names) = self.domains.get_mut(&domain) else {
                continue;
            };
            let Some(entry) = names.get_mut(&name) else {
                continue;
            };
            let members = entry.members();
            if members != entry.told {
                let new = |claim: &&Claim| {
                    claim.installed && !entry.told.iter().any(|told| told.gateway == claim.gateway)
                };
                times.extend(
                    entry
                        .claims
                        .iter()
                        .filter(new)
                        .map(|claim| (claim.accepted, claim.announced_at_ms)),
                );
                entry.told.clone_from(&members);
                changes.push(PrefixChange {
                    domain,
                    name: name.clone(),
                    members,
                });
            }
            if entry.claims.is_empty() {
                names.remove(&name);
                if names.is_empty() {
                    self.domains.remove(&domain);
                }
            }
        }
        (changes, times)
    }
}
