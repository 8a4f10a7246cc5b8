//! Authorisations, found by name: whether a gateway may announce a prefix (design §7).
//!
//! Expiry stops admission, never forwarding; and a router that starts while no authority answers must not cut off what the others forward. So an
//! object whose authorisations expired is kept and flooded by everybody, whenever it came, and each prefix in it is installed, as stale, if it was
//! installed here before or if its gateway signed that the pod announced it before the expiry (`announced_at_ms`; the originator's time of the object
//! would not do: it is refreshed as long as its gateway lives). What was announced later is new, and installed by nobody.
//!
//! A gateway can lie about that moment, and so can whoever has its key. What this gains is bounded by what an authority signed: names that it granted
//! to this very gateway, until `stale_s` after the expiry (0: nothing), and nothing from the moment of a revocation on. The same gateway could have announced
//! the same names an hour earlier without asking anybody; who has lost trust in it revokes, and does not wait for an expiry.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use dmsc_wire::{Domain, NameBuf, NodeId};

use super::lifetime::AHEAD;
use super::revocations::Revocations;
use super::root::Voided;
use crate::trust::{Authorisation, Revocation};

/// Whether a prefix is covered, with the authorisation that lasts longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cover {
    /// By a valid authorisation.
    Valid,
    /// By one that expired (wall clock, s): enough for what is installed, or was announced before.
    Expired {
        /// When that was.
        not_after_s: u64,
        /// When forwarding ends too.
        until_s: u64,
    },
    /// By none, or only by revoked ones.
    Nothing,
}

/// Part of one authorisation.
#[derive(Debug)]
struct Part {
    id: u64,
    exact: bool,
    maximum_depth: u8,
}

/// Authorisations of all gateways, by name.
#[derive(Debug)]
pub struct Authorisations {
    held: BTreeMap<(NodeId, u64), Authorisation>,
    names: HashMap<(NodeId, Domain), HashMap<NameBuf, Vec<Part>>>,
    /// What is to come: see [`turns`].
    ends: BTreeSet<(u64, NodeId, u64)>,
    /// Prefixes that were looked up.
    judged: AtomicU64,
    /// What was taken back.
    pub revocations: Revocations,
    /// What the root took back.
    pub voided: Voided,
}

/// When what it covers changes (wall clock, s): it begins, it expires, it is over. One that was issued in the future begins when that is possible:
/// until then its authority's clock is wrong, or this one's.
fn turns(authorisation: &Authorisation) -> [u64; 3] {
    let not_after = authorisation.not_after_s;
    [
        authorisation.issued_at_s.saturating_sub(AHEAD.as_secs()),
        not_after,
        not_after.saturating_add(u64::from(authorisation.stale_s)),
    ]
}

impl Authorisations {
    /// None; at most so many revocations are kept.
    pub fn new(revocations: usize) -> Self {
        Self {
            held: BTreeMap::new(),
            names: HashMap::new(),
            ends: BTreeSet::new(),
            judged: AtomicU64::new(0),
            revocations: Revocations::new(revocations),
            voided: Voided::default(),
        }
    }

    /// All, by gateway.
    pub fn iter(&self) -> impl Iterator<Item = &Authorisation> {
        self.held.values()
    }

