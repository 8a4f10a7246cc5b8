//! Policies of scheduling centers on the routes: weights over members of a group, never anything that the router has not computed itself (design §8).

use std::collections::BTreeMap;
use std::time::Duration;

use dmsc_linkstate::action::{PrefixMember, Topology};
use dmsc_proto::v1;
use dmsc_scsc::apply::Ignored;
use dmsc_scsc::held::{Refused, Scope};
use dmsc_scsc::policy::ReplicaId;
use dmsc_scsc::{Held, PlainMember, Policy, apply};
use dmsc_wire::{Domain, Name, NameBuf, NodeId};

use super::{Group, GroupKey, Rib, shares};

/// A prefix, and the policy that applies to it now.
type Moved = ((Domain, NameBuf), Option<Policy>);

/// Among whom calls to a prefix may choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Plain routes choose these: the nearest.
    pub plain: Vec<NodeId>,
    /// There is a way to these as well.
    pub others: Vec<NodeId>,
}

impl Rib {
    /// What is held; expired ones are gone from it after [`Rib::expire_policies`] only.
    #[must_use]
    pub fn policies(&self) -> &Held {
        &self.policies
    }

    /// Tells the time, ms resolution is enough; before [`Rib::take`], so that an expired policy is not given to a new route.
    pub fn at(&mut self, now: Duration) {
        self.now = now;
    }

    /// Takes a policy whose signature was verified. Gives the number of the change: once [`Rib::policies_done`] is as great, it is in the
    /// dataplane.
    ///
    /// # Errors
    /// [`Refused`]; nothing changes then.
    pub fn accept(&mut self, policy: Policy) -> Result<u64, Refused> {
        let scope = self.policies.accept(self.now, policy)?;
        self.policy_changes += 1;
        self.place_again(&scope);
        Ok(self.policy_changes)
    }

    /// Takes away what a replica said for a scope, if it is in force: plain routes, or the policy that was behind it.
    pub fn withdraw_policy(&mut self, scope: &Scope, replica: ReplicaId) -> bool {
        let was = self.policies.withdraw(scope, replica);
        if was {
            self.policy_changes += 1;
            self.place_again(scope);
        }
        was
    }

    /// Takes away what is over: plain routes, or the policy that was behind it. Gives the scopes.
    pub fn expire_policies(&mut self) -> Vec<Scope> {
        let over = self.policies.expire(self.now);
        self.policy_changes += u64::from(!over.is_empty());
        for scope in &over {
            self.place_again(scope);
        }
        over
    }

    /// The last change of policies that the dataplane has.
    #[must_use]
    pub fn policies_done(&self) -> u64 {
        self.policies_done
    }

    /// The route for `name`, the policy that applies to it, and why that is left aside, if it is.
    #[must_use]
    pub fn explain_policy(
        &self,
        domain: Domain,
        name: Name<'_>,
    ) -> Option<(NameBuf, &Policy, Option<Ignored>)> {
        let depths = (1..=name.component_count()).rev();
        let mut routes = depths.filter_map(|depth| {
            let key = (domain, name.prefix(depth).to_owned());
            let group = self.groups.get(self.want.prefixes.get(&key)?)?;
            Some((key.1, group))
        });
        let (prefix, group) = routes.next()?;
        let policy = self.policies.active(self.now, domain, prefix.as_name())?;
        let plain: Vec<PlainMember> = group.members.iter().map(|one| self.plain(one)).collect();
        let ignored = apply(&plain, Some(policy)).ignored;
        Some((prefix, policy, ignored))
    }

    /// Other gateways that are members of groups and that there is a way to in a topology.
    pub fn far_members(&self, topology: Topology) -> impl Iterator<Item = NodeId> {
        let members = self.by_gateway.keys().filter(|id| **id != self.node);
        let number = u32::from(topology == Topology::Delay);
        members
            .filter(move |id| self.want.gateways.contains_key(&(number, id.0)))
            .copied()
    }

