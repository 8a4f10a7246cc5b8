//! What an operator sees: every packet in one counter, every stage of a traced one, copies of frames, and reasons that are true.

use std::collections::HashSet;
use std::time::Duration;

use dmsc_proto::v1;
use dmsc_proto::v1::op::Op;
use dmsc_wire::{FlowLabel, Kind};

use crate::rig::link::mac;
use crate::rig::pair::{join, over_udp};
use crate::rig::{Dataplane, Netns, PATIENCE, Pod, RawLink, name, need_ports};

/// Two gateways with a link between them and a namespace of pods behind each.
pub struct Rig {
    pods: [Netns; 2],
    _routers: [Netns; 2],
    /// Nodes 1 and 2; ports `link` and `pod`.
    pub gateways: [Dataplane; 2],
}

impl Rig {
    /// Both are up.
    pub fn new() -> Rig {
        let (routers, pods) = ([Netns::new(), Netns::new()], [Netns::new(), Netns::new()]);
        routers[0].veth("link", &routers[1], "link");
        let gateways = [0, 1].map(|i: usize| {
            let node = i + 1;
            routers[i].veth("pod", &pods[i], "eth0");
            pods[i].addresses("eth0", &[&format!("10.1.{node}.2/24")]);
            Dataplane::start(
                &routers[i],
                node as u32,
                "sg",
                &format!(
                    r#"
[[port]]
name = "link"
kind = "af_packet"
interface = "link"
role = "router"
addresses = ["10.1.0.{i}/31"]
[[port]]
name = "pod"
kind = "af_packet"
interface = "pod"
role = "pod"
addresses = ["10.1.{node}.1/24"]
"#
                ),
            )
        });
        join(
            &gateways[0],
            &gateways[1],
            over_udp("link", "10.1.0.0", "10.1.0.1"),
            over_udp("link", "10.1.0.1", "10.1.0.0"),
        );
        Rig {
            pods,
            _routers: routers,
            gateways,
        }
    }

    /// A pod of one of them.
    pub fn attach(&self, at: usize, serves: &[&str]) -> Pod {
        let (address, gateway) = (format!("10.1.{}.2", at + 1), format!("10.1.{}.1", at + 1));
        Pod::attach(
            &self.gateways[at],
            &self.pods[at],
            "pod",
            &address,
            &gateway,
            serves,
        )
    }
}

#[test]
fn every_packet_ends_in_one_counter() {
    need_ports!();
    let rig = Rig::new();
    let agent = &rig.gateways[0].agent;
    let pod = rig.attach(0, &[]);
    let (pod_link, router_link) = (
        RawLink::open(&rig.pods[0], "eth0"),
        RawLink::open(&rig._routers[1], "link"),
    );
    let before = (agent.settled("pod", 1).rx, agent.settled("link", 1).rx);
    // A burst of everything: good packets, mutated ones, garbage of all lengths, other protocols; the same every time.
    let echo = dmsc_wire::PacketBuilder::new(Kind::EchoRequest)
        .destination(name("/dmsc/1").as_name())
        .source(pod.name.as_name())
        .payload(&[7; 100])
        .to_vec()
        .expect("packet");
    let mut seed = 1_u32;
    let mut random = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) as usize
    };
    let from = pod.socket.local_addr().expect("bound").port();
    let ports = (from, dmsc_wire::UDP_PORT);
    let mut burst = |link: &RawLink, port: &str, source: [u8; 4], target: [u8; 4]| {
        let to = mac(&agent.port(port).mac);
        for round in 0..300 {
            let mut packet = echo.clone();
            if round % 3 > 0 {
                let at = random() % packet.len();
                packet[at] ^= 1 << (random() % 8);
            }
            let mut frame = match round % 5 {
                0..3 => link.frame(
                    to,
                    0x0800,
                    &crate::rig::link::udp4(source, target, ports, &packet),
                ),
                3 => link.frame(to, dmsc_wire::ETHERTYPE, &packet),
                _ => link.frame(
                    to,
                    [0x0800, 0x0806, 0x86dd, 0x8100, 0x1234][random() % 5],
                    &packet,
                ),
            };
            if round % 7 == 0 {
                frame.truncate(14 + random() % (frame.len() - 14));
            }
            if round % 11 == 0 {
                let at = random() % frame.len();
                frame[at] ^= 0x55;
            }
            link.send(&frame);
        }
    };
    burst(&pod_link, "pod", [10, 1, 1, 2], [10, 1, 1, 1]);
    burst(&router_link, "link", [10, 1, 0, 1], [10, 1, 0, 0]);
    let (at_pod, at_link) = (
        agent.settled("pod", before.0 + 300),
        agent.settled("link", before.1 + 300),
    );
    for (counters, least) in [(&at_pod, 6), (&at_link, 3)] {
        assert!(counters.drops.len() >= least, "{counters:?}");
    }
    // And it goes on as if nothing had been.
    pod.send(Kind::EchoRequest, &name("/dmsc/2"), |p| {
        p.payload(b"still there")
    });
    loop {
        let (packet, header) = pod.answer();
        if header.payload(&packet) == b"still there" && header.kind == Kind::EchoReply {
            break;
        }
    }
}

