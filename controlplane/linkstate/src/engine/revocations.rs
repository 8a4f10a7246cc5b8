//! Revocations in force, and until when each is needed.

mod index;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;
use dmsc_wire::{Name, NameBuf, NodeId};

use self::index::Index;
use crate::object::Kind;
use crate::trust::{Authorisation, Revocation, RootRevocation};

/// No authority has more than this part of those that are kept: a stolen key does not take the room of others. More are refused, not exchanged for some
/// that are in force, or whoever has the key could undo these. What is refused is remembered, told to people, and taken when there is room.
const PART: usize = 4;
/// A statement must be over for so long, by the monotonic clock and without a break, before it is forgotten: a wall clock that is wrong for some
/// hours, and was believed, erases nothing.
pub const FORGET: Duration = Duration::from_secs(86_400);

/// A statement: its kind, and the id that stands for its body.
pub type StatementId = (Kind, u64);

/// What is known of a statement of either kind.
#[derive(Debug)]
struct Kept {
    body: Bytes,
    /// Wall clock, s: its own end, or that of the last authorisation that it ended, whichever is later.
    end_s: u64,
    /// When it was first seen to be over.
    over: Option<Duration>,
    /// When this node passes it on.
    due: Option<Duration>,
}

/// Revocations by authorities and by the root.
#[derive(Debug)]
pub struct Revocations {
    most: usize,
    by_id: BTreeMap<u64, Revocation>,
    index: Index,
    of_authority: HashMap<String, usize>,
    /// Authorities of those that there was no room for.
    refused: BTreeMap<u64, String>,
    roots: BTreeMap<u64, RootRevocation>,
    kept: BTreeMap<StatementId, Kept>,
    due: BTreeSet<(Duration, StatementId)>,
}

