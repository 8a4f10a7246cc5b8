//! What authorities took back, found by name.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::Arc;

use dmsc_linkstate::trust::{Authorisation, Revocation};
use dmsc_wire::{Domain, NameBuf, NodeId};

/// Revocations that concern one gateway, found by name in as many look-ups as the name has components.
#[derive(Debug, Default)]
pub struct Revoked<'a> {
    by_whom: HashMap<(Option<Domain>, Option<&'a str>), Of<'a>>,
}

#[derive(Debug, Default)]
struct Of<'a> {
    everything: Vec<Told<'a>>,
    below: HashMap<&'a [u8], Vec<Told<'a>>>,
}

/// A revocation, with its sentence once somebody needs it.
#[derive(Debug)]
pub(super) struct Told<'a> {
    pub revocation: &'a Revocation,
    text: OnceCell<Arc<str>>,
}

impl Told<'_> {
    /// Whether it ends this authorisation, whichever authority granted it.
    pub const fn ends(&self, one: &Authorisation) -> bool {
        one.issued_at_s <= self.revocation.issued_before_s
    }

    pub fn text(&self) -> Arc<str> {
        let one = self.revocation;
        let text = || format!("revoked by authority {}: {}", one.authority, one.reason).into();
        Arc::clone(self.text.get_or_init(text))
    }
}

impl<'a> Revoked<'a> {
    /// Those of `all` that concern `gateway`.
    pub fn new(gateway: NodeId, all: impl Iterator<Item = &'a Revocation>) -> Self {
        let mut by_whom: HashMap<_, Of<'a>> = HashMap::new();
        for revocation in all {
            if revocation.gateway.is_some_and(|one| one != gateway) {
                continue;
            }
            let whom = (revocation.domain, revocation.identity.as_deref());
            let of = by_whom.entry(whom).or_default();
            let list = match &revocation.name {
                None => &mut of.everything,
                Some(name) => of.below.entry(name.as_bytes()).or_default(),
            };
            list.push(Told {
                revocation,
                text: OnceCell::new(),
            });
        }
        Self { by_whom }
    }

    /// Whether none concerns this identity.
    #[must_use]
    pub fn spares(&self, domain: Domain, identity: &str) -> bool {
        self.of(domain, identity).next().is_none()
    }

    fn of<'s>(&'s self, domain: Domain, identity: &'s str) -> impl Iterator<Item = &'s Of<'a>> {
        [None, Some(domain)]
            .into_iter()
            .flat_map(move |domain| [(domain, None), (domain, Some(identity))])
            .filter_map(move |whom| self.by_whom.get(&whom))
    }

    /// Those that concern a name of a pod.
    pub(super) fn told<'s>(
        &'s self,
        domain: Domain,
        identity: &'s str,
        name: &'s NameBuf,
    ) -> impl Iterator<Item = &'s Told<'a>> {
        let depth = name.as_name().component_count();
        self.of(domain, identity)
            .flat_map(move |of| {
                let below = (1..=depth)
                    .filter_map(move |level| of.below.get(name.as_name().prefix(level).as_bytes()))
                    .flatten();
                of.everything.iter().chain(below)
            })
            .filter(move |told| {
                // An authority ends nothing that it may not speak for.
                let (domains, subtrees) = (&told.revocation.domains, &told.revocation.subtrees);
                let covers = |subtree: &NameBuf| subtree.as_name().is_prefix_of(name.as_name());
                (domains.is_empty() || domains.contains(&domain))
                    && (subtrees.is_empty() || subtrees.iter().any(covers))
            })
    }
}
