//! `show routes`: computed ways to all nodes, before they are tables.

use dmsc_proto::v1::{PageRequest, RouteInfo, RoutesReply};
use serde::Serialize;

use crate::failure::Failure;
use crate::operator::{Client, Operator};
use crate::output::{Grid, Output};
use crate::text::{joined, or_none};

/// JSON of `show routes`.
#[derive(Debug, Serialize)]
pub struct RoutesView {
    /// Counts changes.
    version: u64,
    routes: Vec<RouteView>,
}

#[derive(Debug, Serialize)]
struct RouteView {
    /// "metric" or "delay".
    topology: &'static str,
    node: u32,
    metric: u32,
    next_hops: Vec<HopView>,
    /// Adjacency; `null` if there is none.
    node_protecting: Option<u32>,
    link_protecting: Option<u32>,
}

#[derive(Debug, Serialize)]
struct HopView {
    adjacency: u32,
    /// Node at its other end.
    peer: u32,
}

impl From<RouteInfo> for RouteView {
    fn from(route: RouteInfo) -> Self {
        let peers = route.peers.into_iter().chain(std::iter::repeat(0));
        let some = |adjacency: u32| (adjacency != 0).then_some(adjacency);
        Self {
            topology: if route.topology == 1 {
                "delay"
            } else {
                "metric"
            },
            node: route.gateway,
            metric: route.metric,
            next_hops: route
                .next_hops
                .into_iter()
                .zip(peers)
                .map(|(adjacency, peer)| HopView { adjacency, peer })
                .collect(),
            node_protecting: some(route.node_protecting),
            link_protecting: some(route.link_protecting),
        }
    }
}

/// Asks and prints.
///
/// # Errors
/// When the control plane refuses or the output cannot be written.
pub async fn run(operator: &Operator, output: &mut Output) -> Result<(), Failure> {
    let ask = |mut client: Client, limit, after| async move {
        client.show_routes(PageRequest { limit, after }).await
    };
    let mut reply: RoutesReply = operator.pages(0, ask).await?;
    reply
        .routes
        .sort_by_key(|route| (route.topology, route.gateway));
    let view = RoutesView {
        version: reply.version,
        routes: reply.routes.into_iter().map(RouteView::from).collect(),
    };
    if output.is_json() {
        output.document(&view)?;
    } else {
        output.line(&format!("version {}", view.version))?;
        output.table(&grid(&view), "no other node can be reached")?;
    }
    Ok(())
}

fn grid(view: &RoutesView) -> Grid {
    let mut grid = Grid::new(&[
        "topology",
        ">node",
        ">metric",
        "next hops",
        ">node protecting",
        ">link protecting",
    ]);
    for route in &view.routes {
        let hops = route.next_hops.iter();
        grid.row([
            route.topology.to_owned(),
            route.node.to_string(),
            route.metric.to_string(),
            joined(hops.map(|hop| format!("{} (node {})", hop.adjacency, hop.peer))),
            or_none(route.node_protecting.unwrap_or(0)),
            or_none(route.link_protecting.unwrap_or(0)),
        ]);
    }
    grid
}
