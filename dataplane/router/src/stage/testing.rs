//! Ports, adjacencies and attachments for the tests of the stages.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use dmsc_fib::AdjacencyId;
use dmsc_wire::{Domain, NodeId};

use crate::adjacency::{Adjacency, AdjacencyConfig, HelloKey, Liveness, Neighbour};
use crate::config::{Budget, Exception, PlainIp, PortConfig, PortKind, PortRole};
use crate::mac::MacAddress;
use crate::outer::{Outer, UdpPath};
use crate::port::{PortState, link_local};

/// A router port with these addresses and MTU 1,500.
pub fn port(number: usize, addresses: &[&str]) -> PortState {
    let mac = MacAddress([2, 0, 0, 0, 1, number as u8]);
    PortState {
        number,
        config: PortConfig {
            name: format!("p{number}"),
            kind: PortKind::Ring,
            role: PortRole::Router,
            mtu: 1500,
            mac: None,
            addresses: addresses.iter().map(|a| a.parse().expect("address")).collect(),
            vlan: 0,
            exception: Exception::None,
            domain: Domain(1),
            plain_ip: PlainIp::Kernel,
            budget: Budget { packets_per_s: 1_000_000, bytes_per_s: 1_000_000_000 },
        },
        mac,
        link_local: link_local(mac),
        carrier: AtomicBool::new(true),
        captured: AtomicBool::new(false),
        has_tap: false,
    }
}

/// An adjacency from 10.0.0.1 to 10.0.0.2 on port 0, down.
pub fn adjacency(id: u16, peer: u32, key: Option<HelloKey>) -> Adjacency {
    let (local, remote) = ("10.0.0.1".parse().expect("address"), "10.0.0.2".parse().expect("address"));
    let mac = MacAddress([2, 0, 0, 0, 1, 0]);
    Adjacency {
        config: AdjacencyConfig {
            id: AdjacencyId(id),
            port: 0,
            peer: NodeId(peer),
            udp: Some((local, remote)),
            next_hop: None,
            vlan: 0,
            minimum_ttl: 255,
            mtu: 1500,
            hello_interval_ms: 50,
            hello_multiplier: 3,
            key,
        },
        outer: Outer::udp(mac, 0, UdpPath { local, remote, source_port: None, destination_port: 35029, checksum: false }),
        neighbour: Arc::new(Neighbour::new(0, 0, remote)),
        live: Arc::new(Liveness::default()),
    }
}
