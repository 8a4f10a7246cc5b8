//! Ports, adjacencies and attachments for the tests of the stages.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};

use dmsc_fib::AdjacencyId;
use dmsc_proto::v1;
use dmsc_wire::{AttachmentId, Domain, Header, Kind, NameBuf, NodeId, PacketBuilder};

use crate::adjacency::{Adjacency, AdjacencyConfig, HelloKey, Liveness, Neighbour};
use crate::config::{Budget, Exception, PlainIp, PortConfig, PortKind, PortRole};
use crate::counters::Counters;
use crate::frame::{Frame, PlainFrame};
use crate::mac::MacAddress;
use crate::outer::{Outer, UdpPath};
use crate::packet::{Batch, Context};
use crate::port::{PortState, Tuning, link_local};
use crate::programmer::Programmer;

/// A router port with these addresses and MTU 1,500.
pub fn port(number: usize, addresses: &[&str]) -> PortState {
    let mac = MacAddress([2, 0, 0, 0, 1, number as u8]);
    let config = PortConfig {
        name: format!("p{number}"),
        kind: PortKind::Ring,
        role: PortRole::Router,
        mtu: 1500,
        mac: None,
        addresses: addresses
            .iter()
            .map(|a| a.parse().expect("address"))
            .collect(),
        vlan: 0,
        exception: Exception::None,
        domain: Domain(1),
        plain_ip: PlainIp::Kernel,
        budget: Budget {
            packets_per_s: 1_000_000,
            bytes_per_s: 1_000_000_000,
        },
        rate_bytes_per_s: 0,
        capacity_mbps: 0,
        line: 1,
    };
    PortState {
        number,
        tuning: Tuning::new(&config),
        config,
        mac,
        link_local: link_local(mac),
        carrier: AtomicBool::new(true),
        captured: AtomicBool::new(false),
        guest: AtomicU64::new(0),
        deserted: AtomicBool::new(false),
        has_tap: false,
    }
}

/// An adjacency from 10.0.0.1 to 10.0.0.2 on port 0, down.
pub fn adjacency(id: u16, peer: u32, key: Option<HelloKey>) -> Adjacency {
    let (local, remote) = (
        "10.0.0.1".parse().expect("address"),
        "10.0.0.2".parse().expect("address"),
    );
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
        outer: Outer::udp(
            mac,
            0,
            UdpPath {
                local,
                remote,
                source_port: None,
                destination_port: 35029,
                checksum: false,
            },
        ),
        neighbour: Arc::new(Neighbour::new(0, 0, remote)),
        live: Arc::new(Liveness::default()),
    }
}

/// A gateway (node 1) with two neighbours and one pod port, programmed as by its agent.
///
/// Port 0 leads to router 5 (adjacency 1), port 1 to router 6 (adjacency 2), port 2 has pods in 10.1.0.0/24. Gateway 4 is behind
/// router 5 (metric 30), or over router 6 as its alternate. `/shop/b` is served here and by gateway 4; `/far` only by gateway 4.
pub struct World {
    /// The ports.
    pub ports: crate::port::Ports,
    /// The tables' writer.
    pub programmer: Programmer,
    /// Of one worker.
    pub counters: Counters,
    /// What it counted of calls.
    pub traffic: crate::traffic::Traffic,
    /// TSC at which packets arrive.
    pub now: u64,
    /// None to begin with.
    pub class_rules: Vec<crate::class_rule::ClassRule>,
    /// What the worker remembers of the gateway table.
    pub first_hops: std::cell::RefCell<dmsc_fib::FirstHops>,
    /// What the last names were like.
    pub habit: std::cell::Cell<dmsc_fib::Habit>,
}

/// What became of a packet.
pub struct Outcome {
    /// The frame, rewritten when it leaves.
    pub frame: PlainFrame,
    /// What the stages decided.
    pub context: Context,
}

