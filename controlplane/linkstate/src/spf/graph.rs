//! The graph that shortest paths are computed on: nodes and directed links.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use dmsc_wire::NodeId;

/// One link, as its owner numbers it. Both directions of a link may share an id, parallel links
/// between two nodes have different ones; the first hops of a route are given as link ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u32);

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which figure of a link is added up along a path: one topology each (design §4.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Cost {
    /// The configured metric.
    #[default]
    Metric,
    /// The measured delay.
    Delay,
}

/// One direction of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The link this is a direction of.
    pub link: LinkId,
    /// The node at the far end.
    pub to: NodeId,
    /// Configured metric, at least 1.
    pub metric: u32,
    /// Delay in microseconds, at least 1; the metric where none is known.
    pub delay: u32,
}

impl Edge {
    /// What this direction adds to a path.
    pub fn cost(&self, cost: Cost) -> u64 {
        u64::from(match cost {
            Cost::Metric => self.metric,
            Cost::Delay => self.delay,
        })
    }
}

/// Nodes and directed links. Deterministic: the order in which links were added never shows.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: BTreeMap<NodeId, Vec<Edge>>,
    overloaded: BTreeSet<NodeId>,
}

impl Graph {
    /// A graph without nodes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node; one without links is known and reaches nobody.
    pub fn add_node(&mut self, node: NodeId) {
        self.nodes.entry(node).or_default();
    }

    /// Adds the direction `from` → `to` of a link, with the metric for its delay too, or replaces
    /// that direction of that link. A metric of 0 counts as 1, so that every hop of a shortest path
    /// comes nearer and equal-cost paths cannot circle. A link from a node to itself is ignored.
    pub fn add_link(&mut self, link: LinkId, from: NodeId, to: NodeId, metric: u32) {
        self.add_link_with_delay(link, from, to, metric, metric);
    }

    /// [`Graph::add_link`] for a link whose delay (microseconds) is known.
    pub fn add_link_with_delay(
        &mut self,
        link: LinkId,
        from: NodeId,
        to: NodeId,
        metric: u32,
        delay: u32,
    ) {
        self.add_node(from);
        self.add_node(to);
        if from == to {
            return;
        }
        let edge = Edge {
            link,
            to,
            metric: metric.max(1),
            delay: delay.max(1),
        };
        let edges = self.nodes.entry(from).or_default();
        match edges.binary_search_by_key(&(to, link), |e| (e.to, e.link)) {
            Ok(at) => edges[at] = edge,
            Err(at) => edges.insert(at, edge),
        }
    }

    /// The same with every direction turned round: shortest paths to a node are those from it there.
    #[must_use]
    pub fn reversed(&self) -> Self {
        let mut other = Self {
            overloaded: self.overloaded.clone(),
            ..Self::default()
        };
        for (from, edges) in &self.nodes {
            other.add_node(*from);
            for edge in edges {
                other.add_link_with_delay(edge.link, edge.to, *from, edge.metric, edge.delay);
            }
        }
        other
    }

    /// Marks a node as overloaded: it is reached, but no path of others goes through it.
    pub fn set_overloaded(&mut self, node: NodeId, overloaded: bool) {
        if overloaded {
            self.overloaded.insert(node);
        } else {
            self.overloaded.remove(&node);
        }
    }

    /// Whether no path of others may go through this node.
    pub fn is_overloaded(&self, node: NodeId) -> bool {
        self.overloaded.contains(&node)
    }

    /// Removes every direction of a link. The nodes stay.
    pub fn remove_link(&mut self, link: LinkId) {
        for edges in self.nodes.values_mut() {
            edges.retain(|e| e.link != link);
        }
    }

    /// Removes a node with all its links.
    pub fn remove_node(&mut self, node: NodeId) {
        self.nodes.remove(&node);
        self.overloaded.remove(&node);
        for edges in self.nodes.values_mut() {
            edges.retain(|e| e.to != node);
        }
    }

    /// All nodes in ascending order.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.keys().copied()
    }

    /// Whether the node is known.
    pub fn contains(&self, node: NodeId) -> bool {
        self.nodes.contains_key(&node)
    }

    /// The links out of a node, by far end and link id; none for an unknown node.
    pub fn edges(&self, node: NodeId) -> &[Edge] {
        self.nodes.get(&node).map_or(&[], Vec::as_slice)
    }
}
