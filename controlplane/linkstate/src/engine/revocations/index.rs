//! Revocations by what they end: found in as many look-ups as a name has components, for each authority that said some; never by going through
//! all, however many an authority says that name no prefix.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use dmsc_wire::{Domain, Name, NameBuf, NodeId};

use crate::trust::{Authorisation, Revocation};

/// What an authority may speak for. There are as many as certificates of authorities with different ones: few.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Scope {
    /// Empty = all.
    subtrees: Vec<NameBuf>,
    /// Empty = all.
    domains: Vec<Domain>,
}

impl Scope {
    fn of(revocation: &Revocation) -> Self {
        Self {
            subtrees: revocation.subtrees.clone(),
            domains: revocation.domains.clone(),
        }
    }

    fn covers(&self, domain: Domain, name: Name<'_>) -> bool {
        let covers = |subtree: &NameBuf| subtree.as_name().is_prefix_of(name);
        (self.domains.is_empty() || self.domains.contains(&domain))
            && (self.subtrees.is_empty() || self.subtrees.iter().any(covers))
    }
}

/// Number of a scope.
type ScopeId = u32;

/// (`issued_before_s`, id): the last one ends most.
type ByTime = BTreeSet<(u64, u64)>;

/// By identity.
#[derive(Debug, Default)]
struct Identities {
    any: ByTime,
    one: HashMap<String, ByTime>,
}

/// Those of one place and scope, by gateway and identity.
#[derive(Debug, Default)]
struct Group(HashMap<Option<NodeId>, Identities>);

impl Group {
    /// Those that are of this authorisation's gateway and identity, or of any.
    fn matching<'a>(
        &'a self,
        authorisation: &'a Authorisation,
    ) -> impl Iterator<Item = &'a ByTime> {
        [None, Some(authorisation.gateway)]
            .into_iter()
            .filter_map(|gateway| self.0.get(&gateway))
            .flat_map(|identities| {
                let one = identities.one.get(&authorisation.identity);
                std::iter::once(&identities.any).chain(one)
            })
    }

    fn hits(&self, authorisation: &Authorisation) -> bool {
        let mut matching = self.matching(authorisation);
        matching.any(|by_time| {
            let last = by_time.last();
            last.is_some_and(|(before, _)| authorisation.issued_at_s <= *before)
        })
    }

    fn ids<'a>(&'a self, authorisation: &'a Authorisation) -> impl Iterator<Item = u64> + 'a {
        let from = (authorisation.issued_at_s, 0);
        self.matching(authorisation)
            .flat_map(move |by_time| by_time.range(from..))
            .map(|(_, id)| *id)
    }

    /// Whether it is empty afterwards.
    fn change(&mut self, id: u64, revocation: &Revocation, add: bool) -> bool {
        let identities = self.0.entry(revocation.gateway).or_default();
        let entry = (revocation.issued_before_s, id);
        let by_time = match &revocation.identity {
            None => &mut identities.any,
            Some(identity) => identities.one.entry(identity.clone()).or_default(),
        };
        if add {
            by_time.insert(entry);
            return false;
        }
        by_time.remove(&entry);
        if let Some(identity) = &revocation.identity
            && by_time.is_empty()
        {
            identities.one.remove(identity);
        }
        if identities.any.is_empty() && identities.one.is_empty() {
            self.0.remove(&revocation.gateway);
        }
        self.0.is_empty()
    }
}

/// In one domain, or in all.
#[derive(Debug, Default)]
struct Of {
    /// Those that name no prefix.
    everything: HashMap<ScopeId, Group>,
    below: BTreeMap<NameBuf, HashMap<ScopeId, Group>>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Index {
    of: HashMap<Option<Domain>, Of>,
    numbers: HashMap<Scope, ScopeId>,
    scopes: HashMap<ScopeId, (Scope, usize)>,
    /// Scopes by subtree; those without are in `anywhere`.
    at: BTreeMap<NameBuf, BTreeSet<ScopeId>>,
    anywhere: BTreeSet<ScopeId>,
    last: ScopeId,
}

impl Index {
    /// Adds one.
    pub fn insert(&mut self, id: u64, revocation: &Revocation) {
        let scope = self.scope_of(revocation);
        let of = self.of.entry(revocation.domain).or_default();
        let groups = match &revocation.name {
            None => &mut of.everything,
            Some(name) => of.below.entry(name.clone()).or_default(),
        };
        let group = groups.entry(scope).or_default();
        group.change(id, revocation, true);
    }

