//! The routes that the link state computed, as tables of the dataplane: what it is to have, what it has, and the operations between the two.

pub mod policies;
pub mod standing;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use dmsc_linkstate::action::{GatewayChange, PrefixChange, PrefixMember, RouteDelta, Topology};
use dmsc_proto::v1;
use dmsc_scsc::{Held, Policy, Share};
use dmsc_wire::{Domain, NameBuf, NodeId};

use crate::program::{Keys, difference_at};
use crate::routes::Tables;

/// Most members of a group (limit of the agent's API); the nearest are kept.
const MAX_MEMBERS: usize = 64;
/// Metric of a member whose gateway cannot be reached: behind all others.
const UNREACHABLE: u32 = u32::MAX;

/// Wanted and acknowledged tables.
#[derive(Debug)]
pub struct Rib {
    node: NodeId,
    /// What the dataplane is to have.
    want: Tables,
    /// What it has, as far as it acknowledged.
    have: Tables,
    /// Adjacencies as they were programmed, keys included.
    before: Tables,
    /// What may differ between the two.
    dirty: Keys,
    /// Adjacencies to delete as soon as no gateway leads over them.
    held: BTreeSet<u32>,
    /// Members of each group in use.
    groups: BTreeMap<u32, Group>,
    by_members: HashMap<GroupKey, u32>,
    by_gateway: HashMap<NodeId, BTreeSet<u32>>,
    next_group: u32,
    /// A complete [`RouteDelta`] came: from then on what is not wanted is deleted.
    complete: bool,
    version: u64,
    acknowledged: u64,
    /// Policies of the scheduling centers.
    policies: Held,
    /// Now, on the clock of the policies.
    now: Duration,
    /// Counts changes of policies, and those that the dataplane has.
    policy_changes: u64,
    policies_done: u64,
}

/// Prefixes with equal keys share a group of the dataplane: the same members, of which the same shares are wanted.
type GroupKey = (Vec<PrefixMember>, Vec<Share>);

#[derive(Debug)]
struct Group {
    members: Vec<PrefixMember>,
    /// The policy that applies; only its shares matter here.
    policy: Option<Policy>,
    prefixes: usize,
}

impl Group {
    fn key(&self) -> GroupKey {
        (self.members.clone(), shares(self.policy.as_ref()))
    }
}

fn shares(policy: Option<&Policy>) -> Vec<Share> {
    policy.map_or_else(Vec::new, |policy| policy.shares.clone())
}

/// Operations that are under way.
#[derive(Debug)]
pub struct Batch {
    /// In order.
    pub ops: Vec<v1::Op>,
    /// Version of the routes with them.
    pub version: u64,
    keys: Keys,
    complete: bool,
    /// [`Rib::policy_changes`] as they are in it.
    policy_changes: u64,
}

impl Rib {
    /// Of node `node` in `area`, empty.
    #[must_use]
    pub fn new(node: NodeId, area: u32) -> Self {
        Self {
            node,
            want: Tables::default(),
            have: Tables::default(),
            before: Tables::default(),
            dirty: Keys::default(),
            held: BTreeSet::new(),
            groups: BTreeMap::new(),
            by_members: HashMap::new(),
            by_gateway: HashMap::new(),
            next_group: 1,
            complete: false,
            version: 0,
            acknowledged: 0,
            policies: Held::new(node, area),
            now: Duration::ZERO,
            policy_changes: 0,
            policies_done: 0,
        }
    }

    /// What the dataplane is to have; before the first complete delta adjacencies and access rules only.
    #[must_use]
    pub fn want(&self) -> &Tables {
        &self.want
    }

    /// What the dataplane has.
    #[must_use]
    pub fn have(&self) -> &Tables {
        &self.have
    }

    /// The tables in force: those wanted, or, before the first complete delta, those found.
    #[must_use]
    pub fn current(&self) -> &Tables {
        if self.complete {
            &self.want
        } else {
            &self.have
        }
    }

    /// Version of the last routes taken.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Version of the routes that the dataplane acknowledged; 0 before the first.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Whether the first complete routes came.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// The way to `gateway`; this node itself needs none.
    #[must_use]
    pub fn reaches(&self, gateway: NodeId) -> bool {
        gateway == self.node || self.current().gateways.contains_key(&(0, gateway.0))
    }

