//! The policies that a router or gateway holds: which of them decides, and until when. Without any, plain routes hold.

use std::collections::BTreeMap;
use std::time::Duration;

use dmsc_wire::{Domain, Name, NameBuf, NodeId};

use crate::policy::{Policy, Rank, ReplicaId};

/// Most policies in force.
pub const MAX_POLICIES: usize = 65_536;

/// Tenant, prefix, gateway of the callers.
pub type Scope = (Domain, NameBuf, NodeId);

/// Why a policy was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is older than the last one of its replica for the same scope: late, or played back.
    #[error("older than the last policy of this replica for the same scope")]
    Old,
    /// Another area.
    #[error("of area {0}, not of this one")]
    Area(u32),
    /// For calls that enter elsewhere.
    #[error("for gateway {0}, not for this one")]
    Elsewhere(NodeId),
    /// No room.
    #[error("{MAX_POLICIES} policies are in force already")]
    Full,
}

#[derive(Debug)]
struct Entry {
    /// `None`: expired or withdrawn; the rank is remembered against playing back.
    policy: Option<(Policy, Duration)>,
    last: Rank,
}

/// Policies by scope and replica.
#[derive(Debug)]
pub struct Held {
    node: NodeId,
    area: u32,
    entries: BTreeMap<Scope, BTreeMap<ReplicaId, Entry>>,
    count: usize,
}

impl Held {
    /// At this node of this area; nothing is held.
    #[must_use]
    pub fn new(node: NodeId, area: u32) -> Self {
        Self {
            node,
            area,
            entries: BTreeMap::new(),
            count: 0,
        }
    }

    /// Takes a policy whose signature was verified; its life begins now, on the monotonic clock.
    ///
    /// # Errors
    /// [`Refused`]; what is in force stays.
    pub fn accept(&mut self, now: Duration, policy: Policy) -> Result<Scope, Refused> {
        if policy.area != self.area {
            return Err(Refused::Area(policy.area));
        }
        if policy.gateway.is_some() && policy.gateway != self.node {
            return Err(Refused::Elsewhere(policy.gateway));
        }
        let scope = (policy.domain, policy.prefix.clone(), policy.gateway);
        let known = self
            .entries
            .get(&scope)
            .and_then(|replicas| replicas.get(&policy.rank.replica));
        if known.is_some_and(|entry| policy.rank <= entry.last) {
            return Err(Refused::Old);
        }
        if known.is_none() && self.count >= MAX_POLICIES {
            return Err(Refused::Full);
        }
        self.count += usize::from(known.is_none());
        let (replica, last) = (policy.rank.replica, policy.rank);
        let until = now.saturating_add(policy.ttl);
        let policy = (!policy.ttl.is_zero()).then_some((policy, until));
        self.entries
            .entry(scope.clone())
            .or_default()
            .insert(replica, Entry { policy, last });
        Ok(scope)
    }

    /// The policy that decides about calls to `name` that enter here.
    #[must_use]
    pub fn active(&self, now: Duration, domain: Domain, name: Name<'_>) -> Option<&Policy> {
        let depths = (1..=name.component_count()).rev();
        let scopes = depths.flat_map(|depth| {
            let prefix = name.prefix(depth).to_owned();
            [self.node, NodeId::NONE].map(|gateway| (domain, prefix.clone(), gateway))
        });
        scopes
            .filter_map(|scope| self.entries.get(&scope))
            .find_map(|replicas| {
                replicas
                    .values()
                    .filter_map(|entry| entry.policy.as_ref())
                    .filter(|(_, until)| *until > now)
                    .map(|(policy, _)| policy)
                    .max_by(|a, b| a.precedence(b))
            })
    }

    /// Takes away what a replica said for a scope; whether that was in force. What it said before is still not taken again.
    pub fn withdraw(&mut self, scope: &Scope, replica: ReplicaId) -> bool {
        let entry = self
            .entries
            .get_mut(scope)
            .and_then(|replicas| replicas.get_mut(&replica));
        entry.is_some_and(|entry| entry.policy.take().is_some())
    }

    /// Takes away what is over; gives the scopes whose groups are to be computed again.
    pub fn expire(&mut self, now: Duration) -> Vec<Scope> {
        let mut over = Vec::new();
        for (scope, replicas) in &mut self.entries {
            let mut ended = false;
            for entry in replicas.values_mut() {
                if entry
                    .policy
                    .as_ref()
                    .is_some_and(|(_, until)| *until <= now)
                {
                    entry.policy = None;
                    ended = true;
                }
            }
            if ended {
                over.push(scope.clone());
            }
        }
        over
    }

    /// When [`Held::expire`] has something to do next.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Duration> {
        self.entries
            .values()
            .flat_map(BTreeMap::values)
            .filter_map(|entry| entry.policy.as_ref())
            .map(|(_, until)| *until)
            .min()
    }

    /// What is in force, with its end.
    pub fn iter(&self) -> impl Iterator<Item = (&Policy, Duration)> {
        self.entries
            .values()
            .flat_map(BTreeMap::values)
            .filter_map(|entry| entry.policy.as_ref())
            .map(|(policy, until)| (policy, *until))
    }
}
