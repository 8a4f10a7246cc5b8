//! `show connections`: QUIC connections between the pods behind an edge and others.

use dmsc_proto::v1::{EdgeConnection, ListConnectionsReply, ListConnectionsRequest};
use serde::Serialize;

use crate::cli::EdgeArgs;
use crate::edge::{Client, Edge};
use crate::failure::Failure;
use crate::output::{Grid, Output};
use crate::text::{figure, name, or_dash};

/// JSON of `show connections`.
#[derive(Debug, Serialize)]
pub struct ConnectionsView {
    connections: Vec<ConnectionView>,
}

#[derive(Debug, Serialize)]
struct ConnectionView {
    pod: String,
    direction: String,
    /// Identity at the other end.
    peer: String,
    name: String,
    gateway: u32,
    attachment: u32,
    age_ms: u64,
    rtt_us: u64,
    sent_packets: u64,
    lost_packets: u64,
    sent_bytes: u64,
    received_bytes: u64,
    streams: u64,
    mtu_bytes: u32,
    /// How the pod's packets pass to and from its gateway now: `shared` memory or `udp`.
    by: String,
}

impl From<EdgeConnection> for ConnectionView {
    fn from(one: EdgeConnection) -> Self {
        Self {
            pod: one.pod,
            direction: one.direction,
            peer: one.peer,
            name: name(&one.name),
            gateway: one.gateway,
            attachment: one.attachment,
            age_ms: one.age_ms,
            rtt_us: one.rtt_us,
            sent_packets: one.sent_packets,
            lost_packets: one.lost_packets,
            sent_bytes: one.sent_bytes,
            received_bytes: one.received_bytes,
            streams: one.streams,
            mtu_bytes: one.mtu,
            by: one.by,
        }
    }
}

/// Asks and prints.
///
/// # Errors
/// When the edge refuses or the output cannot be written.
pub async fn run(edge: &Edge, args: &EdgeArgs, output: &mut Output) -> Result<(), Failure> {
    let ask = |mut client: Client, limit, after| {
        let pod = args.pod.clone().unwrap_or_default();
        async move {
            let request = ListConnectionsRequest { limit, after, pod };
            client.list_connections(request).await
        }
    };
    let ListConnectionsReply { connections, .. } = edge.pages(ask).await?;
    let view = ConnectionsView {
        connections: connections.into_iter().map(ConnectionView::from).collect(),
    };
    if output.is_json() {
        output.document(&view)?;
    } else {
        output.table(&grid(&view), "no connections are open")?;
    }
    Ok(())
}

fn grid(view: &ConnectionsView) -> Grid {
    let mut grid = Grid::new(&[
        "pod",
        "direction",
        "peer",
        "name",
        "instance",
        ">age s",
        ">rtt ms",
        ">lost",
        ">sent bytes",
        ">received bytes",
        ">streams",
        ">mtu",
        "by",
    ]);
    for one in &view.connections {
        let instance = match (one.gateway, one.attachment) {
            (0, _) => or_dash(""),
            (gateway, attachment) => format!("{gateway}:{attachment}"),
        };
        grid.row([
            one.pod.clone(),
            one.direction.clone(),
            or_dash(&one.peer),
            one.name.clone(),
            instance,
            figure(Some(one.age_ms as f64 / 1e3), 1),
            figure(Some(one.rtt_us as f64 / 1e3), 3),
            one.lost_packets.to_string(),
            one.sent_bytes.to_string(),
            one.received_bytes.to_string(),
            one.streams.to_string(),
            one.mtu_bytes.to_string(),
            or_dash(&one.by),
        ]);
    }
    grid
}
