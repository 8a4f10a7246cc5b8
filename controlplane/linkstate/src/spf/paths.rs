//! Dijkstra's algorithm with all equal-cost first hops.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use dmsc_wire::NodeId;

use super::graph::{Cost, Graph, LinkId};

/// What one node is to the root.
#[derive(Clone, Debug)]
struct Reached {
    distance: u64,
    /// Links of the root that begin a shortest path, ascending.
    first_hops: Vec<LinkId>,
}

/// Distances and equal-cost first hops from one root to every node that it reaches.
#[derive(Clone, Debug)]
pub struct ShortestPaths {
    root: NodeId,
    reached: BTreeMap<NodeId, Reached>,
}

impl ShortestPaths {
    /// The node that these paths begin at.
    pub fn root(&self) -> NodeId {
        self.root
    }

    /// Length of the shortest path; 0 for the root, `None` for a node that is not reached.
    pub fn distance(&self, to: NodeId) -> Option<u64> {
        self.reached.get(&to).map(|r| r.distance)
    }

    /// Links of the root that begin a shortest path, ascending; empty for the root and for nodes
    /// that are not reached.
    pub fn first_hops(&self, to: NodeId) -> &[LinkId] {
        self.reached.get(&to).map_or(&[], |r| &r.first_hops)
    }

    /// The nodes reached, the root among them, ascending.
    pub fn reached(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.reached.keys().copied()
    }
}

/// Shortest paths by metric. An unknown root reaches only itself.
pub fn spf(graph: &Graph, root: NodeId) -> ShortestPaths {
    spf_by(graph, root, Cost::Metric)
}

/// Shortest paths by the given cost.
pub fn spf_by(graph: &Graph, root: NodeId, cost: Cost) -> ShortestPaths {
    let mut reached = BTreeMap::new();
    reached.insert(
        root,
        Reached {
            distance: 0,
            first_hops: Vec::new(),
        },
    );
    let mut queue = BinaryHeap::from([Reverse((0u64, root))]);
    while let Some(Reverse((distance, node))) = queue.pop() {
        let here = &reached[&node];
        if here.distance < distance {
            continue; // a shorter way was found after this one was queued
        }
        if node != root && graph.is_overloaded(node) {
            continue; // it is reached, and leads nowhere
        }
        // Costs are at least 1, so every predecessor of `node` was popped before: its set is final.
        let inherited = here.first_hops.clone();
        for edge in graph.edges(node) {
            let via = distance + edge.cost(cost);
            let known = reached.entry(edge.to).or_insert(Reached {
                distance: u64::MAX,
                first_hops: Vec::new(),
            });
            if via > known.distance {
                continue;
            }
            if via < known.distance {
                known.distance = via;
                known.first_hops.clear();
                queue.push(Reverse((via, edge.to)));
            }
            let hops = if node == root {
                std::slice::from_ref(&edge.link)
            } else {
                &inherited
            };
            merge(&mut known.first_hops, hops);
        }
    }
    ShortestPaths { root, reached }
}

/// Adds `more` to the ascending set `hops`.
fn merge(hops: &mut Vec<LinkId>, more: &[LinkId]) {
    for link in more {
        if let Err(at) = hops.binary_search(link) {
            hops.insert(at, *link);
        }
    }
}