    /// Of the first `most` prefixes: whom plain routes choose, and the other members that there is a way to.
    pub fn choices(&self, most: usize) -> impl Iterator<Item = (&(Domain, NameBuf), Choice)> {
        let prefixes = self.want.prefixes.iter().take(most);
        prefixes.filter_map(|(key, id)| {
            let group = self.groups.get(id)?;
            let members = group.members.iter().map(|one| self.plain(one));
            let reachable: Vec<PlainMember> = members.filter(PlainMember::is_reachable).collect();
            let least = reachable.iter().map(|one| one.metric).min()?;
            let (near, far): (Vec<_>, Vec<_>) =
                reachable.iter().partition(|one| one.metric == least);
            let ids = |list: Vec<&PlainMember>| list.iter().map(|one| one.gateway).collect();
            let (plain, others) = (ids(near), ids(far));
            Some((key, Choice { plain, others }))
        })
    }

    pub(super) fn policy_of(&self, key: &(Domain, NameBuf)) -> Option<Policy> {
        self.policies
            .active(self.now, key.0, key.1.as_name())
            .cloned()
    }

    /// Members as the policy of the group has them, and whether weights count.
    pub(super) fn placed(&self, group: &Group) -> (Vec<v1::Member>, bool) {
        let plain: Vec<PlainMember> = group.members.iter().map(|one| self.plain(one)).collect();
        let placement = apply(&plain, group.policy.as_ref());
        // A group of the dataplane has a member once, with what of its weight goes by delay.
        let mut members: BTreeMap<NodeId, v1::Member> = BTreeMap::new();
        for placed in &placement.members {
            let member = members.entry(placed.gateway).or_insert(v1::Member {
                gateway: placed.gateway.0,
                metric: placed.metric,
                weight: 0,
                delay_weight: 0,
            });
            let more = u32::from(placed.weight).min(65_535 - member.weight);
            member.weight += more;
            if placed.topology == Topology::Delay {
                member.delay_weight += more;
            }
        }
        (members.into_values().collect(), placement.weighted)
    }

    pub(super) fn plain(&self, member: &PrefixMember) -> PlainMember {
        let here = member.gateway == self.node;
        let reaches = |topology| {
            here || self
                .want
                .gateways
                .contains_key(&(topology, member.gateway.0))
        };
        PlainMember {
            gateway: member.gateway,
            metric: self.member_metric(member),
            weight: u16::try_from(member.weight.clamp(1, 65_535)).unwrap_or(u16::MAX),
            by_metric: reaches(0),
            by_delay: reaches(1),
        }
    }

    /// Prefixes of a scope may lead to groups with other shares now. A group all of whose prefixes change alike changes in place: one operation.
    fn place_again(&mut self, (domain, prefix, _): &Scope) {
        let first = (*domain, prefix.clone());
        let within = self.want.prefixes.range(first..).take_while(|((d, n), _)| {
            // Names below a prefix follow it in the order of their bytes.
            d == domain && n.as_bytes().starts_with(prefix.as_bytes())
        });
        let mut moves: BTreeMap<u32, Vec<Moved>> = BTreeMap::new();
        for (key, id) in within {
            let Some(group) = self.groups.get(id) else {
                continue;
            };
            let policy = self.policy_of(key);
            if shares(policy.as_ref()) != shares(group.policy.as_ref()) {
                moves.entry(*id).or_default().push((key.clone(), policy));
            }
        }
        for (id, prefixes) in moves {
            if self.change_in_place(id, &prefixes) {
                continue;
            }
            for (key, policy) in prefixes {
                if let Some(group) = self.groups.get(&id) {
                    let members = group.members.clone();
                    self.put_prefix(key, members, policy);
                }
            }
        }
    }

    fn change_in_place(&mut self, id: u32, prefixes: &[Moved]) -> bool {
        let (Some(group), Some((_, policy))) = (self.groups.get(&id), prefixes.first()) else {
            return false;
        };
        let wanted = shares(policy.as_ref());
        let new: GroupKey = (group.members.clone(), wanted);
        let alike = prefixes
            .iter()
            .all(|(_, policy)| shares(policy.as_ref()) == new.1);
        if !alike || prefixes.len() != group.prefixes || self.by_members.contains_key(&new) {
            return false;
        }
        self.by_members.remove(&group.key());
        self.by_members.insert(new, id);
        if let Some(group) = self.groups.get_mut(&id) {
            group.policy.clone_from(policy);
        }
        self.put_group(id);
        true
    }
}