    /// Adjacencies and access rules, from the configuration.
    pub fn configure(
        &mut self,
        adjacencies: BTreeMap<u32, v1::Adjacency>,
        access_rules: BTreeMap<u32, v1::AccessRule>,
    ) {
        let old = std::mem::replace(&mut self.want.adjacencies, adjacencies);
        self.dirty.adjacencies.extend(old.keys());
        self.dirty.adjacencies.extend(self.want.adjacencies.keys());
        let old = std::mem::replace(&mut self.want.access_rules, access_rules);
        self.dirty.access_rules.extend(old.keys());
        self.dirty
            .access_rules
            .extend(self.want.access_rules.keys());
    }

    /// A dataplane with these tables is there; everything is compared next.
    pub fn found(&mut self, have: Tables) {
        let last = have.groups.keys().next_back().copied().unwrap_or(0);
        self.next_group = self.next_group.max(last.saturating_add(1));
        self.have = have;
        self.held.clear();
        self.dirty = Keys::of(&self.have, &self.want);
    }

    /// Takes new routes.
    pub fn take(&mut self, delta: RouteDelta) {
        if delta.complete {
            self.want.gateways.clear();
            self.want.groups.clear();
            self.want.prefixes.clear();
            self.groups.clear();
            self.by_members.clear();
            self.by_gateway.clear();
            self.complete = true;
            self.dirty = Keys::of(&self.have, &self.want);
        }
        self.version = delta.version;
        self.dirty.adjacencies.append(&mut self.held);
        let mut moved = BTreeSet::new();
        for change in delta.gateways {
            self.gateway(change, &mut moved);
        }
        for id in moved {
            self.put_group(id);
        }
        for change in delta.prefixes {
            self.prefix(change);
        }
    }

    fn gateway(&mut self, change: GatewayChange, moved: &mut BTreeSet<u32>) {
        let topology = match change.topology {
            Topology::Metric => 0,
            Topology::Delay => 1,
        };
        let key = (topology, change.gateway.0);
        let old = self.want.gateways.get(&key).map(|gateway| gateway.metric);
        self.dirty.gateways.insert(key);
        match change.route {
            None => drop(self.want.gateways.remove(&key)),
            Some(route) => {
                let adjacency =
                    |id: Option<dmsc_linkstate::AdjacencyId>| id.map_or(0, |id| u32::from(id.0));
                let mut next_hops: Vec<u32> =
                    route.next_hops.iter().map(|id| u32::from(id.0)).collect();
                next_hops.sort_unstable();
                let gateway = v1::Gateway {
                    topology,
                    gateway: change.gateway.0,
                    metric: route.metric,
                    next_hops,
                    node_protecting: adjacency(route.node_protecting),
                    link_protecting: adjacency(route.link_protecting),
                };
                self.want.gateways.insert(key, gateway);
            }
        }
        let new = self.want.gateways.get(&key).map(|gateway| gateway.metric);
        // The length of a way by delay is in no group, but whether there is one.
        let touches_groups = match change.topology {
            Topology::Metric => new != old,
            Topology::Delay => new.is_some() != old.is_some(),
        };
        if touches_groups && let Some(groups) = self.by_gateway.get(&change.gateway) {
            moved.extend(groups);
        }
    }

    fn prefix(&mut self, change: PrefixChange) {
        let key = (change.domain, change.name);
        let old = self.want.prefixes.get(&key).copied();
        let members = change.members;
        if let Some(old) = old
            && self
                .groups
                .get(&old)
                .is_some_and(|group| group.members == members)
        {
            return;
        }
        if members.is_empty() {
            self.dirty.prefixes.insert(key.clone());
            self.want.prefixes.remove(&key);
            if let Some(old) = old {
                self.release(old);
            }
        } else {
            let policy = self.policy_of(&key);
            self.put_prefix(key, members, policy);
        }
    }