impl Revocations {
    /// None; at most so many by authorities, and by the root, are kept. They are signed, so this is never reached by accident.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            by_id: BTreeMap::new(),
            index: Index::default(),
            of_authority: HashMap::new(),
            refused: BTreeMap::new(),
            roots: BTreeMap::new(),
            kept: BTreeMap::new(),
            due: BTreeSet::new(),
        }
    }

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

    /// All that are in force as they were signed, each with its kind, the id that stands for it, and when it may be forgotten (wall clock, s).
    pub fn signed(&self) -> impl Iterator<Item = (StatementId, u64, &Bytes)> {
        let of_authorities = self.by_id.keys().map(|id| (Kind::REVOCATION, *id));
        let of_root = self.roots.keys().map(|id| (Kind::ROOT_REVOCATION, *id));
        of_authorities.chain(of_root).filter_map(|statement| {
            let kept = self.kept.get(&statement)?;
            Some((statement, kept.end_s, &kept.body))
        })
    }

    /// Whether this statement is in force, or would be if there were room.
    pub fn contains(&self, statement: StatementId) -> bool {
        self.kept.contains_key(&statement)
    }

    /// Whether this statement, or something that it ended, is not over by the wall clock.
    pub fn is_needed(&self, statement: StatementId, wall_s: u64) -> bool {
        let kept = self.kept.get(&statement);
        kept.is_some_and(|kept| kept.end_s > wall_s)
    }

    fn keep(&mut self, statement: StatementId, body: Bytes, end_s: u64) {
        let kept = Kept {
            body,
            end_s,
            over: None,
            due: None,
        };
        self.kept.insert(statement, kept);
    }

    /// Whether one more of an authority is kept.
    fn has_room(&self, authority: &str) -> bool {
        let its = self.of_authority.get(authority).copied().unwrap_or(0);
        its < self.most / PART && self.by_id.len() < self.most
    }

    /// Adds one; whether it is new, and there is room.
    pub fn insert(&mut self, id: u64, revocation: Revocation, body: Bytes) -> bool {
        if self.by_id.contains_key(&id) {
            return false;
        }
        if !self.has_room(&revocation.authority) {
            if self.refused.len() < self.most / PART && !self.refused.contains_key(&id) {
                self.keep((Kind::REVOCATION, id), body, revocation.until_s);
                self.refused.insert(id, revocation.authority);
            }
            return false;
        }
        self.refused.remove(&id);
        self.index.insert(id, &revocation);
        let authority = revocation.authority.clone();
        *self.of_authority.entry(authority).or_default() += 1;
        self.keep((Kind::REVOCATION, id), body, revocation.until_s);
        self.by_id.insert(id, revocation);
        true
    }

    fn remove(&mut self, id: u64) {
        let Some(revocation) = self.by_id.remove(&id) else {
            return;
        };
        self.index.remove(id, &revocation);
        if let Some(its) = self.of_authority.get_mut(&revocation.authority) {
            *its = its.saturating_sub(1);
            if *its == 0 {
                self.of_authority.remove(&revocation.authority);
            }
        }
    }

    /// Those that there was no room for, and by whom.
    pub fn refused(&self) -> impl Iterator<Item = (u64, &str)> {
        let refused = self.refused.iter();
        refused.map(|(id, authority)| (*id, authority.as_str()))
    }

    /// Of those that there was no room for, some that there is room for now: their ids and bodies.
    pub fn fitting(&self, most: usize) -> Vec<(u64, Bytes)> {
        self.refused()
            .filter(|(_, authority)| self.has_room(authority))
            .filter_map(|(id, _)| {
                let kept = self.kept.get(&(Kind::REVOCATION, id))?;
                Some((id, kept.body.clone()))
            })
            .take(most)
            .collect()
    }

    /// Adds one by the root; whether it is new.
    pub fn insert_root(&mut self, id: u64, revocation: RootRevocation, body: Bytes) -> bool {
        if self.roots.contains_key(&id) || self.roots.len() >= self.most {
            return false;
        }
        self.keep((Kind::ROOT_REVOCATION, id), body, revocation.until_s);
        self.roots.insert(id, revocation);
        true
    }

    /// Whether an authorisation was revoked for a name.
    pub fn hit(&self, authorisation: &Authorisation, name: &NameBuf) -> bool {
        self.index.hits(authorisation, name)
    }

    /// Whether all of an authorisation is revoked.
    pub fn hit_all(&self, authorisation: &Authorisation) -> bool {
        !authorisation.grants.is_empty()
            && authorisation
                .grants
                .iter()
                .all(|grant| self.hit(authorisation, &grant.name))
    }

    /// Whether one revocation ends any part of an authorisation.
    pub fn touches(&self, id: u64, authorisation: &Authorisation) -> bool {
        self.by_id.get(&id).is_some_and(|revocation| {
            revocation
                .domain
                .is_none_or(|domain| domain == authorisation.domain)
                && applies(revocation, authorisation)
                && authorisation
                    .grants
                    .iter()
                    .any(|grant| meets(revocation, grant.name.as_name()))
        })
    }

    /// What one ended could be used until then (wall clock, s): it is needed as long.
    pub fn needed(&mut self, id: u64, until_s: u64) {
        if let Some(kept) = self.kept.get_mut(&(Kind::REVOCATION, id)) {
            kept.end_s = kept.end_s.max(until_s);
        }
    }

    /// An authorisation that could be used until `until_s` came: those that end some of it are needed as long.
    pub fn came(&mut self, authorisation: &Authorisation, until_s: u64) {
        let mut found = self.index.near(authorisation);
        found.retain(|id| self.touches(*id, authorisation));
        for id in found {
            self.needed(id, until_s);
        }
    }

    /// Forgets those that were over for long enough: past their end by the wall clock, and all that they ended too. Which.
    pub fn expire(&mut self, wall_s: u64, now: Duration) -> Vec<StatementId> {
        let mut over = Vec::new();
        for (statement, kept) in &mut self.kept {
            if kept.end_s > wall_s {
                kept.over = None;
            } else if now.saturating_sub(*kept.over.get_or_insert(now)) >= FORGET {
                over.push(*statement);
            }
        }
        for statement in &over {
            self.carried(*statement);
            self.kept.remove(statement);
            if statement.0 == Kind::ROOT_REVOCATION {
                self.roots.remove(&statement.1);
            } else {
                self.refused.remove(&statement.1);
                self.remove(statement.1);
            }
        }
        over
    }

    /// Somebody carries it.
    pub fn carried(&mut self, statement: StatementId) {
        if let Some(due) = self
            .kept
            .get_mut(&statement)
            .and_then(|kept| kept.due.take())
        {
            self.due.remove(&(due, statement));
        }
    }

    /// Of those that are needed and that nobody carries, this node passes on each after a delay of its own.
    pub fn watch(
        &mut self,
        is_carried: impl Fn(StatementId) -> bool,
        wall_s: u64,
        now: Duration,
        delay: impl Fn(StatementId) -> Duration,
    ) {
        for (statement, kept) in &mut self.kept {
            let lost = kept.end_s > wall_s && !is_carried(*statement);
            match kept.due {
                None if lost => {
                    let due = now + delay(*statement);
                    kept.due = Some(due);
                    self.due.insert((due, *statement));
                }
                Some(due) if !lost => {
                    kept.due = None;
                    self.due.remove(&(due, *statement));
                }
                _ => {}
            }
        }
    }

    /// This node passes it on at `due`, or when it is to do so already, unless somebody else carries it before.
    pub fn pass_on_at(&mut self, statement: StatementId, due: Duration) {
        if let Some(kept) = self.kept.get_mut(&statement)
            && kept.due.is_none()
        {
            kept.due = Some(due);
            self.due.insert((due, statement));
        }
    }

    /// When the next one is to be passed on.
    pub fn deadline(&self) -> Option<Duration> {
        self.due.first().map(|(due, _)| *due)
    }

    /// One that is to be passed on now: its body, and its end (wall clock, s).
    pub fn take_due(&mut self, now: Duration) -> Option<(StatementId, Bytes)> {
        let (due, statement) = *self.due.first()?;
        if due > now {
            return None;
        }
        self.carried(statement);
        let kept = self.kept.get(&statement)?;
        Some((statement, kept.body.clone()))
    }
}

fn applies(revocation: &Revocation, authorisation: &Authorisation) -> bool {
    let gateway = |gateway: NodeId| gateway == authorisation.gateway;
    authorisation.issued_at_s <= revocation.issued_before_s
        && (revocation.domains.is_empty() || revocation.domains.contains(&authorisation.domain))
        && revocation.gateway.is_none_or(gateway)
        && revocation
            .identity
            .as_ref()
            .is_none_or(|identity| *identity == authorisation.identity)
}

/// Whether there may be names both of a grant of `name` and of a revocation.
fn meets(revocation: &Revocation, name: Name<'_>) -> bool {
    let meets =
        |other: &NameBuf| other.as_name().is_prefix_of(name) || name.is_prefix_of(other.as_name());
    revocation.name.as_ref().is_none_or(meets)
        && (revocation.subtrees.is_empty() || revocation.subtrees.iter().any(meets))
}

#[cfg(test)]
#[path = "revocations/tests.rs"]
mod tests;
