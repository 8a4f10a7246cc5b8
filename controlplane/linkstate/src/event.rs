//! What happens to the engine.

use std::time::Duration;

use bytes::Bytes;
use dmsc_wire::{Domain, NameBuf, NodeId};

use crate::engine::figures::Figures;
use crate::message::Message;

/// An adjacency of this node, 1..65535: the id that the dataplane knows it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdjacencyId(pub u16);

/// A stream to a neighbour; a new one for each connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// An adjacency as it is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkSettings {
    /// Its id.
    pub id: AdjacencyId,
    /// Who is at the other end.
    pub peer: NodeId,
    /// 1..=16,777,215.
    pub metric: u32,
    /// Of the delay topology, µs, 1..=16,777,215.
    pub delay_us: u32,
    /// kbit/s, 0 = not told.
    pub capacity_kbps: u64,
}

/// A prefix that this gateway announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Tenant; in domain 0, which is none, nothing is announced.
    pub domain: Domain,
    /// The prefix.
    pub name: NameBuf,
    /// Added to the distance of this gateway.
    pub metric: u32,
    /// Among members at equal metric; 0 = 1.
    pub weight: u32,
    /// Wall clock, ms since 1970, when the pod's announcement was taken.
    pub announced_at_ms: u64,
}

/// A prefix that was programmed before this process started, read back from the dataplane.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Known {
    /// Tenant.
    pub domain: Domain,
    /// The prefix.
    pub name: NameBuf,
    /// A member of its group.
    pub gateway: NodeId,
}

/// Something that happened.
// The large variant is the frequent one: a box would cost an allocation per message and save nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// First, at most once, before any session: this is a restart, and these are the gateways and prefixes that the dataplane has. Until all of
    /// them are known again, or neighbours that lack nothing know that the rest is gone, or `hold` has passed, no route is told. Without any of both it is a
    /// start: own prefixes are announced, and transit is offered, after the first [`Event::Programmed`].
    Restarted {
        /// Gateways in the dataplane's tables.
        gateways: Vec<NodeId>,
        /// Prefixes in the dataplane's tables.
        prefixes: Vec<Known>,
        /// Longest wait.
        hold: Duration,
    },
    /// An adjacency was configured, or its settings changed.
    LinkConfigured(LinkSettings),
    /// An adjacency is configured no more.
    LinkRemoved(AdjacencyId),
    /// Hellos of the dataplane: the adjacency is up or down.
    LinkHello {
        /// Which.
        id: AdjacencyId,
        /// Up.
        up: bool,
    },
    /// What links are like, once a second; they are told to the others when that is worth it. Those of links that are not up are left aside.
    LinksMeasured(Vec<(AdjacencyId, Figures)>),
    /// A stream to the neighbour is there; both ends have greeted.
    SessionUp {
        /// The stream.
        session: SessionId,
        /// Over which adjacency.
        link: AdjacencyId,
        /// Who is there, by certificate.
        peer: NodeId,
        /// The neighbour's id of the adjacency.
        peer_link: AdjacencyId,
    },
    /// The stream ended.
    SessionDown(SessionId),
    /// A message came.
    Received {
        /// By which stream.
        session: SessionId,
        /// What.
        message: Message,
    },
    /// Prefixes that pods of this gateway serve now; one already announced is changed. Cost grows with the list, not with what is there.
    Announce(Vec<Announcement>),
    /// Prefixes that no pod of this gateway serves any more.
    Withdraw(Vec<(Domain, NameBuf)>),
    /// All authorisations of this gateway, bodies of authorisation objects: replaces those of before.
    Authorisations(Vec<Bytes>),
    /// A revocation from an authority or from disk: verified, applied and originated by this node too.
    Revocation(Bytes),
    /// As [`Event::Revocation`], by the root, of a node.
    RootRevocation(Bytes),
    /// Drain (true): no transit through this node, and none of its prefixes; or back.
    Drain(bool),
    /// This node ends for good: purge everything that it originated.
    Leave,
    /// The dataplane acknowledged the routes up to this version of [`crate::action::RouteDelta`].
    Programmed {
        /// That version.
        version: u64,
    },
    /// The deadline has come.
    Tick,
}