    /// The prefix is to lead to the group with these members and shares.
    fn put_prefix(
        &mut self,
        key: (Domain, NameBuf),
        members: Vec<PrefixMember>,
        policy: Option<Policy>,
    ) {
        self.dirty.prefixes.insert(key.clone());
        let id = self.group(&key, members, policy);
        if let Some(old) = self.want.prefixes.insert(key, id) {
            self.release(old);
        }
    }

    /// The group with these members, a new one if there is none. After a restart a prefix keeps the group that it has in the dataplane.
    fn group(
        &mut self,
        key: &(Domain, NameBuf),
        members: Vec<PrefixMember>,
        policy: Option<Policy>,
    ) -> u32 {
        let group_key = (members, shares(policy.as_ref()));
        if let Some(id) = self.by_members.get(&group_key) {
            if let Some(group) = self.groups.get_mut(id) {
                group.prefixes += 1;
            }
            return *id;
        }
        let members = group_key.0.clone();
        let found = self.have.prefixes.get(key).copied().filter(|id| {
            let same = |group: &v1::Group| {
                let there: BTreeSet<u32> =
                    group.members.iter().map(|member| member.gateway).collect();
                // A policy may leave some out.
                there == members.iter().map(|member| member.gateway.0).collect()
                    || policy.is_some()
                        && there
                            .iter()
                            .all(|id| members.iter().any(|member| member.gateway.0 == *id))
            };
            !self.groups.contains_key(id) && self.have.groups.get(id).is_some_and(same)
        });
        let id = found.unwrap_or_else(|| {
            let id = self.next_group;
            // After 2^32 groups numbers would start anew; no network has that many changes in its life.
            self.next_group = self.next_group.saturating_add(1);
            id
        });
        for member in &members {
            self.by_gateway
                .entry(member.gateway)
                .or_default()
                .insert(id);
        }
        self.by_members.insert(group_key, id);
        self.groups.insert(
            id,
            Group {
                members,
                policy,
                prefixes: 1,
            },
        );
        self.put_group(id);
        id
    }

