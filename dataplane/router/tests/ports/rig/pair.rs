//! Two routers, 1 and 2, that are told to be neighbours.

use dmsc_proto::v1;
use dmsc_proto::v1::op::Op;

use super::{Dataplane, Netns, name};

/// An adjacency over UDP, number 1.
pub fn over_udp(port: &str, local: &str, remote: &str) -> v1::Adjacency {
    v1::Adjacency {
        id: 1,
        port: port.into(),
        encapsulation: "udp".into(),
        local_address: local.into(),
        remote_address: remote.into(),
        ..Default::default()
    }
}

/// An adjacency directly on Ethernet, number 1.
pub fn over_ethernet(port: &str) -> v1::Adjacency {
    v1::Adjacency {
        id: 1,
        port: port.into(),
        encapsulation: "ethernet".into(),
        ..Default::default()
    }
}

/// A port section: `what` is its kind with what that needs.
pub fn router_port(what: &str, addresses: &[&str], more: &str) -> String {
    format!(
        "[[port]]\nname = \"link\"\nrole = \"router\"\n{what}\naddresses = {addresses:?}\n{more}\n"
    )
}

/// Tells `dataplane` that router `peer` is its neighbour, and the way to it.
pub fn program(dataplane: &Dataplane, peer: u32, mut adjacency: v1::Adjacency) {
    adjacency.peer = peer;
    let id = adjacency.id;
    let mut ops = vec![Op::PutAdjacency(adjacency)];
    ops.extend((0..2).map(|topology| {
        Op::PutGateway(v1::Gateway {
            topology,
            gateway: peer,
            metric: 10,
            next_hops: vec![id],
            ..Default::default()
        })
    }));
    dataplane.agent.apply(ops);
}

/// Makes both neighbours of each other and waits until both are up.
pub fn join(a: &Dataplane, b: &Dataplane, at_a: v1::Adjacency, at_b: v1::Adjacency) {
    program(a, 2, at_a);
    program(b, 1, at_b);
    for dataplane in [a, b] {
        let up = dataplane.agent.watch().adjacency(1, "up");
        assert_ne!(up.neighbour, "unresolved");
    }
}

/// Routers ping each other by their names, in both directions, on paths that are right hop by hop.
pub fn assert_echoes(a: &Dataplane, b: &Dataplane) {
    for (from, to, node, other) in [(a, b, 1, 2), (b, a, 2, 1)] {
        let before = [from, to].map(|d| d.agent.settled("link", 1).drops);
        let replies = from.agent.echo(v1::EchoRequest {
            name: name(&format!("/dmsc/{other}")).as_bytes().to_vec(),
            count: 3,
            interval_ms: 1,
            timeout_ms: 2_000,
            record_slots: 8,
            payload_length: 500,
            ..Default::default()
        });
        for reply in &replies {
            assert!(reply.answered, "{reply:?}");
            assert_eq!((reply.gateway, reply.error.as_str()), (other, ""));
            let way: Vec<_> = reply
                .hops
                .iter()
                .map(|h| (h.node, h.in_port, h.out_port))
                .collect();
            assert_eq!(
                way,
                [(node, 0, 1), (other, 1, 0), (other, 0, 1)],
                "and back"
            );
        }
        let after = [from, to].map(|d| d.agent.settled("link", 3).drops);
        assert_eq!(after, before, "nothing but good packets on this link");
    }
}

/// Two namespaces with a veth between them, `link` at both ends.
pub fn wired() -> (Netns, Netns) {
    let (left, right) = (Netns::new(), Netns::new());
    left.veth("link", &right, "link");
    (left, right)
}

/// [`wired`], and at each end, by `pod`, a namespace whose `eth0` is 10.2.1.2 or 10.2.2.2: left, right, near, far.
pub fn wired_with_pods() -> [Netns; 4] {
    let (left, right) = wired();
    let (near, far) = (Netns::new(), Netns::new());
    left.veth("pod", &near, "eth0");
    right.veth("pod", &far, "eth0");
    near.addresses("eth0", &["10.2.1.2/24"]);
    far.addresses("eth0", &["10.2.2.2/24"]);
    [left, right, near, far]
}

/// Pods at gateway `gateway` serve `prefix`.
pub fn serve(prefix: &str, gateway: u32) -> Vec<Op> {
    let group = v1::Group {
        id: 7,
        members: vec![v1::Member {
            gateway,
            metric: 10,
            weight: 1,
            delay_weight: 0,
        }],
        weighted: false,
    };
    let prefix = v1::Prefix {
        domain: 1,
        name: name(prefix).as_bytes().to_vec(),
        group: group.id,
    };
    vec![Op::PutGroup(group), Op::PutPrefix(prefix)]
}

/// Routers 1 and 2 on such a veth, 10.1.0.0/31 and fd01::/64, not neighbours yet.
pub fn routers(left: &Netns, right: &Netns) -> (Dataplane, Dataplane) {
    let start = |netns: &Netns, node: u32| {
        let (v4, v6) = (
            format!("10.1.0.{}/31", node - 1),
            format!("fd01::{node}/64"),
        );
        let port = router_port(
            "kind = \"af_packet\"\ninterface = \"link\"",
            &[&v4, &v6],
            "",
        );
        Dataplane::start(netns, node, "sr", &port)
    };
    (start(left, 1), start(right, 2))
}

/// The adjacencies of such routers over IPv4.
pub fn on_veth() -> (v1::Adjacency, v1::Adjacency) {
    (
        over_udp("link", "10.1.0.0", "10.1.0.1"),
        over_udp("link", "10.1.0.1", "10.1.0.0"),
    )
}