impl Outcome {
    /// The DMSC packet inside the frame that leaves.
    pub fn packet(&self) -> &[u8] {
        let frame = self.frame.bytes();
        let ethernet = crate::net::Ethernet::parse(frame).expect("ethernet");
        if ethernet.ethertype == dmsc_wire::ETHERTYPE {
            return &frame[ethernet.length..];
        }
        let ip = crate::net::Ip::parse(&frame[ethernet.length..]).expect("ip");
        &frame[ethernet.length + ip.header + 8..]
    }

    /// Its header.
    pub fn header(&self) -> Header {
        dmsc_wire::parse(self.packet()).expect("valid")
    }
}

/// A name from its text.
pub fn name(text: &str) -> NameBuf {
    NameBuf::parse(text).expect("name")
}

/// An operation of the agent's API.
pub fn op(op: v1::op::Op) -> v1::Op {
    v1::Op { op: Some(op) }
}

/// MAC address of every neighbour and pod.
pub const PEER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 9, 9]);

impl Default for World {
    fn default() -> World {
        World::new()
    }
}

impl World {
    /// As described, all adjacencies up and all addresses resolved.
    pub fn new() -> World {
        use v1::op::Op as O;
        let mut pod_port = port(2, &["10.1.0.1/24", "fd01::1/64"]);
        pod_port.config.role = PortRole::Pod;
        let ports: crate::port::Ports = vec![
            port(0, &["10.0.0.1/24"]),
            port(1, &["10.0.1.1/24"]),
            pod_port,
        ]
        .into_iter()
        .map(Arc::new)
        .collect();
        let adjacency = |id: u32, peer: u32| {
            op(O::PutAdjacency(v1::Adjacency {
                id,
                peer,
                port: format!("p{}", id - 1),
                local_address: format!("10.0.{}.1", id - 1),
                remote_address: format!("10.0.{}.2", id - 1),
                ..Default::default()
            }))
        };
        let gateway = |gateway: u32, hops: &[u32], alternate: u32| {
            op(O::PutGateway(v1::Gateway {
                gateway,
                metric: 30,
                next_hops: hops.to_vec(),
                link_protecting: alternate,
                ..Default::default()
            }))
        };
        let member = |gateway: u32, metric: u32| v1::Member {
            gateway,
            metric,
            weight: 1,
            delay_weight: 0,
        };
        let prefix = |text: &str, group: u32| {
            op(O::PutPrefix(v1::Prefix {
                domain: 1,
                name: name(text).as_bytes().to_vec(),
                group,
            }))
        };
        let mut world = World {
            programmer: Programmer::new(
                ports.clone(),
                crate::config::Role::Sg,
                dmsc_wire::UDP_PORT,
            ),
            counters: Counters::new(ports.len()),
            traffic: crate::traffic::Traffic::default(),
            now: 1_000,
            class_rules: Vec::new(),
            ports,
            first_hops: Default::default(),
            habit: Default::default(),
        };
        world.apply(&[
            adjacency(1, 5),
            adjacency(2, 6),
            gateway(4, &[1], 2),
            gateway(5, &[1], 0),
            op(O::PutGroup(v1::Group {
                id: 1,
                members: vec![member(1, 0), member(4, 30)],
                weighted: false,
            })),
            op(O::PutGroup(v1::Group {
                id: 2,
                members: vec![member(4, 30)],
                weighted: false,
            })),
            prefix("/shop/b", 1),
            prefix("/far", 2),
        ]);
        for adjacency in world.programmer.tables().adjacencies.iter() {
            adjacency.live.state.store(2, Relaxed);
        }
        world
    }

    /// Applies operations and resolves every address.
    pub fn apply(&mut self, ops: &[v1::Op]) -> Vec<AttachmentId> {
        let attached = self.programmer.apply(ops).expect("applied");
        for neighbour in self.programmer.tables().neighbours.values() {
            neighbour.learn(PEER_MAC, 1);
        }
        attached
    }

