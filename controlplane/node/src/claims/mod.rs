//! What pods of this gateway want to serve, and what authorities said to it.

mod proofs;
mod revoked;
mod taken_back;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use dmsc_linkstate::trust::{Authorisation, Grant};
use dmsc_wire::{Domain, NameBuf, NodeId};

pub use proofs::Proofs;
pub use revoked::Revoked;
pub use taken_back::TakenBack;

use crate::lease::LeaseId;

/// A pod's proof that it was there, for the authorities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// X.509 DER.
    pub certificate: Bytes,
    /// Of the certificate.
    pub public_key: [u8; 32],
    /// PodStatement.
    pub statement: Bytes,
    /// By the certificate's key.
    pub signature: Bytes,
    /// All names that it signed for, in its order, as a [`dmsc_spa::statement::prefix_list`]: authorities compare them with the statement.
    pub prefixes: Bytes,
}

/// What one pod wants.
#[derive(Debug, Clone, Default)]
pub struct Claim {
    /// Whose.
    pub identity: String,
    /// Tenant.
    pub domain: Domain,
    /// Everything that it asked for and that was not refused.
    pub wanted: BTreeSet<NameBuf>,
    /// Of them, those that are not served yet, with the reason.
    pub waiting: BTreeMap<NameBuf, Arc<str>>,
    /// What people should know; empty: all is well.
    pub reason: String,
    /// Without one (found after a restart) authorities cannot be asked until the pod registers again.
    pub proof: Option<Proof>,
    pub(crate) renewal: Renewal,
    /// What its pod was told last.
    pub(crate) told: Option<proofs::Told>,
}

impl Claim {
    /// Whether this is the registration that the pod made with this statement.
    pub(crate) fn is_stated(&self, statement: &Bytes) -> bool {
        let proof = self.proof.as_ref();
        proof.is_some_and(|proof| proof.statement == statement)
    }
}

/// When a claim is to be renewed, as computed last: it is looked at often, and costs look-ups for each name.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Renewal {
    /// Of [`Claims`], and how much was wanted then: a claim only ever loses names.
    of: (u64, usize),
    /// s since 1970; `None`: nothing that is wanted was ever granted.
    pub at_s: Option<u64>,
}

/// An authorisation of this gateway.
#[derive(Debug, Clone)]
pub struct Held {
    /// SignedAuthorisation.
    pub body: Bytes,
    /// What it says.
    pub authorisation: Authorisation,
}

/// Whether a name may be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Right {
    /// Now.
    Valid,
    /// It was; what is installed stays for a while.
    Expired,
    /// Nobody said so.
    Unknown,
    /// Taken away; by whom and why.
    Revoked(Arc<str>),
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    held: usize,
    exact: bool,
    maximum_depth: u8,
}

type Grants = HashMap<NameBuf, Vec<Entry>>;
type Index = HashMap<Domain, HashMap<String, Grants>>;

/// All claims and authorisations of a gateway.
#[derive(Debug, Default)]
pub struct Claims {
    gateway: NodeId,
    /// By lease.
    pub by_lease: HashMap<LeaseId, Claim>,
    held: Vec<Held>,
    index: Index,
    /// Counts changes of what is held.
    version: u64,
}

/// Authorisations that grant `name` to a pod, each with its place in `held`, with no regard to time and revocations.
fn covering<'a>(
    index: &'a Index,
    held: &'a [Held],
    (domain, identity): (Domain, &str),
    name: &'a NameBuf,
) -> impl Iterator<Item = (usize, &'a Authorisation)> {
    let depth = name.as_name().component_count();
    index
        .get(&domain)
        .and_then(|pods| pods.get(identity))
        .into_iter()
        .flat_map(move |grants| {
            (1..=depth).filter_map(move |level| {
                let above = name.as_name().prefix(level);
                Some((level, grants.get(above.as_bytes())?))
            })
        })
        .flat_map(move |(level, entries)| {
            entries.iter().filter(move |entry| {
                if entry.exact {
                    level == depth
                } else {
                    depth <= usize::from(entry.maximum_depth)
                }
            })
        })
        .filter_map(|entry| Some((entry.held, &held.get(entry.held)?.authorisation)))
}

/// After a third of its life.
fn renewal_of((_, one): (usize, &Authorisation)) -> u64 {
    one.issued_at_s + one.not_after_s.saturating_sub(one.issued_at_s) / 3
}

impl Claims {
    /// Of `gateway`.
    #[must_use]
    pub fn new(gateway: NodeId) -> Self {
        Self {
            gateway,
            ..Self::default()
        }
    }

    /// Own authorisations.
    #[must_use]
    pub fn held(&self) -> &[Held] {
        &self.held
    }

    /// Takes more authorisations; those for other gateways are left out. Tells which were new.
    pub fn add(&mut self, more: Vec<Held>) -> Vec<Bytes> {
        let mut new = Vec::new();
        for held in more {
            if held.authorisation.gateway == self.gateway
                && !self.held.iter().any(|old| old.body == held.body)
            {
                new.push(held.body.clone());
                self.held.push(held);
            }
        }
        if !new.is_empty() {
            self.reindex();
        }
        new
    }

