//! What pods of this gateway want to serve, and what authorities said to it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use dmsc_linkstate::trust::Revocation;
use dmsc_spa::verify::Authorisation;
use dmsc_wire::{Domain, NameBuf, NodeId};

use crate::lease::LeaseId;

/// A pod's proof that it was there, for the authorities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// X.509 DER.
    pub certificate: Bytes,
    /// PodStatement.
    pub statement: Bytes,
    /// By the certificate's key.
    pub signature: Bytes,
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

/// All claims and authorisations of a gateway.
#[derive(Debug, Default)]
pub struct Claims {
    gateway: NodeId,
    /// By lease.
    pub by_lease: HashMap<LeaseId, Claim>,
    held: Vec<Held>,
    index: HashMap<(Domain, String), Grants>,
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
        let mut granted: HashMap<Of<'_>, HashMap<(&NameBuf, bool, u8), u64>> = HashMap::new();
        for Held { authorisation, .. } in &self.held {
            let newest = granted.entry(of(authorisation)).or_default();
            for (name, exact, depth) in &authorisation.grants {
                let at = newest.entry((name, *exact, *depth)).or_default();
                *at = (*at).max(authorisation.serial);
            }
        }
        let useful = |held: &Held| {
            let one = &held.authorisation;
            let over = one.not_after_s.saturating_add(u64::from(one.stale_s)) < now_s;
            let newest = granted.get(&of(one));
            let replaced = one.grants.iter().all(|(name, exact, depth)| {
                newest
                    .and_then(|newest| newest.get(&(name, *exact, *depth)))
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

    fn reindex(&mut self) {
        self.index.clear();
        for (number, held) in self.held.iter().enumerate() {
            let one = &held.authorisation;
            let grants = self
                .index
                .entry((one.domain, one.identity.clone()))
                .or_default();
            for (name, exact, depth) in &one.grants {
                grants.entry(name.clone()).or_default().push(Entry {
                    held: number,
                    exact: *exact,
                    maximum_depth: *depth,
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
        revocations: &[Revocation],
        now_s: u64,
    ) -> Right {
        let depth = name.as_name().component_count();
        let mut best = None;
        if let Some(grants) = self.index.get(&(domain, identity.to_owned())) {
            for level in 1..=depth {
                let above = name.as_name().prefix(level).to_owned();
                for entry in grants.get(&above).into_iter().flatten() {
                    let fits = if entry.exact {
                        level == depth
                    } else {
                        depth <= usize::from(entry.maximum_depth)
                    };
                    let Some(held) = self.held.get(entry.held).filter(|_| fits) else {
                        continue;
                    };
                    let one = &held.authorisation;
                    let revoked = |revocation: &&Revocation| {
                        revocation.authority == one.authority
                            && one.issued_at_s <= revocation.issued_before_s
                            && self.concerns(revocation, domain, identity, name)
                    };
                    let over = one.not_after_s.saturating_add(u64::from(one.stale_s)) < now_s;
                    if revocations.iter().any(|one| revoked(&one)) || over {
                        continue;
                    }
                    if now_s <= one.not_after_s {
                        return Right::Valid;
                    }
                    best = Some(Right::Expired);
                }
            }
        }
        if let Some(best) = best {
            return best;
        }
        match revocations
            .iter()
            .find(|revocation| self.concerns(revocation, domain, identity, name))
        {
            Some(revocation) => Right::Revoked(
                format!(
                    "revoked by authority {}: {}",
                    revocation.authority, revocation.reason
                )
                .into(),
            ),
            None => Right::Unknown,
        }
    }

    fn concerns(
        &self,
        revocation: &Revocation,
        domain: Domain,
        identity: &str,
        name: &NameBuf,
    ) -> bool {
        revocation.domain == domain
            && revocation
                .gateway
                .is_none_or(|gateway| gateway == self.gateway)
            && revocation
                .identity
                .as_deref()
                .is_none_or(|one| one == identity)
            && revocation
                .name
                .as_ref()
                .is_none_or(|above| above.as_name().is_prefix_of(name.as_name()))
    }

    /// When authorisations of an identity are to be renewed: after a third of the life of the one that is first. `None` without any.
    #[must_use]
    pub fn renew_at_s(&self, domain: Domain, identity: &str) -> Option<u64> {
        self.held
            .iter()
            .map(|held| &held.authorisation)
            .filter(|one| one.domain == domain && one.identity == identity)
            .map(|one| one.issued_at_s + one.not_after_s.saturating_sub(one.issued_at_s) / 3)
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(serial: u64, name: &str, exact: bool, life: (u64, u64)) -> Held {
        let authorisation = Authorisation {
            authority: "spa1".into(),
            serial,
            domain: Domain(1),
            gateway: NodeId(1),
            identity: "pod1/a".into(),
            issued_at_s: life.0,
            not_after_s: life.1,
            stale_s: 100,
            grants: vec![(NameBuf::parse(name).unwrap(), exact, 3)],
            fragment: 1,
            fragments: 1,
        };
        Held {
            body: Bytes::from(serial.to_string()),
            authorisation,
        }
    }

    fn right(claims: &Claims, name: &str, revocations: &[Revocation], now: u64) -> Right {
        let name = NameBuf::parse(name).unwrap();
        claims.right(Domain(1), "pod1/a", &name, revocations, now)
    }

    #[test]
    fn a_right_is_an_authorisation_that_covers_and_lasts() {
        let mut claims = Claims::new(NodeId(1));
        assert_eq!(
            claims.add(vec![held(1, "/shop/a", false, (0, 30))]).len(),
            1
        );
        claims.add(vec![held(2, "/x", true, (0, 30))]);
        for (name, now, want) in [
            ("/shop/a", 30, Right::Valid),
            ("/shop/a/b", 30, Right::Valid),
            ("/shop/a/b/c", 30, Right::Unknown),
            ("/shop", 30, Right::Unknown),
            ("/x", 0, Right::Valid),
            ("/x/y", 0, Right::Unknown),
            ("/shop/a", 31, Right::Expired),
            ("/shop/a", 131, Right::Unknown),
        ] {
            assert_eq!(right(&claims, name, &[], now), want, "{name} at {now}");
        }
        assert_eq!(claims.renew_at_s(Domain(1), "pod1/a"), Some(10));
        assert_eq!(claims.renew_at_s(Domain(2), "pod1/a"), None);
    }

    #[test]
    fn a_revocation_ends_it_until_there_is_a_newer_one() {
        let mut claims = Claims::new(NodeId(1));
        claims.add(vec![held(1, "/shop", false, (0, 30))]);
        let revocation = Revocation {
            authority: "spa1".into(),
            serial: 2,
            domain: Domain(1),
            name: Some(NameBuf::parse("/shop/a").unwrap()),
            gateway: None,
            identity: None,
            issued_before_s: 5,
            until_s: 100,
            reason: "sold".into(),
        };
        let list = [revocation];
        assert_eq!(right(&claims, "/shop/b", &list, 6), Right::Valid);
        let Right::Revoked(why) = right(&claims, "/shop/a/x", &list, 6) else {
            panic!()
        };
        assert_eq!(&*why, "revoked by authority spa1: sold");
        claims.add(vec![held(3, "/shop", false, (6, 36))]);
        assert_eq!(right(&claims, "/shop/a/x", &list, 6), Right::Valid);
        assert_eq!(
            claims.prune(6),
            [Bytes::from("1")],
            "the newer one grants the same"
        );
        assert_eq!(claims.prune(137).len(), 1);
    }
}
