//! Between whom is measured.

use std::fmt;

use dmsc_linkstate::action::Topology;
use dmsc_wire::{NodeId, PortId};

/// A way that is probed: from one gateway to another, in one topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair {
    /// Who measures: the gateway that calls enter by.
    pub gateway: NodeId,
    /// The gateway at the far end, where members of service groups are.
    pub member: NodeId,
    /// By which metric routers forward between them.
    pub topology: Topology,
}

/// One direction of a link, as its owner numbers it; it names the narrowest link of a way. Node 0: not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkKey {
    /// Whose port.
    pub node: NodeId,
    /// The owner's number of the link: its adjacency, or the port that packets leave by.
    pub port: PortId,
}

impl LinkKey {
    /// Whether a link is named at all.
    #[must_use]
    pub fn is_known(self) -> bool {
        self.node.is_some()
    }
}

impl fmt::Display for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link {} of node {}", self.port, self.node)
    }
}

/// The word for a topology in texts for people.
#[must_use]
pub fn word(topology: Topology) -> &'static str {
    match topology {
        Topology::Metric => "metric",
        Topology::Delay => "delay",
    }
}