#[test]
fn a_traced_packet_shows_all_stages() {
    need_ports!();
    let rig = Rig::new();
    let pod = rig.attach(0, &[]);
    let mut traced = rig.gateways[0].agent.trace(2, "pod");
    for _ in 0..2 {
        pod.send(Kind::EchoRequest, &name("/dmsc/2"), |p| p);
        pod.answer();
    }
    for _ in 0..2 {
        let packet = traced.next(PATIENCE).expect("a traced packet");
        assert_eq!(packet.in_port, "pod");
        let stages: Vec<_> = packet.steps.iter().map(|s| s.stage.as_str()).collect();
        assert_eq!(
            stages,
            [
                "receive", "parse", "admit", "resolve", "rewrite", "transmit"
            ]
        );
        assert!(packet.steps.windows(2).all(|w| w[0].at_ns <= w[1].at_ns));
        let what = |stage: usize| packet.steps[stage].what.as_str();
        assert!(what(1).contains("echo-request"), "{packet:?}");
        assert!(
            what(2).contains(&format!("attachment {}", pod.id)),
            "{packet:?}"
        );
        assert!(what(3).contains("to adjacency 1"), "{packet:?}");
        assert!(what(5).contains("out of port 1"), "{packet:?}");
    }
    // The stream ends with the last one that was asked for.
    assert!(traced.next(Duration::from_secs(5)).is_none());
}

#[test]
fn a_capture_has_both_directions() {
    need_ports!();
    let rig = Rig::new();
    let pod = rig.attach(0, &[]);
    let mut frames = rig.gateways[0].agent.capture("pod");
    let id = pod.send(Kind::EchoRequest, &name("/dmsc/1"), |p| {
        p.payload(&[9; 700])
    });
    let (answer, _) = pod.answer();
    for outgoing in [false, true] {
        let frame = frames.until("a captured frame", |f| {
            let packet = f.data.get(42..)?;
            let header = dmsc_wire::parse(packet).ok()?;
            (f.outgoing == outgoing && header.request_id == id).then_some(f)
        });
        assert_eq!((frame.length as usize, frame.missed), (frame.data.len(), 0));
        if outgoing {
            assert_eq!(frame.data[42..], answer);
        }
    }
    drop(frames);
    // A reader that went away costs nothing any more, and nothing was lost to it.
    pod.send(Kind::EchoRequest, &name("/dmsc/1"), |p| p);
    pod.answer();
    assert_eq!(rig.gateways[0].agent.events("pod", "capture-missed"), 0);
}

#[test]
fn explain_says_where_packets_really_go() {
    need_ports!();
    let rig = Rig::new();
    let caller = rig.attach(0, &[]);
    let callees = [
        (1, rig.attach(0, &["/shop/b"])),
        (1, rig.attach(0, &["/shop/b"])),
        (2, rig.attach(1, &["/shop/b"])),
    ];
    let shop = name("/shop/b");
    for gateway in &rig.gateways {
        gateway.agent.apply(vec![
            Op::PutGroup(v1::Group {
                id: 1,
                weighted: true,
                members: [1, 2]
                    .map(|gateway| v1::Member {
                        gateway,
                        metric: 0,
                        weight: 100,
                        delay_weight: 0,
                    })
                    .to_vec(),
            }),
            Op::PutPrefix(v1::Prefix {
                domain: 1,
                name: shop.as_bytes().to_vec(),
                group: 1,
            }),
        ]);
    }
    let mut seen = HashSet::new();
    for flow in 0..24 {
        let told = rig.gateways[0].agent.explain(v1::ExplainRequest {
            domain: 1,
            name: name("/shop/b/x").as_bytes().to_vec(),
            flow_label: flow,
            ..Default::default()
        });
        assert_eq!(told.matched_prefix, shop.as_bytes());
        assert_eq!((told.group, told.chooser.as_str()), (1, "weights"));
        assert!(!told.steps.is_empty());
        caller.send(Kind::Request, &name("/shop/b/x"), |p| {
            p.flow_label(FlowLabel(flow))
        });
        let (node, id) = receiver(&callees);
        assert_eq!(told.gateway, node, "flow {flow}: {told:?}");
        if node == 1 {
            assert_eq!((told.local, told.verdict.as_str()), (true, "deliver"));
            assert_eq!(told.attachment, u32::from(id), "flow {flow}: {told:?}");
        } else {
            assert_eq!((told.adjacency, told.out_port.as_str()), (1, "link"));
            assert_eq!(
                (told.path.as_str(), told.verdict.as_str()),
                ("primary", "forward")
            );
        }
        seen.insert(id);
    }
    assert!(seen.len() >= 2, "weights spread the flows");
    let told = rig.gateways[0].agent.explain(v1::ExplainRequest {
        domain: 1,
        name: name("/shop/c").as_bytes().to_vec(),
        ..Default::default()
    });
    assert_eq!((told.verdict.as_str(), told.gateway), ("no-route", 0));
}

/// Which of the pods got a packet.
fn receiver(pods: &[(u32, Pod)]) -> (u32, u16) {
    let mut found = None;
    crate::rig::wait_until("a request at one of the pods", || {
        found = pods.iter().find_map(|(node, pod)| {
            pod.answer_within(Duration::from_millis(1))
                .map(|_| (*node, pod.id))
        });
        found.is_some()
    });
    found.expect("found")
}
