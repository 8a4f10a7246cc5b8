//! Nodes to or from which other links lead by delay than by metric: only there the choice of a topology is one.

use std::collections::{BTreeSet, HashMap};

use dmsc_wire::NodeId;

use super::Engine;
use crate::spf::{Cost, Graph, LinkId, spf_by};

/// Nodes of which the ways of least delay are not the ways of least metric, there or back: answers go by the topology of their calls.
pub fn apart(graph: &Graph, root: NodeId) -> BTreeSet<NodeId> {
    let mut nodes = there(graph, root);
    nodes.append(&mut there(&graph.reversed(), root));
    nodes
}

fn there(graph: &Graph, root: NodeId) -> BTreeSet<NodeId> {
    let by_metric = ways(graph, root, Cost::Metric);
    let by_delay = ways(graph, root, Cost::Delay);
    by_delay
        .into_iter()
        .filter(|(node, ways)| by_metric.get(node).is_some_and(|other| other != ways))
        .map(|(node, _)| node)
        .collect()
}

/// Of each node one number for the set of its shortest ways: equal for equal sets, and by chance of 2⁻⁶⁴ for others.
fn ways(graph: &Graph, root: NodeId, cost: Cost) -> HashMap<NodeId, u64> {
    let paths = spf_by(graph, root, cost);
    let mut by_distance: Vec<(u64, NodeId)> = paths
        .reached()
        .filter_map(|node| Some((paths.distance(node)?, node)))
        .collect();
    by_distance.sort_unstable();
    let mut found: HashMap<NodeId, u64> = HashMap::from([(root, 1)]);
    // Costs are at least 1: whoever comes before a node on a way is done before it.
    for (distance, node) in by_distance {
        if node != root && graph.is_overloaded(node) {
            continue;
        }
        let here = found.get(&node).copied().unwrap_or_default();
        for edge in graph.edges(node) {
            if paths.distance(edge.to) == Some(distance + edge.cost(cost)) {
                let LinkId(link) = edge.link;
                let step = mix(u64::from(node.0) << 32 | u64::from(edge.to.0)) ^ u64::from(link);
                let ways = found.entry(edge.to).or_default();
                // A sum: in whichever order the last steps come.
                *ways = ways.wrapping_add(mix(here ^ step));
            }
        }
    }
    found
}

/// Splitmix64's finaliser.
fn mix(mut x: u64) -> u64 {
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

impl Engine {
    /// Nodes to or from which other links lead by delay than by metric; changes with [`Engine::links_version`].
    #[must_use]
    pub fn apart(&self) -> BTreeSet<NodeId> {
        let graph = self.network.graph(self.config.node, &self.own.links);
        apart(&graph, self.config.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A square, 1–2–4 and 1–3–4, and 4–5 behind it; link, ends, metric, delay.
    fn square(links: [(u32, u32, u32, u32, u32); 5]) -> Graph {
        let mut graph = Graph::new();
        for (link, a, b, metric, delay) in links {
            for (from, to) in [(a, b), (b, a)] {
                graph.add_link_with_delay(LinkId(link), NodeId(from), NodeId(to), metric, delay);
            }
        }
        graph
    }

    fn nodes(graph: &Graph) -> Vec<u32> {
        apart(graph, NodeId(1)).into_iter().map(|n| n.0).collect()
    }

    #[test]
    fn ways_are_apart_where_another_link_is_taken_and_behind_it() {
        let alike = [
            (1, 1, 2, 10, 5),
            (2, 1, 3, 10, 5),
            (3, 2, 4, 10, 5),
            (4, 3, 4, 10, 5),
            (5, 4, 5, 10, 1),
        ];
        assert!(nodes(&square(alike)).is_empty());
        let mut slow = alike;
        slow[3].4 = 6;
        assert_eq!(
            nodes(&square(slow)),
            [4, 5],
            "one of two equal ways is left"
        );
        let mut far = slow;
        far[0].3 = 9;
        assert!(nodes(&square(far)).is_empty(), "both go by 2");
        far[0].3 = 11;
        assert_eq!(nodes(&square(far)), [4, 5], "one by 3, one by 2");
        let mut direct = alike;
        direct[1].4 = 100;
        assert_eq!(nodes(&square(direct)), [3, 4, 5], "3 by delay through 4");
    }

    #[test]
    fn the_way_back_counts_as_well() {
        let mut graph = square([
            (1, 1, 2, 10, 5),
            (2, 1, 3, 10, 5),
            (3, 2, 4, 10, 5),
            (4, 3, 4, 10, 5),
            (5, 4, 5, 10, 1),
        ]);
        graph.add_link_with_delay(LinkId(3), NodeId(4), NodeId(2), 10, 50);
        assert_eq!(nodes(&graph), [4, 5], "there by both, back by 3 only");
    }

    #[test]
    fn nothing_leads_through_an_overloaded_node() {
        let mut graph = square([
            (1, 1, 2, 10, 5),
            (2, 1, 3, 10, 1),
            (3, 2, 4, 10, 5),
            (4, 3, 4, 11, 1),
            (5, 4, 5, 10, 1),
        ]);
        assert_eq!(nodes(&graph), [4, 5]);
        graph.set_overloaded(NodeId(3), true);
        assert!(nodes(&graph).is_empty());
    }
}
