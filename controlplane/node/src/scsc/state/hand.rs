//! Policies that people set: instead of the engine's for one group at one gateway, for a time; then the engine goes on from there.

use std::time::Duration;

use dmsc_scsc::plan::WHOLE;
use dmsc_scsc::policy::{MAX_MEMBERS, MAX_TTL};
use dmsc_scsc::{GroupId, Order, Policy, PolicyId, Rank, ReplicaId, Share, Topology, hand};
use dmsc_wire::{Domain, NameBuf, NodeId};
use thiserror::Error;

use super::{Center, InForce, Inner, Scope, scope};

/// Shortest life.
const MIN_TTL: Duration = Duration::from_secs(2);
/// Most bytes of a reason.
const MAX_WHY: usize = 255;
/// The engine takes up what is set by hand so long before it is over, so that nothing moves at its end but by its steps.
const TAKEN_UP: Duration = Duration::from_secs(1);
/// Names and numbers that an error tells.
const TOLD: usize = 8;

/// What somebody wants.
#[derive(Debug, Clone)]
pub struct ByHand {
    /// Tenant.
    pub domain: Domain,
    /// Of a service group.
    pub prefix: NameBuf,
    /// For calls that enter there.
    pub gateway: NodeId,
    /// In proportion; 0 excludes. In any order.
    pub shares: Vec<Share>,
    /// From now.
    pub ttl: Duration,
    /// For people.
    pub why: String,
}

/// Why a policy is not set or unset.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HandError {
    /// Nobody has this prefix.
    #[error(
        "name: no gateway tells of calls to a group {prefix} in domain {domain}; there are: {known}"
    )]
    NoGroup {
        /// As asked for.
        prefix: String,
        /// As asked for.
        domain: Domain,
        /// Some that there are.
        known: String,
    },
    /// Calls do not enter there.
    #[error("gateway: {gateway} tells of no calls to {prefix}; these do: {known}")]
    NoCaller {
        /// As asked for.
        gateway: NodeId,
        /// The group.
        prefix: String,
        /// Those that do.
        known: String,
    },
    /// Somebody who serves nothing.
    #[error("share: node {node} is no member of {prefix}; members are: {known}")]
    NoMember {
        /// As asked for.
        node: NodeId,
        /// The group.
        prefix: String,
        /// Those that are.
        known: String,
    },
    /// No weight that counts.
    #[error("share: every weight is 0; nobody would be left, so give one member at least 1")]
    Nobody,
    /// A member more than once.
    #[error(
        "share: node {0} stands there twice; give each member one weight, or one by metric and one by delay, and do not exclude it besides"
    )]
    Twice(NodeId),
    /// Too many.
    #[error("share: {0} of them; a policy has at most {MAX_MEMBERS}")]
    Many(usize),
    /// Too short or too long.
    #[error("ttl: {0:?} is not possible; write 2s to 3600s, and set it again before it is over")]
    Ttl(Duration),
    /// Missing or too long.
    #[error("reason: {0} bytes; write 1 to {MAX_WHY}, for whoever wonders about the policy")]
    Why(usize),
    /// It would disturb whoever reads it.
    #[error("reason: has a control character; write one line of text")]
    Control,
    /// There is none.
    #[error("no policy for {0} is in force by hand there; `dmscctl show policies` lists what is")]
    NothingSet(String),
}

fn some<T: ToString>(all: impl Iterator<Item = T>) -> String {
    let mut told: Vec<String> = all.take(TOLD + 1).map(|one| one.to_string()).collect();
    if told.len() > TOLD {
        told[TOLD] = "…".to_owned();
    }
    match told.is_empty() {
        true => "none yet".to_owned(),
        false => told.join(", "),
    }
}

impl Center {
    /// Signs and sends what somebody wants. Gives it as it is in force, and whether the gateway is connected; otherwise it gets it when it comes.
    ///
    /// # Errors
    /// What is wrong with it; nothing changes then.
    pub fn set_by_hand(&self, who: &str, wanted: ByHand) -> Result<(InForce, bool), HandError> {
        let now = self.now();
        let mut inner = self.inner();
        let group = inner.judge(&wanted)?;
        let policy = Policy {
            shares: thousandths(wanted.shares),
            reason: hand::reason(who, &wanted.why),
            ttl: wanted.ttl,
            ..self.blank((wanted.domain, wanted.prefix, wanted.gateway))
        };
        let (scope, until) = (scope(&policy), now + policy.ttl);
        // Members were looked at, and the shares are all of the traffic.
        inner.engine.hold(group, scope.2, &policy.shares, until);
        let text = told(&policy);
        self.put(&mut inner, now, Order::undecided(policy));
        let one = inner.in_force.get(&scope).cloned();
        let connected = inner.streams.contains_key(&scope.2);
        drop(inner);
        self.decided(&text);
        one.map(|one| (one, connected))
            .ok_or(HandError::Ttl(wanted.ttl))
    }