    fn release(&mut self, id: u32) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        group.prefixes -= 1;
        if group.prefixes > 0 {
            return;
        }
        if let Some(group) = self.groups.remove(&id) {
            for member in &group.members {
                if let Some(groups) = self.by_gateway.get_mut(&member.gateway) {
                    groups.remove(&id);
                    if groups.is_empty() {
                        self.by_gateway.remove(&member.gateway);
                    }
                }
            }
            self.by_members.remove(&group.key());
        }
        self.want.groups.remove(&id);
        self.dirty.groups.insert(id);
    }

    /// Metric of a member: distance and what it announces; from here.
    #[must_use]
    pub fn member_metric(&self, member: &PrefixMember) -> u32 {
        if member.gateway == self.node {
            return member.metric;
        }
        match self.want.gateways.get(&(0, member.gateway.0)) {
            Some(gateway) => gateway.metric.saturating_add(member.metric),
            None => UNREACHABLE,
        }
    }

    fn put_group(&mut self, id: u32) {
        let Some(group) = self.groups.get(&id) else {
            return;
        };
        let (mut members, weighted) = self.placed(group);
        members.sort_by_key(|member| {
            (
                weighted && member.weight == 0,
                member.metric,
                member.gateway,
            )
        });
        members.truncate(MAX_MEMBERS);
        members.sort_by_key(|member| member.gateway);
        let group = v1::Group {
            id,
            members,
            weighted,
        };
        self.dirty.groups.insert(id);
        self.want.groups.insert(id, group);
    }

    /// The operations that are due; `None` if nothing is to be told. One batch at a time: [`Rib::done`] or [`Rib::found`] comes before the next.
    pub fn next_batch(&mut self) -> Option<Batch> {
        let told = self.acknowledged == self.version
            && (self.policies_done == self.policy_changes || !self.complete);
        if self.dirty.is_empty() && told {
            return None;
        }
        let mut keys = std::mem::take(&mut self.dirty);
        if !self.complete {
            // Nothing that was found is touched before all routes are known.
            keys.adjacencies
                .retain(|id| self.want.adjacencies.contains_key(id));
            keys.access_rules
                .retain(|id| self.want.access_rules.contains_key(id));
            keys.gateways.clear();
            keys.groups.clear();
            keys.prefixes.clear();
        }
        self.hold(&mut keys.adjacencies);
        let ops = difference_at(&keys, &self.have, &self.want, Some(&self.before));
        Some(Batch {
            ops,
            version: self.version,
            keys,
            complete: self.complete,
            policy_changes: self.policy_changes,
        })
    }

    /// An adjacency that is configured no more goes when the routes over it are gone: they come later, and a dataplane deletes none in use.
    fn hold(&mut self, adjacencies: &mut BTreeSet<u32>) {
        let wanted = &self.want.adjacencies;
        if adjacencies.iter().all(|id| wanted.contains_key(id)) {
            return;
        }
        let gateways = self.want.gateways.values();
        let used: HashSet<u32> = gateways
            .flat_map(|one| {
                let protecting = [one.node_protecting, one.link_protecting];
                one.next_hops.iter().copied().chain(protecting)
            })
            .collect();
        let hold = |id: &u32| used.contains(id) && !wanted.contains_key(id);
        self.held
            .extend(adjacencies.iter().copied().filter(|id| hold(id)));
        adjacencies.retain(|id| !hold(id));
    }

    /// The dataplane took a batch. What was wanted meanwhile is still due.
    pub fn done(&mut self, batch: &Batch) {
        self.done_but(batch, &BTreeSet::new());
    }

    /// The dataplane took a batch, without the operations at these places. They are due again after [`Rib::found`].
    pub(crate) fn done_but(&mut self, batch: &Batch, refused: &BTreeSet<usize>) {
        for (index, op) in batch.ops.iter().enumerate() {
            if !refused.contains(&index) {
                self.have_op(op);
            }
        }
        if batch.complete {
            self.acknowledged = batch.version;
            self.policies_done = batch.policy_changes;
        }
    }

    /// The dataplane took operations that were no batch.
    pub fn took(&mut self, ops: &[v1::Op]) {
        for op in ops {
            self.have_op(op);
        }
    }

    /// Adjacencies as they were programmed, keys included.
    #[must_use]
    pub fn programmed(&self) -> &Tables {
        &self.before
    }

    /// The dataplane did not take a batch: all of it is due again.
    pub fn failed(&mut self, batch: Batch) {
        let keys = batch.keys;
        self.dirty.adjacencies.extend(keys.adjacencies);
        self.dirty.gateways.extend(keys.gateways);
        self.dirty.groups.extend(keys.groups);
        self.dirty.prefixes.extend(keys.prefixes);
        self.dirty.access_rules.extend(keys.access_rules);
    }

    fn have_op(&mut self, op: &v1::Op) {
        use v1::op::Op as Kind;
        let have = &mut self.have;
        match op.op.as_ref() {
            Some(Kind::PutAdjacency(one)) => {
                self.before.adjacencies.insert(one.id, one.clone());
                have.adjacencies.insert(one.id, one.clone());
            }
            Some(Kind::DeleteAdjacency(id)) => drop(have.adjacencies.remove(id)),
            Some(Kind::PutGateway(one)) => drop(
                have.gateways
                    .insert((one.topology, one.gateway), one.clone()),
            ),
            Some(Kind::DeleteGateway(key)) => {
                drop(have.gateways.remove(&(key.topology, key.gateway)))
            }
            Some(Kind::PutGroup(one)) => drop(have.groups.insert(one.id, one.clone())),
            Some(Kind::DeleteGroup(id)) => drop(have.groups.remove(id)),
            Some(Kind::PutPrefix(one)) => {
                if let Ok(name) = NameBuf::from_bytes(&one.name) {
                    have.prefixes.insert((Domain(one.domain), name), one.group);
                }
            }
            Some(Kind::DeletePrefix(key)) => {
                if let Ok(name) = NameBuf::from_bytes(&key.name) {
                    have.prefixes.remove(&(Domain(key.domain), name));
                }
            }
            Some(Kind::PutAccessRule(one)) => drop(have.access_rules.insert(one.id, one.clone())),
            Some(Kind::DeleteAccessRule(id)) => drop(have.access_rules.remove(id)),
            Some(Kind::Attach(_) | Kind::Detach(_)) | None => {}
        }
    }
}

#[cfg(test)]
mod tests;