    /// From after one on, by gateway and id.
    pub fn iter_after(
        &self,
        after: Option<(NodeId, u64)>,
    ) -> impl Iterator<Item = ((NodeId, u64), &Authorisation)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.held
            .range((from, Bound::Unbounded))
            .map(|(key, one)| (*key, one))
    }

    /// One.
    pub fn get(&self, gateway: NodeId, id: u64) -> Option<&Authorisation> {
        self.held.get(&(gateway, id))
    }

    /// Adds one; `now_s` is the wall clock, for which ends still have to be told.
    pub fn insert(&mut self, id: u64, authorisation: Authorisation, now_s: u64) {
        let gateway = authorisation.gateway;
        if self.held.contains_key(&(gateway, id)) {
            return;
        }
        let names = self
            .names
            .entry((gateway, authorisation.domain))
            .or_default();
        for grant in &authorisation.grants {
            names.entry(grant.name.clone()).or_default().push(Part {
                id,
                exact: grant.exact,
                maximum_depth: if grant.maximum_depth == 0 {
                    16
                } else {
                    grant.maximum_depth
                },
            });
        }
        for end in turns(&authorisation) {
            if end > now_s {
                self.ends.insert((end, gateway, id));
            }
        }
        let [.., until_s] = turns(&authorisation);
        self.revocations.came(&authorisation, until_s);
        self.held.insert((gateway, id), authorisation);
    }

    /// Takes a revocation; whether it is new. It is needed as long as what it ends here could be used.
    pub fn revoke(&mut self, id: u64, revocation: Revocation, body: Bytes) -> bool {
        if !self.revocations.insert(id, revocation, body) {
            return false;
        }
        let ended = self.held.values();
        let until_s = ended
            .filter(|held| self.revocations.touches(id, held))
            .map(|held| turns(held)[2])
            .max();
        if let Some(until_s) = until_s {
            self.revocations.needed(id, until_s);
        }
        true
    }

    /// Removes one.
    pub fn remove(&mut self, gateway: NodeId, id: u64) -> Option<Authorisation> {
        let old = self.held.remove(&(gateway, id))?;
        for end in turns(&old) {
            self.ends.remove(&(end, gateway, id));
        }
        if let Some(names) = self.names.get_mut(&(gateway, old.domain)) {
            for grant in &old.grants {
                if let Some(parts) = names.get_mut(&grant.name) {
                    parts.retain(|part| part.id != id);
                    if parts.is_empty() {
                        names.remove(&grant.name);
                    }
                }
            }
            if names.is_empty() {
                self.names.remove(&(gateway, old.domain));
            }
        }
        Some(old)
    }

    /// The authorisations that name this prefix and are not revoked for it.
    fn matching<'a>(
        &'a self,
        gateway: NodeId,
        domain: Domain,
        name: &'a NameBuf,
    ) -> impl Iterator<Item = &'a Authorisation> {
        let count = name.as_name().component_count();
        self.names
            .get(&(gateway, domain))
            .into_iter()
            .flat_map(move |names| {
                (1..=count).filter_map(move |depth| {
                    let parts = names.get(name.as_name().prefix(depth).as_bytes())?;
                    Some((depth, parts))
                })
            })
            .flat_map(move |(depth, parts)| {
                parts.iter().filter(move |part| {
                    if part.exact {
                        depth == count
                    } else {
                        count <= usize::from(part.maximum_depth)
                    }
                })
            })
            .filter_map(move |part| self.held.get(&(gateway, part.id)))
            .filter(move |authorisation| !self.voided.hits(authorisation))
            .filter(move |authorisation| !self.revocations.hit(authorisation, name))
    }

    /// How often [`Authorisations::cover`] was asked.
    pub fn judged(&self) -> u64 {
        self.judged.load(Ordering::Relaxed)
    }

    /// Whether this gateway may announce this prefix now.
    pub fn cover(&self, gateway: NodeId, domain: Domain, name: &NameBuf, now_s: u64) -> Cover {
        self.judged.fetch_add(1, Ordering::Relaxed);
        let mut cover = Cover::Nothing;
        for authorisation in self.matching(gateway, domain, name) {
            let [begin, not_after, until_s] = turns(authorisation);
            if now_s < begin {
                continue;
            }
            if now_s < not_after {
                return Cover::Valid;
            }
            cover = match cover {
                Cover::Expired { until_s: best, .. } if best >= until_s => cover,
                _ => Cover::Expired {
                    not_after_s: not_after,
                    until_s,
                },
            };
        }
        cover
    }

    /// The authorisation that covers it longest, for people.
    pub fn best<'a>(
        &'a self,
        gateway: NodeId,
        domain: Domain,
        name: &'a NameBuf,
    ) -> Option<&'a Authorisation> {
        self.matching(gateway, domain, name)
            .max_by_key(|authorisation| authorisation.not_after_s)
    }

    /// When (wall clock, s) the next one begins, expires, or ends altogether.
    pub fn deadline_s(&self) -> Option<u64> {
        self.ends.first().map(|(end, ..)| *end)
    }

    /// The time is another: which ends still have to be told.
    pub fn end_anew(&mut self, now_s: u64) {
        let held = self.held.iter();
        self.ends = held
            .flat_map(|((gateway, id), held)| turns(held).map(|end| (end, *gateway, *id)))
            .filter(|(end, ..)| *end > now_s)
            .collect();
    }

    /// One that just did.
    pub fn turned(&mut self, now_s: u64) -> Option<&Authorisation> {
        let (end, gateway, id) = *self.ends.first()?;
        if end > now_s {
            return None;
        }
        self.ends.remove(&(end, gateway, id));
        self.held.get(&(gateway, id))
    }
}
