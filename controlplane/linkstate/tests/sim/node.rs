//! A node with its dataplane, and a link.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use dmsc_linkstate::action::{GatewayRoute, PrefixMember, Topology};
use dmsc_linkstate::event::Announcement;
use dmsc_linkstate::{AdjacencyId, Engine, EngineConfig, NodeId, RouteDelta};
use dmsc_wire::{Domain, NameBuf};

/// The tables of a dataplane.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tables {
    pub version: u64,
    pub gateways: BTreeMap<(Topology, NodeId), GatewayRoute>,
    pub prefixes: BTreeMap<(Domain, NameBuf), Vec<PrefixMember>>,
}

impl Tables {
    pub fn apply(&mut self, delta: &RouteDelta) {
        if delta.complete {
            *self = Self::default();
        }
        self.version = delta.version;
        for change in &delta.gateways {
            let key = (change.topology, change.gateway);
            match &change.route {
                Some(route) => self.gateways.insert(key, route.clone()),
                None => self.gateways.remove(&key),
            };
        }
        for change in &delta.prefixes {
            let key = (change.domain, change.name.clone());
            if change.members.is_empty() {
                self.prefixes.remove(&key);
            } else {
                self.prefixes.insert(key, change.members.clone());
            }
        }
    }

    pub fn same(&self, other: &Self) -> bool {
        self.gateways == other.gateways && self.prefixes == other.prefixes
    }
}

/// A node: its engine may be dead while its dataplane goes on.
pub struct Node {
    pub engine: Option<Engine>,
    pub config: EngineConfig,
    pub seed: u32,
    /// When its certificate was issued.
    pub issued_s: u64,
    pub tables: Tables,
    /// Deltas since the start, and whether the last one of a kind was complete.
    pub deltas: Vec<RouteDelta>,
    pub alarms: Vec<String>,
    /// What a delta took from the tables.
    pub lost: Vec<String>,
    pub closes: Vec<&'static str>,
    pub kept: Vec<(bool, Bytes)>,
    pub wall_skew: i64,
    /// Reads nothing from its neighbours, and writes nothing.
    pub stopped: bool,
    pub authorisations: Vec<Bytes>,
    pub announced: BTreeMap<NameBuf, Announcement>,
    pub verifications: Arc<AtomicU64>,
    pub serial: u64,
}

/// A link between two nodes.
#[derive(Debug, Clone)]
pub struct Link {
    pub ends: [(u32, AdjacencyId); 2],
    pub up: bool,
    pub metric: u32,
    pub delay_us: u32,
    pub session: Option<u64>,
    pub connect_at: Option<Duration>,
}
