//! May this pod announce this name here? A grant, or a sentence for the pod's owner.

use std::collections::BTreeMap;

use dmsc_wire::{Domain, NameBuf, NodeId};

use crate::policy::{Cover, Policy, Rule};
use crate::verify::{AuthorityCertificate, Revocation};

/// How many names a sentence lists.
const LISTED: usize = 3;

/// What is to be signed for one wanted name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    pub name: NameBuf,
    pub exact: bool,
    pub depth: u8,
}

/// Everything that is the same for all names of a request.
pub(super) struct Judge<'a> {
    authority: &'a AuthorityCertificate,
    identity: &'a str,
    domain: Domain,
    gateway: NodeId,
    /// About the identity, in any domain.
    about: Vec<&'a Rule>,
    /// About the identity in this domain.
    rules: Vec<&'a Rule>,
    /// That concern this request, by name: a name, and what lies below it, are neighbours in the order of encodings.
    revoked: BTreeMap<&'a [u8], &'a Revocation>,
    /// That concerns all names.
    all_revoked: Option<&'a Revocation>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(
        authority: &'a AuthorityCertificate,
        policy: &'a Policy,
        revocations: impl Iterator<Item = &'a Revocation>,
        identity: &'a str,
        domain: Domain,
        gateway: NodeId,
    ) -> Self {
        let about: Vec<&Rule> = policy.rules_for(identity).collect();
        let mut revoked = BTreeMap::new();
        let mut all_revoked = None;
        for revocation in revocations {
            let only = revocation.identity.as_deref();
            if revocation.domain.is_some_and(|only| only != domain)
                || revocation.gateway.is_some_and(|only| only != gateway)
                || only.is_some_and(|only| only != identity)
            {
                continue;
            }
            match &revocation.name {
                Some(name) => _ = revoked.insert(name.as_bytes(), revocation),
                None => all_revoked = Some(revocation),
            }
        }
        Self {
            authority,
            identity,
            domain,
            gateway,
            rules: about
                .iter()
                .copied()
                .filter(|rule| rule.domain == domain)
                .collect(),
            about,
            revoked,
            all_revoked,
        }
    }

    pub(super) fn judge(&self, wanted: &NameBuf) -> Result<Grant, String> {
        let name = wanted.as_name();
        if name.is_reserved() {
            return Err(format!(
                "{wanted} is reserved for routers; no pod may announce it"
            ));
        }
        let depth = name.component_count();
        let mut covered = false;
        let mut deepest = 0;
        let mut exact = None;
        for rule in &self.rules {
            let Some(cover) = rule.covers(name) else {
                continue;
            };
            covered = true;
            if !rule.allows_gateway(self.gateway) {
                continue;
            }
            if depth > usize::from(rule.maximum_depth) {
                deepest = deepest.max(rule.maximum_depth);
                continue;
            }
            match cover {
                Cover::Subtree(subtree) => {
                    return self.allowed(wanted, Some((subtree, rule.maximum_depth)));
                }
                // Another rule may give the subtree, which is worth more.
                Cover::Exact => exact = Some(()),
            }
        }
        if exact.is_some() {
            return self.allowed(wanted, None);
        }
        Err(if !covered {
            self.not_covered(wanted)
        } else if deepest > 0 {
            format!(
                "{wanted} has {depth} components; {} may announce names of at most {deepest} here (policy of authority {})",
                self.identity, self.authority.authority
            )
        } else {
            self.elsewhere(wanted)
        })
    }

    /// The policy allows it; does the authority's certificate, and no revocation forbid it?
    fn allowed(&self, wanted: &NameBuf, subtree: Option<(&NameBuf, u8)>) -> Result<Grant, String> {
        let name = wanted.as_name();
        let authority = &self.authority.authority;
        if !self.authority.may_speak_for(name) || !self.authority.may_speak_in(self.domain) {
            return Err(format!(
                "authority {authority} may not speak for {wanted} in domain {}, whatever its policy says; its operator can tell who may",
                self.domain
            ));
        }
        let revocation = self.all_revoked.or_else(|| {
            (1..=name.component_count())
                .find_map(|depth| self.revoked.get(name.prefix(depth).as_bytes()).copied())
        });
        if let Some(revocation) = revocation {
            return Err(format!(
                "{wanted} was revoked by authority {authority}: {}",
                revocation.reason
            ));
        }
        // A new grant would outlive the revocation of a part of it; then only what was asked for is given, name by name.
        let whole = subtree.filter(|(subtree, _)| {
            self.authority.may_speak_for(subtree.as_name()) && !self.part_is_revoked(subtree)
        });
        Ok(match whole {
            Some((subtree, depth)) => Grant {
                name: subtree.clone(),
                exact: false,
                depth,
            },
            None => Grant {
                name: wanted.clone(),
                exact: true,
                depth: 0,
            },
        })
    }

    fn part_is_revoked(&self, subtree: &NameBuf) -> bool {
        self.revoked
            .range(subtree.as_bytes()..)
            .next()
            .is_some_and(|(revoked, _)| revoked.starts_with(subtree.as_bytes()))
    }

    fn not_covered(&self, wanted: &NameBuf) -> String {
        let (identity, authority) = (self.identity, &self.authority.authority);
        if self.about.is_empty() {
            return format!(
                "{identity} may announce nothing: no policy of authority {authority} is about it"
            );
        }
        if self.rules.is_empty() {
            let mut domains: Vec<u32> = self.about.iter().map(|rule| rule.domain.0).collect();
            domains.sort_unstable();
            domains.dedup();
            return format!(
                "{identity} may announce nothing in domain {}, only in {} (policy of authority {authority})",
                self.domain,
                list(&domains, domains.len())
            );
        }
        let mut may: Vec<&NameBuf> = self.rules.iter().flat_map(|rule| &rule.subtrees).collect();
        let subtrees = may.len();
        let exact: usize = self.rules.iter().map(|rule| rule.names.len()).sum();
        if subtrees == 0 {
            may.extend(self.rules.iter().flat_map(|rule| rule.names.first()));
        }
        let may = list(&may, subtrees + exact);
        let above = self.rules.iter().any(|rule| {
            rule.subtrees
                .iter()
                .any(|subtree| wanted.as_name().is_prefix_of(subtree.as_name()))
        });
        if above {
            format!(
                "{wanted} is above what {identity} may announce: {may} (policy of authority {authority})"
            )
        } else {
            format!(
                "{wanted} is not {identity}'s: it may announce {may} (policy of authority {authority})"
            )
        }
    }

    fn elsewhere(&self, wanted: &NameBuf) -> String {
        let mut gateways: Vec<u32> = self
            .rules
            .iter()
            .filter(|rule| rule.covers(wanted.as_name()).is_some())
            .flat_map(|rule| rule.gateways.iter().map(|gateway| gateway.0))
            .collect();
        gateways.sort_unstable();
        gateways.dedup();
        format!(
            "{} may announce {wanted} at gateway {}, not at gateway {} (policy of authority {})",
            self.identity,
            list(&gateways, gateways.len()),
            self.gateway,
            self.authority.authority
        )
    }
}

/// The subtrees of a certificate in a sentence.
pub(super) fn some(subtrees: &[NameBuf]) -> String {
    if subtrees.is_empty() {
        return "everything but /dmsc".to_owned();
    }
    list(subtrees, subtrees.len())
}

/// The first few, and how many more of `total`.
fn list<T: std::fmt::Display>(items: &[T], total: usize) -> String {
    let shown: Vec<String> = items.iter().take(LISTED).map(ToString::to_string).collect();
    let more = total - shown.len();
    let mut text = shown.join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}
