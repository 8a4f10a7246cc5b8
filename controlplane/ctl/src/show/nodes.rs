//! `show nodes`: routers and gateways of the network, as the link state has them.

use dmsc_proto::v1::{NodeInfo, ShowRequest};
use serde::Serialize;

use crate::failure::Failure;
use crate::operator::Operator;
use crate::output::{Grid, Output};
use crate::text::{or_dash, sequence, yes};

/// JSON of `show nodes`.
#[derive(Debug, Serialize)]
pub struct NodesView {
    nodes: Vec<NodeView>,
}

#[derive(Debug, Serialize)]
struct NodeView {
    node: u32,
    name: String,
    role: String,
    /// Offers no transit.
    overload: bool,
    reachable: bool,
    /// Distance from here; 0 for this node, `null` when unreachable.
    metric: Option<u32>,
    delay_us: Option<u32>,
    links: u32,
    prefixes: u32,
    /// Of its adjacency object: epoch and counter.
    sequence: String,
    lifetime_left_s: u32,
    software: String,
}

impl From<NodeInfo> for NodeView {
    fn from(node: NodeInfo) -> Self {
        let reachable = node.reachable;
        Self {
            node: node.node,
            name: node.name,
            role: node.role,
            overload: node.overload,
            reachable,
            metric: reachable.then_some(node.metric),
            delay_us: reachable.then_some(node.delay_us),
            links: node.links,
            prefixes: node.prefixes,
            sequence: sequence(node.sequence),
            lifetime_left_s: node.lifetime_left_s,
            software: node.software,
        }
    }
}

/// Asks and prints.
///
/// # Errors
/// When the control plane refuses or the output cannot be written.
pub async fn run(operator: &mut Operator, output: &mut Output) -> Result<(), Failure> {
    let reply = operator.client.show_nodes(ShowRequest {}).await;
    let mut nodes = operator.answer(reply)?.nodes;
    nodes.sort_by_key(|node| node.node);
    let view = NodesView {
        nodes: nodes.into_iter().map(NodeView::from).collect(),
    };
    if output.is_json() {
        output.document(&view)?;
    } else {
        output.table(&grid(&view), "no nodes are known")?;
    }
    Ok(())
}

fn grid(view: &NodesView) -> Grid {
    let mut grid = Grid::new(&[
        ">node",
        "name",
        "role",
        "reachable",
        "overload",
        ">metric",
        ">delay us",
        ">links",
        ">prefixes",
        ">sequence",
        ">lifetime s",
        "software",
    ]);
    let distance = |metric: Option<u32>| metric.map_or("-".to_owned(), |metric| metric.to_string());
    for node in &view.nodes {
        grid.row([
            node.node.to_string(),
            or_dash(&node.name),
            or_dash(&node.role),
            yes(node.reachable),
            yes(node.overload),
            distance(node.metric),
            distance(node.delay_us),
            node.links.to_string(),
            node.prefixes.to_string(),
            node.sequence.clone(),
            node.lifetime_left_s.to_string(),
            or_dash(&node.software),
        ]);
    }
    grid
}