    /// Attaches 10.1.0.`host` with these served prefixes, as identity `/id/<host>`.
    pub fn attach(&mut self, host: u8, serves: &[&str]) -> AttachmentId {
        let attachment = v1::Attachment {
            port: "p2".into(),
            address: format!("10.1.0.{host}"),
            udp_port: 40_000,
            identity: host.to_string(),
            serves: serves
                .iter()
                .map(|text| name(text).as_bytes().to_vec())
                .collect(),
            owns: vec![name(&format!("/id/{host}")).as_bytes().to_vec()],
            ..Default::default()
        };
        self.apply(&[op(v1::op::Op::Attach(attachment))])[0]
    }

    /// A frame that carries `packet` in UDP from `source` to `destination` into `port`.
    pub fn frame(
        &self,
        port: usize,
        source: (&str, u16),
        destination: &str,
        packet: &[u8],
    ) -> PlainFrame {
        let path = UdpPath {
            local: source.0.parse().expect("address"),
            remote: destination.parse().expect("address"),
            source_port: Some(source.1),
            destination_port: dmsc_wire::UDP_PORT,
            checksum: true,
        };
        let mut frame = PlainFrame::new(packet);
        assert!(Outer::udp(PEER_MAC, 0, path).write(&mut frame, self.ports[port].mac, 0, 0, 0));
        frame
    }

    /// What the stages read.
    fn env(&self) -> super::Env<'_> {
        super::Env {
            chooser: crate::choose::Chooser {
                tables: self.programmer.tables(),
                ports: &self.ports,
                node: NodeId(1),
            },
            counters: &self.counters,
            traffic: &self.traffic,
            habit: &self.habit,
            class_rules: &self.class_rules,
            udp_port: dmsc_wire::UDP_PORT,
            now: self.now,
            clock: crate::clock::Clock::ONE_GHZ,
            tsc: || 1_500,
        }
    }

    /// Gives frames of one port to the express; the ports that those leave by that it did.
    pub fn express(&self, port: usize, frames: &mut [PlainFrame]) -> Vec<u8> {
        let before: Vec<usize> = frames.iter().map(|frame| frame.bytes().len()).collect();
        let mut exits = vec![0; frames.len()];
        let mut hops = self.first_hops.borrow_mut();
        let (env, port) = (self.env(), &self.ports[port]);
        let ready = super::express::run(&env, port, &mut hops, frames, &mut exits);
        exits.truncate(ready.frames);
        let mut done = before.iter().zip(&*frames).take(ready.frames);
        assert!(!ready.are_as_long || done.all(|(before, frame)| *before == frame.bytes().len()));
        exits
    }

    /// Sends a frame through all stages.
    pub fn walk(&self, port: usize, frame: PlainFrame) -> Outcome {
        let env = self.env();
        let mut batch = Batch::default();
        assert!(batch.push(frame, Context::received(port, self.now)).is_ok());
        super::parse::run(&env, &mut batch);
        super::admit::run(&env, &mut batch);
        super::resolve::run(&env, &mut batch);
        super::rewrite::run(&env, &mut batch);
        Outcome {
            frame: batch.frames.remove(0),
            context: batch.contexts[0],
        }
    }

    /// Sends a packet as the pod 10.1.0.`host`.
    pub fn from_pod(&self, host: u8, packet: &[u8]) -> Outcome {
        self.walk(
            2,
            self.frame(2, (&format!("10.1.0.{host}"), 40_000), "10.1.0.1", packet),
        )
    }

    /// Sends a packet as the router behind adjacency 1 or 2.
    pub fn from_router(&self, adjacency: usize, packet: &[u8]) -> Outcome {
        let port = adjacency - 1;
        self.walk(
            port,
            self.frame(
                port,
                (&format!("10.0.{port}.2"), 50_000),
                &format!("10.0.{port}.1"),
                packet,
            ),
        )
    }
}

/// A request under construction.
pub fn request<'a>(from: &'a NameBuf, to: &'a NameBuf) -> PacketBuilder<'a> {
    PacketBuilder::new(Kind::Request)
        .source(from.as_name())
        .destination(to.as_name())
        .domain(Domain(1))
        .payload(b"hello")
}
