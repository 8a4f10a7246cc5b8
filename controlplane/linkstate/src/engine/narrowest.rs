//! The narrowest link of the ways to each node, by what the owners of links say is left of them (RFC 8570, section 4.7).

use std::collections::{BTreeMap, HashMap};

use dmsc_wire::NodeId;

use super::Engine;
use crate::action::Topology;
use crate::spf::{Cost, Graph, LinkId, spf_by};

/// One direction of a link: the one of which least is left, of all shortest ways to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Narrowest {
    /// What is left of it, kbit/s.
    pub available_kbps: u64,
    /// Its owner.
    pub node: NodeId,
    /// As its owner numbers it.
    pub link: u32,
}

/// What is left of links, by owner and its number of the link; links that nothing is known of are not in it.
pub type Available = HashMap<(NodeId, u32), u64>;

/// By node, where anything is known of a link on the way; equal ones by owner and number. Of all ways of equal cost the narrowest link counts, since
/// flows take all of them.
pub fn narrowest(
    graph: &Graph,
    root: NodeId,
    cost: Cost,
    available: &Available,
) -> BTreeMap<NodeId, Narrowest> {
    let paths = spf_by(graph, root, cost);
    let mut by_distance: Vec<(u64, NodeId)> = paths
        .reached()
        .filter_map(|node| Some((paths.distance(node)?, node)))
        .collect();
    by_distance.sort_unstable();
    let mut found: BTreeMap<NodeId, Narrowest> = BTreeMap::new();
    // Costs are at least 1: whoever comes before a node on a way is done before it.
    for (distance, node) in by_distance {
        if node != root && graph.is_overloaded(node) {
            continue;
        }
        let here = found.get(&node).copied();
        for edge in graph.edges(node) {
            if paths.distance(edge.to) != Some(distance + edge.cost(cost)) {
                continue;
            }
            let LinkId(link) = edge.link;
            let this = available.get(&(node, link)).map(|left| Narrowest {
                available_kbps: *left,
                node,
                link,
            });
            let known = found.get(&edge.to).copied();
            if let Some(least) = [here, this, known].into_iter().flatten().min() {
                found.insert(edge.to, least);
            }
        }
    }
    found
}

impl Engine {
    /// Of the ways to each node the narrowest link; nodes without one that is known are not in it.
    #[must_use]
    pub fn narrowest(&self, topology: Topology) -> BTreeMap<NodeId, Narrowest> {
        let available = self.network.available(self.config.node, &self.own.links);
        if available.is_empty() {
            return BTreeMap::new();
        }
        let graph = self.network.graph(self.config.node, &self.own.links);
        let cost = match topology {
            Topology::Metric => Cost::Metric,
            Topology::Delay => Cost::Delay,
        };
        narrowest(&graph, self.config.node, cost, &available)
    }

    /// Changes whenever [`Engine::narrowest`] may.
    #[must_use]
    pub fn links_version(&self) -> u64 {
        self.network.changes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A square: 1–2–4 and 1–3–4 at equal metric; 4–5 behind it.
    fn square() -> Graph {
        let mut graph = Graph::new();
        for (link, a, b, delay) in [
            (1, 1, 2, 5),
            (2, 1, 3, 1),
            (3, 2, 4, 5),
            (4, 3, 4, 1),
            (5, 4, 5, 1),
        ] {
            for (from, to) in [(a, b), (b, a)] {
                graph.add_link_with_delay(LinkId(link), NodeId(from), NodeId(to), 10, delay);
            }
        }
        graph
    }

    fn to(
        graph: &Graph,
        cost: Cost,
        node: u32,
        left: &[(u32, u32, u64)],
    ) -> Option<(u64, u32, u32)> {
        let available = left
            .iter()
            .map(|(node, link, left)| ((NodeId(*node), *link), *left));
        let found = narrowest(graph, NodeId(1), cost, &available.collect());
        found
            .get(&NodeId(node))
            .map(|one| (one.available_kbps, one.node.0, one.link))
    }

    #[test]
    fn of_equal_ways_the_least_counts_and_only_on_the_way() {
        let graph = square();
        let left = [
            (1, 1, 900),
            (2, 3, 100),
            (3, 4, 300),
            (4, 5, 500),
            (5, 5, 1),
        ];
        assert_eq!(to(&graph, Cost::Metric, 5, &left), Some((100, 2, 3)));
        assert_eq!(to(&graph, Cost::Metric, 2, &left), Some((900, 1, 1)));
        assert_eq!(
            to(&graph, Cost::Metric, 3, &left),
            None,
            "nothing is known of that way"
        );
        assert_eq!(
            to(&graph, Cost::Delay, 5, &left),
            Some((300, 3, 4)),
            "another way"
        );
        assert_eq!(to(&graph, Cost::Metric, 1, &left), None);
    }

    #[test]
    fn nothing_leads_through_an_overloaded_node() {
        let mut graph = square();
        graph.set_overloaded(NodeId(2), true);
        let left = [(2, 3, 100), (3, 4, 300)];
        assert_eq!(to(&graph, Cost::Metric, 4, &left), Some((300, 3, 4)));
    }
}
