//! `show ports`: what the dataplane is connected to.

use dmsc_proto::v1::{ListPortsRequest, Port};
use serde::Serialize;

use crate::agent::Agent;
use crate::failure::Failure;
use crate::output::{Grid, Output};
use crate::text::{joined, or_dash, or_none, yes};

/// JSON of `show ports`.
#[derive(Debug, Serialize)]
pub struct PortsView {
    ports: Vec<PortView>,
}

/// One port in JSON; also in the events of `watch`.
#[derive(Debug, Serialize)]
pub struct PortView {
    id: u32,
    name: String,
    kind: String,
    role: String,
    interface: String,
    mac: String,
    addresses: Vec<String>,
    mtu_bytes: u32,
    vlan: u32,
    carrier: bool,
    exception_tap: String,
    plain_ip: String,
    domain: u32,
    queues: u32,
    rx_packets: u64,
    rx_bytes: u64,
    tx_packets: u64,
    tx_bytes: u64,
    rx_missed: u64,
    /// 0: as much as its driver takes.
    rate_mbps: u32,
    /// Of the link behind it; 0: not known.
    capacity_mbps: u32,
}

impl From<Port> for PortView {
    fn from(port: Port) -> Self {
        Self {
            id: port.id,
            name: port.name,
            kind: port.kind,
            role: port.role,
            interface: port.interface,
            mac: port.mac,
            addresses: port.addresses,
            mtu_bytes: port.mtu,
            vlan: port.vlan,
            carrier: port.carrier,
            exception_tap: port.exception,
            plain_ip: port.plain_ip,
            domain: port.domain,
            queues: port.queues,
            rx_packets: port.rx_packets,
            rx_bytes: port.rx_bytes,
            tx_packets: port.tx_packets,
            tx_bytes: port.tx_bytes,
            rx_missed: port.rx_missed,
            rate_mbps: port.rate_mbps,
            capacity_mbps: port.capacity_mbps,
        }
    }
}

/// Asks and prints.
///
/// # Errors
/// When the agent refuses or the output cannot be written.
pub async fn run(agent: &mut Agent, output: &mut Output) -> Result<(), Failure> {
    let reply = agent.client.list_ports(ListPortsRequest {}).await?;
    let mut ports = reply.into_inner().ports;
    ports.sort_by_key(|port| port.id);
    let view = PortsView {
        ports: ports.into_iter().map(PortView::from).collect(),
    };
    if output.is_json() {
        output.document(&view)?;
    } else {
        output.table(&grid(&view), "this dataplane has no ports")?;
    }
    Ok(())
}

fn grid(view: &PortsView) -> Grid {
    let mut grid = Grid::new(&[
        ">id",
        "port",
        "kind",
        "role",
        "interface",
        "carrier",
        "mac",
        ">mtu bytes",
        ">vlan",
        ">domain",
        ">queues",
        "exception",
        "plain ip",
        ">rx packets",
        ">tx packets",
        ">rx bytes",
        ">tx bytes",
        ">rx missed",
        ">rate Mbit/s",
        ">link Mbit/s",
        "addresses",
    ]);
    for port in &view.ports {
        grid.row([
            port.id.to_string(),
            port.name.clone(),
            port.kind.clone(),
            port.role.clone(),
            or_dash(&port.interface),
            yes(port.carrier),
            or_dash(&port.mac),
            port.mtu_bytes.to_string(),
            or_none(port.vlan),
            or_none(port.domain),
            port.queues.to_string(),
            or_dash(&port.exception_tap),
            or_dash(&port.plain_ip),
            port.rx_packets.to_string(),
            port.tx_packets.to_string(),
            port.rx_bytes.to_string(),
            port.tx_bytes.to_string(),
            port.rx_missed.to_string(),
            or_none(port.rate_mbps),
            or_none(port.capacity_mbps),
            joined(&port.addresses),
        ]);
    }
    grid
}
