//! Members that are reached by other links by delay than by metric: these are measured in both topologies, and a policy may choose between them.

use std::collections::BTreeSet;

use dmsc_scsc::Topology;
use dmsc_wire::NodeId;

use crate::node::Node;

/// Nodes, and of which link state they are.
#[derive(Debug, Clone, Default)]
pub(super) struct Apart {
    version: Option<u64>,
    nodes: BTreeSet<NodeId>,
}

impl Apart {
    /// Made anew if links said something else.
    pub fn renew(&mut self, node: &Node) {
        let version = Some(node.engine.links_version());
        if self.version != version {
            self.version = version;
            self.nodes = node.engine.apart();
        }
    }

    /// What is worth measuring, at most `most` ways: every member by metric, then those by delay that take other links.
    pub fn pairs(&self, node: &Node, most: usize) -> Vec<(NodeId, Topology)> {
        let by_metric = node.rib.far_members(Topology::Metric);
        let by_delay = node.rib.far_members(Topology::Delay);
        let by_delay = by_delay.filter(|member| self.nodes.contains(member));
        by_metric
            .map(|member| (member, Topology::Metric))
            .chain(by_delay.map(|member| (member, Topology::Delay)))
            .take(most)
            .collect()
    }
}