    /// Removes one that is in it.
    pub fn remove(&mut self, id: u64, revocation: &Revocation) {
        let Some(scope) = self.numbers.get(&Scope::of(revocation)).copied() else {
            return;
        };
        if let Some(of) = self.of.get_mut(&revocation.domain) {
            let groups = match &revocation.name {
                None => Some(&mut of.everything),
                Some(name) => of.below.get_mut(name.as_bytes()),
            };
            if let Some(groups) = groups
                && let Some(group) = groups.get_mut(&scope)
                && group.change(id, revocation, false)
            {
                groups.remove(&scope);
                if let Some(name) = &revocation.name
                    && groups.is_empty()
                {
                    of.below.remove(name.as_bytes());
                }
            }
        }
        self.leave_scope(scope);
    }

    fn scope_of(&mut self, revocation: &Revocation) -> ScopeId {
        let scope = Scope::of(revocation);
        if let Some(number) = self.numbers.get(&scope) {
            if let Some((_, uses)) = self.scopes.get_mut(number) {
                *uses += 1;
            }
            return *number;
        }
        // Numbers of scopes that are gone are free again: four billion changes later.
        while self.scopes.contains_key(&self.last) {
            self.last = self.last.wrapping_add(1);
        }
        let number = self.last;
        if scope.subtrees.is_empty() {
            self.anywhere.insert(number);
        }
        for subtree in &scope.subtrees {
            self.at.entry(subtree.clone()).or_default().insert(number);
        }
        self.numbers.insert(scope.clone(), number);
        self.scopes.insert(number, (scope, 1));
        number
    }

    fn leave_scope(&mut self, number: ScopeId) {
        let Some((scope, uses)) = self.scopes.get_mut(&number) else {
            return;
        };
        *uses -= 1;
        if *uses > 0 {
            return;
        }
        for subtree in &scope.subtrees {
            if let Some(numbers) = self.at.get_mut(subtree.as_bytes()) {
                numbers.remove(&number);
                if numbers.is_empty() {
                    self.at.remove(subtree.as_bytes());
                }
            }
        }
        self.anywhere.remove(&number);
        self.numbers.remove(scope);
        self.scopes.remove(&number);
    }

    fn of_domain(&self, domain: Domain) -> impl Iterator<Item = &Of> {
        let domains = [None, Some(domain)].into_iter();
        domains.filter_map(|domain| self.of.get(&domain))
    }

    /// Whether an authorisation was revoked for a name.
    pub fn hits(&self, authorisation: &Authorisation, name: &NameBuf) -> bool {
        let (domain, name) = (authorisation.domain, name.as_name());
        let hits = |scope: &ScopeId, group: &Group| {
            self.scopes
                .get(scope)
                .is_some_and(|(scope, _)| scope.covers(domain, name))
                && group.hits(authorisation)
        };
        self.of_domain(domain).any(|of| {
            let mut depths = 1..=name.component_count();
            let mut above = depths.clone().filter_map(|depth| {
                let prefix = name.prefix(depth);
                of.below.get(prefix.as_bytes())
            });
            let everywhere = |scope: &ScopeId| {
                let group = of.everything.get(scope);
                group.is_some_and(|group| hits(scope, group))
            };
            above.any(|groups| groups.iter().any(|(scope, group)| hits(scope, group)))
                || (!of.everything.is_empty()
                    && (self.anywhere.iter().any(everywhere)
                        || depths.any(|depth| {
                            let scopes = self.at.get(name.prefix(depth).as_bytes());
                            scopes.is_some_and(|scopes| scopes.iter().any(everywhere))
                        })))
        })
    }

    /// Those that may end a part of an authorisation: each that does is among them.
    pub fn near(&self, authorisation: &Authorisation) -> BTreeSet<u64> {
        let mut found = BTreeSet::new();
        for of in self.of_domain(authorisation.domain) {
            for group in of.everything.values() {
                found.extend(group.ids(authorisation));
            }
            for grant in &authorisation.grants {
                let name = grant.name.as_name();
                let above = (1..name.component_count())
                    .filter_map(|depth| of.below.get(name.prefix(depth).as_bytes()));
                let from = Bound::Included(name.as_bytes());
                let below = of
                    .below
                    .range::<[u8], _>((from, Bound::Unbounded))
                    .take_while(|(at, _)| name.is_prefix_of(at.as_name()))
                    .map(|(_, groups)| groups);
                for group in above.chain(below).flat_map(HashMap::values) {
                    found.extend(group.ids(authorisation));
                }
            }
        }
        found
    }

    /// Whether nothing is in it.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
            && self.scopes.is_empty()
            && self.at.is_empty()
            && self.anywhere.is_empty()
            && self
                .of
                .values()
                .all(|of| of.everything.is_empty() && of.below.is_empty())
    }
}