    /// Takes back what was set by hand for this group at this gateway, or at all. Gives the gateways.
    ///
    /// # Errors
    /// When there is none.
    pub fn unset_by_hand(
        &self,
        who: &str,
        (domain, prefix): (Domain, NameBuf),
        gateway: Option<NodeId>,
    ) -> Result<Vec<NodeId>, HandError> {
        let now = self.now();
        let mut inner = self.inner();
        let all = inner.in_force.values().filter(|one| {
            let policy = &one.policy;
            policy.set_by().is_some()
                && (policy.domain, &policy.prefix) == (domain, &prefix)
                && gateway.is_none_or(|gateway| gateway == policy.gateway)
        });
        let gateways: Vec<NodeId> = all.map(|one| one.policy.gateway).collect();
        if gateways.is_empty() {
            return Err(HandError::NothingSet(prefix.to_string()));
        }
        for gateway in &gateways {
            self.give_back(&mut inner, now, (domain, prefix.clone(), *gateway));
        }
        for gateway in &gateways {
            self.decided(&format!(
                "{prefix} at gateway {gateway}: unset by hand, {who}; decided here again"
            ));
        }
        // At once: what was unset is in force no more when this returns.
        for order in inner.engine.step(now) {
            self.put(&mut inner, now, order);
        }
        Ok(gateways)
    }

    /// How many policies are in force by hand.
    #[must_use]
    pub fn count_by_hand(&self) -> usize {
        let inner = self.inner();
        let all = inner.in_force.values();
        all.filter(|one| one.policy.set_by().is_some()).count()
    }

    /// Before the engine decides: what people set and is about to be over is the engine's again.
    pub(super) fn take_up(&self, inner: &mut Inner, now: Duration) {
        let over = |one: &&InForce| one.until <= now + TAKEN_UP && one.policy.set_by().is_some();
        let over = inner.in_force.values().filter(over);
        let scopes: Vec<Scope> = over.map(|one| scope(&one.policy)).collect();
        for scope in scopes {
            self.give_back(inner, now, scope);
        }
    }

    fn give_back(&self, inner: &mut Inner, now: Duration, scope: Scope) {
        let id = inner.id_of(scope.0, &scope.1);
        let goes_on = id.is_some_and(|id| inner.engine.release(now, id, scope.2));
        if !goes_on {
            let policy = Policy {
                reason: "what was set by hand is over".to_owned(),
                ..self.blank(scope)
            };
            self.put(inner, now, Order::undecided(policy));
        }
    }

    /// Ends the policy of a scope, unless it gets a life.
    fn blank(&self, (domain, prefix, gateway): Scope) -> Policy {
        Policy {
            rank: Rank {
                epoch: self.epoch,
                replica: ReplicaId(self.replica),
                // Given when it is put in force.
                id: PolicyId(0),
            },
            area: self.area,
            domain,
            prefix,
            gateway,
            ttl: Duration::ZERO,
            shares: Vec::new(),
            reason: String::new(),
        }
    }
}

impl Inner {
    /// A renewal has no reason of its own: that of what it renews.
    pub(super) fn reason_before(&self, policy: &Policy) -> String {
        match self.in_force.get(&scope(policy)) {
            Some(one) if one.policy.set_by().is_some() => {
                format!("{}: goes on from what was set by hand", policy.prefix)
            }
            Some(one) => one.policy.reason.clone(),
            None => String::new(),
        }
    }

    fn id_of(&self, domain: Domain, prefix: &NameBuf) -> Option<GroupId> {
        self.groups.id(&(domain, prefix.clone()))
    }

