//! What the scheduling center may say: weights over the gateways of a service group, exclusions, and which topology to use (design §8).

use std::cmp::Ordering;
use std::fmt;
use std::time::Duration;

use dmsc_linkstate::action::Topology;
use dmsc_wire::{Domain, Name, NameBuf, NodeId};

/// Most shares of a policy: as many as a group of the dataplane has members.
pub const MAX_MEMBERS: usize = 64;
/// Shortest life that a center gives a policy: it is renewed at half of it.
pub const MIN_TTL: Duration = Duration::from_secs(2);
/// Longest life of a policy.
pub const MAX_TTL: Duration = Duration::from_secs(3_600);
/// Most bytes of the reason.
pub const MAX_REASON: usize = 512;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(pub $int);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}
id!(
    /// A policy's number: of its replica, ascending; a renewal has a new one.
    PolicyId(u64)
);
id!(
    /// One start of a replica: greater than any before it, kept on disk.
    Epoch(u64)
);
id!(
    /// One of the scheduling centers of an area.
    ReplicaId(u32)
);

/// Which of two policies for one scope counts: of the greater epoch; within it of the greater replica id; of one replica the later. Two replicas
/// need not know each other for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank {
    /// First.
    pub epoch: Epoch,
    /// Then.
    pub replica: ReplicaId,
    /// Last.
    pub id: PolicyId,
}

/// How much of the traffic a member gets, and on which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share {
    /// The member's gateway.
    pub gateway: NodeId,
    /// In proportion to the others'. A member whose shares are all 0 is excluded.
    pub weight: u16,
    /// By which metric packets go there.
    pub topology: Topology,
}

/// A policy for the callers of one gateway, or of all of an area.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Which.
    pub rank: Rank,
    /// Of routers.
    pub area: u32,
    /// Tenant.
    pub domain: Domain,
    /// The service group with this prefix, and those below it that have no policy of their own.
    pub prefix: NameBuf,
    /// For calls that enter there; [`NodeId::NONE`]: anywhere.
    pub gateway: NodeId,
    /// From when it is accepted. 0: ends the policy of this replica for this scope at once.
    pub ttl: Duration,
    /// By gateway, then topology, ascending; a member may have one share in each. Members that are not named stay backups.
    pub shares: Vec<Share>,
    /// Why, for people, with the numbers that made it.
    pub reason: String,
}

impl Policy {
    /// Whether it speaks about calls of this tenant and name that enter at this gateway.
    #[must_use]
    pub fn covers(&self, domain: Domain, name: Name<'_>, gateway: NodeId) -> bool {
        self.domain == domain
            && (self.gateway == gateway || !self.gateway.is_some())
            && self.prefix.as_name().is_prefix_of(name)
    }

    /// Which of two that cover the same call decides: the longer prefix, then the one for a single gateway, then the [`Rank`].
    #[must_use]
    pub fn precedence(&self, other: &Policy) -> Ordering {
        let depth = |policy: &Policy| policy.prefix.as_name().component_count();
        depth(self)
            .cmp(&depth(other))
            .then(self.gateway.is_some().cmp(&other.gateway.is_some()))
            .then(self.rank.cmp(&other.rank))
    }
}
