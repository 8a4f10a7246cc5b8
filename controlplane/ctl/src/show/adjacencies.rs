//! `show adjacencies`: neighbour routers and the state of the hellos with them.

use dmsc_proto::v1::{Adjacency, DumpRequest};
use serde::Serialize;

use crate::agent::Agent;
use crate::failure::Failure;
use crate::output::{Grid, Output};
use crate::text::{or_dash, or_none};

/// JSON of `show adjacencies`.
#[derive(Debug, Serialize)]
pub struct AdjacenciesView {
    adjacencies: Vec<AdjacencyView>,
}

/// One adjacency in JSON; also in the events of `watch`. Keys are never shown.
#[derive(Debug, Serialize)]
pub struct AdjacencyView {
    id: u32,
    port: String,
    /// Node id of the neighbour.
    pub peer: u32,
    encapsulation: String,
    local_address: String,
    remote_address: String,
    next_hop: String,
    neighbour_mac: String,
    vlan: u32,
    minimum_ttl: u32,
    mtu_bytes: u32,
    path_mtu_bytes: u32,
    hello_interval_ms: u32,
    hello_multiplier: u32,
    key_id: u32,
    /// "down", "init" or "up".
    pub state: String,
    changes: u64,
}

impl From<Adjacency> for AdjacencyView {
    fn from(adjacency: Adjacency) -> Self {
        Self {
            id: adjacency.id,
            port: adjacency.port,
            peer: adjacency.peer,
            encapsulation: adjacency.encapsulation,
            local_address: adjacency.local_address,
            remote_address: adjacency.remote_address,
            next_hop: adjacency.next_hop,
            neighbour_mac: adjacency.neighbour,
            vlan: adjacency.vlan,
            minimum_ttl: adjacency.minimum_ttl,
            mtu_bytes: adjacency.mtu,
            path_mtu_bytes: adjacency.path_mtu,
            hello_interval_ms: adjacency.hello_interval_ms,
            hello_multiplier: adjacency.hello_multiplier,
            key_id: adjacency.key_id,
            state: adjacency.state,
            changes: adjacency.changes,
        }
    }
}

impl AdjacencyView {
    /// "adjacency 3 to node 5 on sr1", for sentences.
    pub fn title(&self) -> String {
        format!(
            "adjacency {} to node {} on {}",
            self.id, self.peer, self.port
        )
    }
}

/// Asks and prints.
///
/// # Errors
/// When the agent refuses or the output cannot be written.
pub async fn run(agent: &mut Agent, output: &mut Output) -> Result<(), Failure> {
    let reply = agent.client.dump(DumpRequest { prefixes: false }).await?;
    let mut adjacencies = reply.into_inner().adjacencies;
    adjacencies.sort_by_key(|adjacency| adjacency.id);
    let view = AdjacenciesView {
        adjacencies: adjacencies.into_iter().map(AdjacencyView::from).collect(),
    };
    if output.is_json() {
        output.document(&view)?;
    } else {
        output.table(&grid(&view), "no adjacencies are programmed")?;
    }
    Ok(())
}

fn grid(view: &AdjacenciesView) -> Grid {
    let mut grid = Grid::new(&[
        ">id",
        "port",
        ">peer",
        "state",
        ">changes",
        "encapsulation",
        "local",
        "remote",
        "next hop",
        "neighbour mac",
        ">vlan",
        ">min ttl",
        ">path mtu bytes",
        "hello ms",
        ">key id",
    ]);
    for adjacency in &view.adjacencies {
        grid.row([
            adjacency.id.to_string(),
            adjacency.port.clone(),
            adjacency.peer.to_string(),
            or_dash(&adjacency.state),
            adjacency.changes.to_string(),
            adjacency.encapsulation.clone(),
            or_dash(&adjacency.local_address),
            or_dash(&adjacency.remote_address),
            or_dash(&adjacency.next_hop),
            or_dash(&adjacency.neighbour_mac),
            or_none(adjacency.vlan),
            or_none(adjacency.minimum_ttl),
            or_none(adjacency.path_mtu_bytes),
            format!(
                "{} x {}",
                adjacency.hello_multiplier, adjacency.hello_interval_ms
            ),
            or_none(adjacency.key_id),
        ]);
    }
    grid
}