    fn judge(&self, wanted: &ByHand) -> Result<GroupId, HandError> {
        if !(MIN_TTL..=MAX_TTL).contains(&wanted.ttl) {
            return Err(HandError::Ttl(wanted.ttl));
        }
        if !(1..=MAX_WHY).contains(&wanted.why.len()) {
            return Err(HandError::Why(wanted.why.len()));
        }
        if wanted.why.chars().any(char::is_control) {
            return Err(HandError::Control);
        }
        let prefix = wanted.prefix.to_string();
        let group = self.groups.get(&(wanted.domain, wanted.prefix.clone()));
        let Some(group) = group else {
            let known = self.groups.iter().map(|(key, _)| key);
            let known = known.filter(|key| key.0 == wanted.domain);
            return Err(HandError::NoGroup {
                prefix,
                domain: wanted.domain,
                known: some(known.map(|key| key.1.to_string())),
            });
        };
        if group.plain(wanted.gateway).is_none() {
            return Err(HandError::NoCaller {
                gateway: wanted.gateway,
                prefix,
                known: some(group.callers()),
            });
        }
        if wanted.shares.len() > MAX_MEMBERS {
            return Err(HandError::Many(wanted.shares.len()));
        }
        let mut shares = wanted.shares.clone();
        shares.sort_unstable_by_key(|share| (share.gateway, share.topology));
        // A member may have a share by metric and one by delay.
        let twice = shares.windows(2).find(|pair| {
            pair[0].gateway == pair[1].gateway
                && (pair[0].topology == pair[1].topology
                    || pair.iter().any(|share| share.weight == 0))
        });
        if let Some(pair) = twice {
            return Err(HandError::Twice(pair[0].gateway));
        }
        let members = group.considered();
        if let Some(node) = shares
            .iter()
            .map(|share| share.gateway)
            .find(|node| !members.contains(node))
        {
            return Err(HandError::NoMember {
                node,
                prefix,
                known: some(members.iter()),
            });
        }
        if wanted.shares.iter().all(|share| share.weight == 0) {
            return Err(HandError::Nobody);
        }
        Ok(group.id)
    }
}

/// The same proportions in thousandths, in the order of a policy. Whoever has a weight keeps at least one.
fn thousandths(mut shares: Vec<Share>) -> Vec<Share> {
    shares.sort_unstable_by_key(|share| (share.gateway, share.topology));
    let whole = u32::from(WHOLE);
    let all: u32 = shares.iter().map(|share| u32::from(share.weight)).sum();
    for share in shares.iter_mut().filter(|share| share.weight > 0) {
        let part = u32::from(share.weight) * whole / all.max(1);
        share.weight = u16::try_from(part.max(1)).unwrap_or(WHOLE);
    }
    loop {
        let sum: u32 = shares.iter().map(|share| u32::from(share.weight)).sum();
        // The largest takes what rounding left over, or took too much.
        match shares.iter_mut().max_by_key(|share| share.weight) {
            Some(largest) if sum < whole => largest.weight += 1,
            Some(largest) if sum > whole => largest.weight -= 1,
            _ => return shares,
        }
    }
}

fn told(policy: &Policy) -> String {
    let parts = policy.shares.iter().map(|share| {
        let (whole, tenth) = (share.weight / 10, share.weight % 10);
        let way = match share.topology {
            Topology::Metric => "",
            Topology::Delay => " by delay",
        };
        format!("{whole}.{tenth} % to {}{way}", share.gateway)
    });
    format!(
        "{} at gateway {}: {}; now {}; for {} s",
        policy.prefix,
        policy.gateway,
        policy.reason,
        parts.collect::<Vec<_>>().join(", "),
        policy.ttl.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousandths_are_all_of_the_traffic() {
        let weights = |given: &[u16]| -> Vec<u16> {
            let share = |(node, weight): (usize, &u16)| Share {
                gateway: NodeId(node as u32 + 1),
                weight: *weight,
                topology: Topology::Metric,
            };
            let shares = thousandths(given.iter().enumerate().map(share).collect());
            shares.iter().map(|share| share.weight).collect()
        };
        assert_eq!(weights(&[3, 1]), [750, 250]);
        assert_eq!(weights(&[5, 0]), [1_000, 0]);
        assert_eq!(weights(&[1, 1, 1]).iter().sum::<u16>(), 1_000);
        let mut many = [1; 64];
        many[0] = 65_535;
        let many = weights(&many);
        assert_eq!((many[0], many[63]), (937, 1));
    }
}
