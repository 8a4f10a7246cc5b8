//! Parts of long tables, from after an entry on: whoever shows a table asks for a few entries at a time, so that nobody waits for all of them.

use std::cmp::Ordering;
use std::iter::Peekable;

use dmsc_wire::{Domain, NameBuf, NodeId};

use super::Engine;
use super::lsdb::Stored;
use super::view::{Entry, MemberInfo};
use crate::action::{GatewayRoute, PrefixMember, Topology};
use crate::object::Key;
use crate::time::Now;
use crate::trust::{Authorisation, Revocation};

/// One of the database: its key, and whether it waits. A key may stand in both states, accepted first.
pub type EntryKey = (Key, bool);

/// Two ordered sequences as one; of two equal keys both are told, the first sequence's first.
struct Merged<A: Iterator, B: Iterator> {
    one: Peekable<A>,
    other: Peekable<B>,
}

impl<K: Ord, V, A: Iterator<Item = (K, V)>, B: Iterator<Item = (K, V)>> Iterator for Merged<A, B> {
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        match (self.one.peek(), self.other.peek()) {
            (Some((one, _)), Some((other, _))) if one.cmp(other) == Ordering::Greater => {
                self.other.next()
            }
            (Some(_), _) => self.one.next(),
            (None, _) => self.other.next(),
        }
    }
}

fn merged<A: Iterator, B: Iterator>(one: A, other: B) -> Merged<A, B> {
    Merged {
        one: one.peekable(),
        other: other.peekable(),
    }
}

impl Engine {
    /// The database from after an entry on, by key; waiting objects too.
    pub fn entries_after(
        &self,
        now: Now,
        after: Option<EntryKey>,
    ) -> impl Iterator<Item = (EntryKey, Entry<'_>)> {
        let from = after.map(|(key, _)| key);
        let anew = move |(key, _): &(EntryKey, _)| after.is_none_or(|after| *key > after);
        let keyed = |waits: bool| move |(key, stored)| ((key, waits), stored);
        let accepted = self.lsdb.iter_from(from).map(keyed(false)).filter(anew);
        let waiting = self.waiting.iter_from(from).map(keyed(true)).filter(anew);
        merged(accepted, waiting).map(move |(key, stored): (EntryKey, &Stored)| {
            let left = stored.until.saturating_sub(now.mono).as_secs();
            let entry = Entry {
                object: &stored.object,
                lifetime_left_s: u32::try_from(left).unwrap_or(u32::MAX),
                accepted: !key.1,
            };
            (key, entry)
        })
    }

    /// Objects that are kept, waiting ones too.
    #[must_use]
    pub fn entry_count(&self) -> usize {
        self.lsdb.len() + self.waiting.len()
    }

    /// Ways to nodes, from after one on.
    pub fn gateway_routes_after(
        &self,
        after: Option<(Topology, NodeId)>,
    ) -> impl Iterator<Item = ((Topology, NodeId), &GatewayRoute)> {
        let first = (Topology::Metric, NodeId(0));
        self.routes
            .range(after.unwrap_or(first)..)
            .filter(move |(key, _)| after.as_ref() != Some(key))
            .map(|(key, route)| (*key, route))
    }

    /// Prefixes at or below `under`, from after one on, by domain and name. Announced ones of this gateway that wait are among them.
    pub fn prefixes_after<'a>(
        &'a self,
        under: Option<&'a NameBuf>,
        after: Option<&'a (Domain, NameBuf)>,
    ) -> impl Iterator<Item = ((Domain, NameBuf), Vec<MemberInfo>)> {
        let known = self
            .rib
            .iter_below(under, after)
            .filter(|(_, _, entry)| !entry.claims.is_empty())
            .map(|(domain, name, entry)| ((domain, name.clone()), entry));
        let waiting = self
            .announced
            .unplaced(under, after)
            .map(|prefix| ((prefix.domain, prefix.name.clone()), prefix));
        let own = self.config.node;
        let mut known = known.peekable();
        let mut waiting = waiting.peekable();
        std::iter::from_fn(move || {
            let order = match (known.peek(), waiting.peek()) {
                (Some((one, _)), Some((other, _))) => one.cmp(other),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return None,
            };
            let known = known.next_if(|_| order != Ordering::Greater);
            let waiting = waiting.next_if(|_| order != Ordering::Less);
            let place = known
                .as_ref()
                .map(|(place, _)| place)
                .or(waiting.as_ref().map(|(place, _)| place))?
                .clone();
            let claims = known.into_iter().flat_map(|(_, entry)| &entry.claims);
            let mut members: Vec<MemberInfo> = claims
                .map(|claim| {
                    let member = PrefixMember {
                        gateway: claim.gateway,
                        metric: claim.metric,
                        weight: claim.weight,
                    };
                    self.member_info(place.0, &place.1, member, claim.stale, !claim.installed)
                })
                .collect();
            if let Some((_, prefix)) = waiting
                && members.iter().all(|one| one.member.gateway != own)
            {
                let member = PrefixMember {
                    gateway: own,
                    metric: prefix.metric,
                    weight: prefix.weight,
                };
                members.push(self.member_info(place.0, &place.1, member, false, true));
                members.sort_by_key(|one| one.member.gateway);
            }
            Some((place, members))
        })
    }

    /// Known authorisations from after one (gateway and id) on, with seconds until they expire (negative: since), and whether they are revoked.
    pub fn authorisations_after(
        &self,
        now: Now,
        after: Option<(NodeId, u64)>,
    ) -> impl Iterator<Item = ((NodeId, u64), &Authorisation, i64, bool)> {
        let now_s = i64::try_from(self.clock.wall(now.mono).as_secs()).unwrap_or(i64::MAX);
        self.authorisations
            .iter_after(after)
            .map(move |(key, one)| {
                let not_after = i64::try_from(one.not_after_s).unwrap_or(i64::MAX);
                let revoked = self.authorisations.revocations.hit_all(one);
                (key, one, not_after.saturating_sub(now_s), revoked)
            })
    }

    /// Revocations in force from after one (by id) on.
    pub fn revocations_after(
        &self,
        after: Option<u64>,
    ) -> impl Iterator<Item = (u64, &Revocation)> {
        self.authorisations.revocations.iter_after(after)
    }
}
