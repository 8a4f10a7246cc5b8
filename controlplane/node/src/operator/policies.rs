//! Answers about policies of scheduling centers, here at a gateway or router.

use std::time::Duration;

use dmsc_linkstate::action::Topology;
use dmsc_proto::v1;
use dmsc_scsc::{Policy, ReplicaId};
use dmsc_wire::{Domain, Name, NameBuf, NodeId};

use super::page::{Cursor, first};
use crate::node::Node;
use crate::rib::standing::Standing;

/// Tenant, prefix, gateway of the callers, center: of these there is one policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyKey(pub Domain, pub NameBuf, pub NodeId, pub ReplicaId);

impl PolicyKey {
    /// Where a policy stands.
    #[must_use]
    pub fn of(policy: &Policy) -> Self {
        let Policy {
            domain,
            prefix,
            gateway,
            rank,
            ..
        } = policy;
        Self(*domain, prefix.clone(), *gateway, rank.replica)
    }
}

impl Cursor for PolicyKey {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in [self.0.0, self.2.0, self.3.0] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend(self.1.as_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (domain, rest) = bytes.split_first_chunk()?;
        let (gateway, rest) = rest.split_first_chunk()?;
        let (replica, name) = rest.split_first_chunk()?;
        let name = Name::from_bytes(name).ok()?.to_owned();
        let number = |bytes: &[u8; 4]| u32::from_be_bytes(*bytes);
        Some(Self(
            Domain(number(domain)),
            name,
            NodeId(number(gateway)),
            ReplicaId(number(replica)),
        ))
    }
}

/// As in the API; what became of it is not known here.
#[must_use]
pub fn info(policy: &Policy, left: Duration) -> v1::PolicyInfo {
    let share = |share: &dmsc_scsc::Share| v1::PolicyShare {
        gateway: share.gateway.0,
        weight: share.weight.into(),
        topology: u32::from(share.topology == Topology::Delay),
    };
    v1::PolicyInfo {
        domain: policy.domain.0,
        prefix: policy.prefix.as_bytes().to_vec(),
        gateway: policy.gateway.0,
        shares: policy.shares.iter().map(share).collect(),
        ttl_left_ms: u32::try_from(left.as_millis()).unwrap_or(u32::MAX),
        id: policy.rank.id.0,
        epoch: policy.rank.epoch.0,
        replica: policy.rank.replica.0,
        reason: policy.reason.clone(),
        by: policy.set_by().unwrap_or_default().to_owned(),
        ..v1::PolicyInfo::default()
    }
}

/// Policies held, in order, the first `most` after `after`.
pub fn held(
    node: &Node,
    after: Option<&PolicyKey>,
    most: usize,
) -> Vec<(PolicyKey, v1::PolicyInfo)> {
    let now = node.clock.now().mono;
    let all = node.rib.policies().iter().filter(|(_, until)| *until > now);
    let keyed = all.map(|(policy, until)| (PolicyKey::of(policy), (policy, until)));
    let told = |(key, (policy, until)): (PolicyKey, (&Policy, Duration))| {
        let mut told = info(policy, until.saturating_sub(now));
        (told.state, told.why) = standing(node, policy);
        (key, told)
    };
    first(keyed, after, most).into_iter().map(told).collect()
}

/// How many are held.
pub fn count(node: &Node) -> usize {
    let now = node.clock.now().mono;
    let all = node.rib.policies().iter();
    all.filter(|(_, until)| *until > now).count()
}

fn standing(node: &Node, policy: &Policy) -> (String, String) {
    let (state, why) = match node.rib.standing(policy) {
        Standing::Applied => ("applied", String::new()),
        Standing::Ignored(why) => ("ignored", format!("{why}; plain routes hold")),
        Standing::Behind(rank) => (
            "behind",
            format!(
                "policy {} of replica {} counts: it is for a longer prefix or this gateway alone, or of a center that started later",
                rank.id, rank.replica
            ),
        ),
        Standing::NoRoute => (
            "no route",
            "nothing at or below its prefix is routed here".to_owned(),
        ),
    };
    (state.to_owned(), why)
}

/// The policy that applies to calls to a name that enter here.
pub fn explain(node: &Node, domain: Domain, name: Name<'_>) -> v1::ExplainPolicyReply {
    let now = node.clock.now().mono;
    let matched = node.rib.matched(domain, name);
    let policy = node
        .rib
        .explain_policy(domain, name)
        .map(|(_, policy, ignored)| {
            let all = node.rib.policies().iter();
            let same = |(one, until): (&Policy, Duration)| (one == policy).then_some(until);
            let until = all.filter_map(same).next().unwrap_or_default();
            let mut told = info(policy, until.saturating_sub(now));
            told.state = match ignored {
                None => "applied",
                Some(_) => "ignored",
            }
            .to_owned();
            told.why = ignored.map_or_else(String::new, |why| format!("{why}; plain routes hold"));
            told
        });
    v1::ExplainPolicyReply {
        node: node.config.node.id.0,
        matched: matched.map_or_else(Vec::new, |name| name.as_bytes().to_vec()),
        policy,
    }
}
