//! What the engine wants done.

use bytes::Bytes;
use dmsc_wire::{Domain, NameBuf, NodeId};

use crate::event::{AdjacencyId, SessionId};

/// An order to the process around the engine.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// [`crate::Engine::next_message`] has something for this session.
    Wake(SessionId),
    /// Close this stream: its other end broke the protocol, or makes no progress.
    Close {
        /// Which.
        session: SessionId,
        /// For the log.
        why: &'static str,
    },
    /// Program the difference.
    Routes(RouteDelta),
    /// Keep this revocation on disk, and give it back with [`crate::Event::Revocation`] at the next start.
    KeepRevocation(Bytes),
    /// As above, for [`crate::Event::RootRevocation`].
    KeepRootRevocation(Bytes),
    /// Tell people; once when it begins.
    Alarm(Alarm),
    /// It ended.
    AlarmOver(Alarm),
}

/// What people must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Alarm {
    /// Another node originates with this node's id and key.
    DuplicateNodeId,
    /// The wall clock jumped: authorisations do not expire meanwhile.
    ClockJump,
    /// Installed prefixes whose authorisation expired.
    StalePrefixes,
    /// A limit of the database is reached; more is refused.
    DatabaseFull,
    /// An authority took back more than is kept of one: what came last is not applied here, until something else of it is over. See
    /// [`crate::Engine::refused_revocations`].
    RevocationsFull,
}

/// Which metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topology {
    /// Classes 0–5, but for what a policy sends by delay.
    Metric,
    /// Classes 6–7, and what a policy sends so.
    Delay,
}

/// What changed in the RIB since the last one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteDelta {
    /// Counts up by one.
    pub version: u64,
    /// Everything is told, nothing else is valid: once after start or restart. What the dataplane has besides is to be removed. Those before
    /// it, after a restart, add to what the dataplane has and change it.
    pub complete: bool,
    /// Changed gateways.
    pub gateways: Vec<GatewayChange>,
    /// Changed prefixes.
    pub prefixes: Vec<PrefixChange>,
}

/// The way to a gateway, or none any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayChange {
    /// In which topology.
    pub topology: Topology,
    /// Where to (any node, not only gateways).
    pub gateway: NodeId,
    /// How; `None`: not reachable.
    pub route: Option<GatewayRoute>,
}

/// A way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayRoute {
    /// Cost.
    pub metric: u32,
    /// Adjacencies at equal cost, ascending, at most 16.
    pub next_hops: Vec<AdjacencyId>,
    /// Loop-free alternate that avoids the next hop's node.
    pub node_protecting: Option<AdjacencyId>,
    /// Loop-free alternate that avoids the link.
    pub link_protecting: Option<AdjacencyId>,
}

/// Who serves a prefix now; nobody: remove it. Unreachable gateways are among them: reachability is the gateway table's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixChange {
    /// Tenant.
    pub domain: Domain,
    /// The prefix.
    pub name: NameBuf,
    /// By gateway, ascending. This node itself is among them unless it is drained.
    pub members: Vec<PrefixMember>,
}

/// One gateway that serves a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrefixMember {
    /// Where.
    pub gateway: NodeId,
    /// To be added to the distance of the gateway.
    pub metric: u32,
    /// At least 1.
    pub weight: u32,
}
