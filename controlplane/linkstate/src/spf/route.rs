//! Routes: everything that the forwarding plane needs to know about one destination.

use dmsc_wire::NodeId;

use super::alternates::alternates;
use super::graph::{Cost, Graph, LinkId};
use super::paths::spf_by;

/// How a router reaches one other node. Links are the router's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The node that is reached.
    pub destination: NodeId,
    /// Length of the shortest path, `u32::MAX` if it is longer than that.
    pub metric: u32,
    /// Links of all equal-cost shortest paths, ascending, at least one.
    pub next_hops: Vec<LinkId>,
    /// Alternate for the death of the next node, where there is one.
    pub node_protecting: Option<LinkId>,
    /// Alternate for the death of the link, where there is another one than `node_protecting`.
    pub link_protecting: Option<LinkId>,
}

/// Routes by metric from `root` to every other node that it reaches, ascending by destination.
pub fn routes(graph: &Graph, root: NodeId) -> Vec<Route> {
    routes_by(graph, root, Cost::Metric)
}

/// Routes by the given cost; see [`routes`].
pub fn routes_by(graph: &Graph, root: NodeId, cost: Cost) -> Vec<Route> {
    let paths = spf_by(graph, root, cost);
    let mut alternates = alternates(graph, &paths, cost);
    paths
        .reached()
        .filter(|&destination| destination != root)
        .map(|destination| {
            let backup = alternates.remove(&destination).unwrap_or_default();
            let distance = paths.distance(destination).unwrap_or(u64::MAX);
            Route {
                destination,
                metric: u32::try_from(distance).unwrap_or(u32::MAX),
                next_hops: paths.first_hops(destination).to_vec(),
                node_protecting: backup.node_protecting,
                link_protecting: backup.link_protecting,
            }
        })
        .collect()
}