    /// Drops what is of no use any more: over for good, or of an identity, authority and domain that has newer ones which grant the same.
    /// Tells what was dropped.
    pub fn prune(&mut self, now_s: u64) -> Vec<Bytes> {
        type Of<'a> = (&'a str, Domain, &'a str);
        fn of(one: &Authorisation) -> Of<'_> {
            (&one.authority, one.domain, &one.identity)
        }
        let mut granted: HashMap<Of<'_>, HashMap<&Grant, u64>> = HashMap::new();
        for Held { authorisation, .. } in &self.held {
            let newest = granted.entry(of(authorisation)).or_default();
            for grant in &authorisation.grants {
                let at = newest.entry(grant).or_default();
                *at = (*at).max(authorisation.serial);
            }
        }
        let useful = |held: &Held| {
            let one = &held.authorisation;
            let over = one.not_after_s.saturating_add(u64::from(one.stale_s)) < now_s;
            let newest = granted.get(&of(one));
            let replaced = one.grants.iter().all(|grant| {
                newest
                    .and_then(|newest| newest.get(grant))
                    .is_some_and(|serial| *serial > one.serial)
            });
            !over && !replaced
        };
        let keep: Vec<bool> = self.held.iter().map(useful).collect();
        if keep.iter().all(|keep| *keep) {
            return Vec::new();
        }
        let mut dropped = Vec::new();
        let held = std::mem::take(&mut self.held);
        for (held, keep) in held.into_iter().zip(keep) {
            if keep {
                self.held.push(held);
            } else {
                dropped.push(held.body);
            }
        }
        self.reindex();
        dropped
    }

    /// Drops authorisations that are void, and tells which.
    pub(crate) fn drop_if(&mut self, is_void: impl Fn(&Authorisation) -> bool) -> Vec<Bytes> {
        let void = self
            .held
            .extract_if(.., |held| is_void(&held.authorisation));
        let dropped: Vec<Bytes> = void.map(|held| held.body).collect();
        if !dropped.is_empty() {
            self.reindex();
        }
        dropped
    }

    fn reindex(&mut self) {
        self.version += 1;
        self.index.clear();
        for (number, held) in self.held.iter().enumerate() {
            let one = &held.authorisation;
            let grants = self
                .index
                .entry(one.domain)
                .or_default()
                .entry(one.identity.clone())
                .or_default();
            for grant in &one.grants {
                grants.entry(grant.name.clone()).or_default().push(Entry {
                    held: number,
                    exact: grant.exact,
                    maximum_depth: grant.maximum_depth,
                });
            }
        }
    }

    /// Whether a pod may serve `name`, as far as is known here.
    #[must_use]
    pub fn right(
        &self,
        domain: Domain,
        identity: &str,
        name: &NameBuf,
        revoked: &Revoked<'_>,
        now_s: u64,
    ) -> Right {
        let mut best = None;
        // A revocation of everything is about names that were granted; what nobody ever granted is unknown, and not revoked.
        let mut by = None;
        for (_, one) in covering(&self.index, &self.held, (domain, identity), name) {
            let mut told = revoked.told(domain, identity, name);
            let hit = told.find(|told| told.ends(one));
            if hit.is_some() {
                by = by.or(hit);
                continue;
            }
            if one.not_after_s.saturating_add(u64::from(one.stale_s)) < now_s {
                continue;
            }
            if now_s <= one.not_after_s {
                return Right::Valid;
            }
            best = Some(Right::Expired);
        }
        if let Some(best) = best {
            return best;
        }
        let named = || {
            revoked
                .told(domain, identity, name)
                .find(|told| told.revocation.name.is_some())
        };
        match by.or_else(named) {
            Some(told) => Right::Revoked(told.text()),
            None => Right::Unknown,
        }
    }

    /// How many names may wait for the authorities under a lease, of `most` of one identity and of all.
    #[must_use]
    pub(crate) fn room(&self, lease: LeaseId, identity: &str, most: (usize, usize)) -> usize {
        let (mut own, mut all) = (0, 0);
        for (id, claim) in &self.by_lease {
            if *id != lease {
                all += claim.waiting.len();
                if claim.identity == identity {
                    own += claim.waiting.len();
                }
            }
        }
        let left = |most: usize, taken| most.saturating_sub(taken);
        left(most.0, own).min(left(most.1, all))
    }

    /// A place for the list of names that a pod signed for: that of another registration if it is the same, the given one while those that are kept
    /// stay below `most` bytes of one identity and of all. `None`: no room.
    #[must_use]
    pub(crate) fn list(&self, identity: &str, list: &Bytes, most: (usize, usize)) -> Option<Bytes> {
        let (mut own, mut all) = (0, 0);
        let mut counted = HashSet::new();
        for claim in self.by_lease.values() {
            let Some(proof) = &claim.proof else { continue };
            if proof.prefixes == list {
                return Some(proof.prefixes.clone());
            }
            if counted.insert(proof.prefixes.as_ptr()) {
                all += proof.prefixes.len();
                if claim.identity == identity {
                    own += proof.prefixes.len();
                }
            }
        }
        (own + list.len() <= most.0 && all + list.len() <= most.1).then(|| list.clone())
    }

    /// When a name is to be renewed: after a third of the life of the authorisation that keeps it longest. `None` without any.
    #[must_use]
    pub fn renew_name_at_s(&self, domain: Domain, identity: &str, name: &NameBuf) -> Option<u64> {
        covering(&self.index, &self.held, (domain, identity), name)
            .map(renewal_of)
            .max()
    }

    /// Brings [`Claim::renewal`] of all claims up to date: the first of their names decides. An older authorisation of names that nobody wants any
    /// more, or that newer ones grant too, is not renewed.
    pub(crate) fn plan_renewals(&mut self) {
        let (index, held) = (&self.index, &self.held);
        for claim in self.by_lease.values_mut() {
            let of = (self.version, claim.wanted.len());
            if claim.renewal.of == of {
                continue;
            }
            let who = (claim.domain, claim.identity.as_str());
            let names = claim.wanted.iter();
            let times =
                names.filter_map(|name| covering(index, held, who, name).map(renewal_of).max());
            let at_s = times.min();
            claim.renewal = Renewal { of, at_s };
        }
    }
}
