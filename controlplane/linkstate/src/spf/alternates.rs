//! Loop-free alternates (RFC 5286): where a router may send when all its next hops are dead, before
//! anybody else knows.

use std::collections::BTreeMap;

use dmsc_wire::NodeId;

use super::graph::{Cost, Edge, Graph, LinkId};
use super::paths::{ShortestPaths, spf_by};

/// The alternates of one destination; neither of them is one of the next hops, nor are they the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alternates {
    /// Cheapest link whose neighbour reaches the destination over neither the root nor any
    /// neighbour that is a next hop (inequalities 1 and 3).
    pub node_protecting: Option<LinkId>,
    /// Cheapest other link whose neighbour reaches the destination not over the root (inequality 1):
    /// enough when a link died, not always when its neighbour did.
    pub link_protecting: Option<LinkId>,
}

/// The alternates of every destination that `paths` reaches and that has one. `paths` are the
/// root's own by the same cost.
pub fn alternates(
    graph: &Graph,
    paths: &ShortestPaths,
    cost: Cost,
) -> BTreeMap<NodeId, Alternates> {
    let root = paths.root();
    let from_neighbour: BTreeMap<NodeId, ShortestPaths> = graph
        .edges(root)
        .iter()
        .map(|e| (e.to, spf_by(graph, e.to, cost)))
        .collect();
    let view = View {
        graph,
        paths,
        cost,
        from_neighbour,
    };
    paths
        .reached()
        .filter(|&destination| destination != root)
        .map(|destination| (destination, view.alternates(destination)))
        .filter(|(_, found)| *found != Alternates::default())
        .collect()
}

/// The root's paths and those of its neighbours, which is all that the inequalities speak of.
struct View<'a> {
    graph: &'a Graph,
    paths: &'a ShortestPaths,
    cost: Cost,
    from_neighbour: BTreeMap<NodeId, ShortestPaths>,
}

impl View<'_> {
    fn alternates(&self, destination: NodeId) -> Alternates {
        let edges = self.graph.edges(self.paths.root());
        let primary_links = self.paths.first_hops(destination);
        let primaries: Vec<NodeId> = edges
            .iter()
            .filter(|e| primary_links.contains(&e.link))
            .map(|e| e.to)
            .collect();
        let mut loop_free: Vec<(u64, &Edge)> = edges
            .iter()
            .filter(|e| !primary_links.contains(&e.link))
            .filter(|e| e.to == destination || !self.graph.is_overloaded(e.to))
            .filter_map(|e| Some((self.loop_free_cost(e, destination)?, e)))
            .collect();
        loop_free.sort_by_key(|(cost, e)| (*cost, e.to, e.link));
        let node_protecting = loop_free
            .iter()
            .find(|(_, e)| primaries.iter().all(|&p| self.avoids(e.to, p, destination)))
            .map(|(_, e)| e.link);
        let link_protecting = loop_free
            .iter()
            .map(|(_, e)| e.link)
            .find(|&link| Some(link) != node_protecting);
        Alternates {
            node_protecting,
            link_protecting,
        }
    }

    /// Length of the way over this edge, if its neighbour never sends back through the root:
    /// D(N,D) < D(N,S) + D(S,D), inequality 1.
    fn loop_free_cost(&self, edge: &Edge, destination: NodeId) -> Option<u64> {
        let onward = self.from_neighbour[&edge.to].distance(destination)?;
        self.avoids(edge.to, self.paths.root(), destination)
            .then(|| edge.cost(self.cost) + onward)
    }

    /// Whether no shortest path `from` → `destination` goes through `through`, which is the root or
    /// one of its neighbours: D(N,D) < D(N,E) + D(E,D). A node that cannot be reached is not on it.
    fn avoids(&self, from: NodeId, through: NodeId, destination: NodeId) -> bool {
        let from = &self.from_neighbour[&from];
        let rest = if through == self.paths.root() {
            self.paths.distance(destination)
        } else {
            self.from_neighbour[&through].distance(destination)
        };
        match (from.distance(destination), from.distance(through), rest) {
            (Some(whole), Some(first), Some(rest)) => whole < first + rest,
            (whole, ..) => whole.is_some(),
        }
    }
}
