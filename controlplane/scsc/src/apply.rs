//! What a policy makes of a service group at a router: weights within what the router computed itself, and nothing else.

use dmsc_linkstate::action::Topology;
use dmsc_wire::NodeId;

use crate::policy::Policy;

/// A member as the router's own routes have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlainMember {
    /// Its gateway.
    pub gateway: NodeId,
    /// From here; of a gateway that cannot be reached: `u32::MAX`.
    pub metric: u32,
    /// As announced, at least 1.
    pub weight: u16,
    /// There is a way by metric, or it is this router.
    pub by_metric: bool,
    /// There is a way by delay, or it is this router.
    pub by_delay: bool,
}

/// A member with what the policy made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Its gateway.
    pub gateway: NodeId,
    /// As in the plain member.
    pub metric: u32,
    /// Share among the others; 0: a backup.
    pub weight: u16,
    /// By which metric packets go there.
    pub topology: Topology,
}

/// A service group for the dataplane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// By weights; otherwise the nearest.
    pub weighted: bool,
    /// In the order of the plain members; one is there twice if the policy gives it a share in both topologies.
    pub members: Vec<Placed>,
    /// The policy was left aside, and why.
    pub ignored: Option<Ignored>,
}

/// Why a policy was left aside: plain routes hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    /// Nobody would be left.
    #[error("the policy excludes every member that can be reached")]
    ExcludesAll,
    /// It names others.
    #[error("the policy names no member of this group")]
    NamesNone,
}

/// Applies a policy. Every member of the result is one of `plain`; if one of those can be reached, one that can be reached is chosen; a topology is
/// used only where the router has a way in it. So a policy, however wrong, can neither loop nor lose a prefix.
#[must_use]
pub fn apply(plain: &[PlainMember], policy: Option<&Policy>) -> Placement {
    let Some(policy) = policy else {
        return plainly(plain, None);
    };
    let mut named = false;
    let mut left: Vec<PlainMember> = Vec::with_capacity(plain.len());
    let mut members: Vec<Placed> = Vec::with_capacity(plain.len());
    for member in plain {
        let of_member = |share: &&_| is_of(share, member);
        let mut shares = policy.shares.iter().filter(of_member).peekable();
        if shares.peek().is_none() {
            left.push(*member);
            members.push(member.placed(0, Topology::Metric));
            continue;
        }
        named = true;
        let wanted = shares.filter(|share| share.weight > 0);
        let before = members.len();
        members.extend(wanted.map(|share| member.placed(share.weight, share.topology)));
        if members.len() > before {
            left.push(*member);
        }
    }
    if !named {
        return plainly(plain, Some(Ignored::NamesNone));
    }
    let lost =
        plain.iter().any(PlainMember::is_reachable) && !left.iter().any(PlainMember::is_reachable);
    if lost || left.is_empty() {
        return plainly(plain, Some(Ignored::ExcludesAll));
    }
    let reachable = |placed: &&Placed| {
        left.iter()
            .any(|member| member.gateway == placed.gateway && member.is_reachable())
    };
    // Weights count if one of them is of a member that can be reached; else the nearest of those that are not excluded.
    if members.iter().filter(reachable).any(|m| m.weight > 0) {
        return Placement {
            weighted: true,
            members,
            ignored: None,
        };
    }
    plainly(&left, None)
}

fn is_of(share: &crate::policy::Share, member: &PlainMember) -> bool {
    share.gateway == member.gateway
}

impl PlainMember {
    /// Whether there is any way to it.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.by_metric || self.by_delay
    }

    /// In the topology that is wanted, if there is a way in it, else in the other: on the way nothing falls back.
    fn placed(&self, weight: u16, wanted: Topology) -> Placed {
        let topology = match wanted {
            Topology::Delay if self.by_delay => Topology::Delay,
            Topology::Metric if !self.by_metric && self.by_delay => Topology::Delay,
            _ => Topology::Metric,
        };
        Placed {
            gateway: self.gateway,
            metric: self.metric,
            weight,
            topology,
        }
    }
}

fn plainly(plain: &[PlainMember], ignored: Option<Ignored>) -> Placement {
    let place = |member: &PlainMember| member.placed(member.weight.max(1), Topology::Metric);
    Placement {
        weighted: false,
        members: plain.iter().map(place).collect(),
        ignored,
    }
}
