//! What is programmed into the router: two adjacencies with itself, gateways behind them, groups of gateways, prefixes.

use dmsc_proto::v1::{self, op::Op};
use dmsc_wire::{Domain, NameBuf, NodeId};

use super::Carrier;

/// Tenant of all names.
pub const DOMAIN: Domain = Domain(1);
/// The router's node id, its neighbour's too: both ends of the loop are this process.
pub const NODE: u32 = 1;
/// Names of the two ports.
pub const PORTS: [&str; 2] = ["a", "b"];
/// Their addresses.
pub const ADDRESSES: [&str; 2] = ["10.0.0.1", "10.0.0.2"];
/// Gateways behind each port.
const GATEWAYS: usize = 512;
/// First gateway's id.
const FIRST_GATEWAY: usize = 1000;
/// Groups of the prefixes that leave by one port. Each has two members at equal metric and one backup.
const GROUPS: usize = 512;

/// The port that packets to prefix `index` come in by; they leave by the other one.
pub fn comes_by(index: usize) -> usize {
    index % 2
}

/// The gateway number `number` behind the port that packets from port `from` leave by.
fn gateway_id(from: usize, number: usize) -> NodeId {
    NodeId((FIRST_GATEWAY + from * GATEWAYS + number % GATEWAYS) as u32)
}

/// One of the gateways of prefix `index`.
pub fn gateway(index: usize, which: usize) -> NodeId {
    gateway_id(comes_by(index), group_of(index) * 2 + which % 2)
}

/// Number of the group of a prefix among those of its port.
fn group_of(index: usize) -> usize {
    index / 2 % GROUPS
}

fn group_id(from: usize, number: usize) -> u32 {
    (1 + from * GROUPS + number) as u32
}

/// Neighbours, gateways and groups; `quiet` says hello so seldom that instructions can be counted.
pub fn topology(carrier: Carrier, quiet: bool) -> Vec<v1::Op> {
    let mut ops = Vec::new();
    for (port, name) in PORTS.iter().enumerate() {
        ops.push(Op::PutAdjacency(v1::Adjacency {
            id: port as u32 + 1,
            port: (*name).into(),
            peer: NODE,
            encapsulation: match carrier {
                Carrier::Udp4 => "udp".into(),
                Carrier::Ethernet => "ethernet".into(),
            },
            local_address: ADDRESSES[port].into(),
            remote_address: ADDRESSES[1 - port].into(),
            hello_interval_ms: if quiet { 10_000 } else { 0 },
            ..v1::Adjacency::default()
        }));
    }
    for from in 0..PORTS.len() {
        for number in 0..GATEWAYS {
            for topology in [0, 1] {
                ops.push(Op::PutGateway(v1::Gateway {
                    topology,
                    gateway: gateway_id(from, number).0,
                    metric: 10,
                    // Out of the other port than packets come in by.
                    next_hops: vec![2 - from as u32],
                    node_protecting: 0,
                    link_protecting: 0,
                }));
            }
        }
        for number in 0..GROUPS {
            let member = |which: usize, metric| v1::Member {
                gateway: gateway_id(from, number * 2 + which).0,
                metric,
                weight: 1,
                delay_weight: 0,
            };
            ops.push(Op::PutGroup(v1::Group {
                id: group_id(from, number),
                members: vec![member(0, 10), member(1, 10), member(2, 20)],
                weighted: false,
            }));
        }
    }
    ops.into_iter().map(|op| v1::Op { op: Some(op) }).collect()
}

/// The prefixes from number `first` on.
pub fn prefixes(first: usize, names: &[NameBuf]) -> Vec<v1::Op> {
    let put = |(index, name): (usize, &NameBuf)| {
        let index = first + index;
        let group = group_id(comes_by(index), group_of(index));
        Op::PutPrefix(v1::Prefix {
            domain: DOMAIN.0,
            name: name.as_bytes().to_vec(),
            group,
        })
    };
    let ops = names.iter().enumerate().map(put);
    ops.map(|op| v1::Op { op: Some(op) }).collect()
}
