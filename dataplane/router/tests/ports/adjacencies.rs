//! Two routers joined by every kind of port and carrier that can run here: hellos come up, packets pass both ways.

use dmsc_proto::v1;
use dmsc_proto::v1::op::Op;
use dmsc_wire::PacketBuilder;

use crate::rig::link::{ip4, mac, udp4};
use crate::rig::pair::{
    assert_echoes, join, on_veth, over_ethernet, over_udp, program, router_port, routers, wired,
};
use crate::rig::{Dataplane, Netns, RawLink, Scratch, need_ports, wait_until};

const ALONE: &str = "exception = \"none\"";

#[test]
fn af_packet_over_ipv4() {
    need_ports!();
    let (left, right) = wired();
    let (a, b) = routers(&left, &right);
    let (at_a, at_b) = on_veth();
    join(&a, &b, at_a, at_b);
    assert_echoes(&a, &b);
}

#[test]
fn af_packet_over_ipv6() {
    need_ports!();
    let (left, right) = wired();
    let (a, b) = routers(&left, &right);
    join(
        &a,
        &b,
        over_udp("link", "fd01::1", "fd01::2"),
        over_udp("link", "fd01::2", "fd01::1"),
    );
    assert_echoes(&a, &b);
}

#[test]
fn af_packet_on_bare_ethernet() {
    need_ports!();
    let (left, right) = wired();
    let (a, b) = routers(&left, &right);
    join(&a, &b, over_ethernet("link"), over_ethernet("link"));
    assert_echoes(&a, &b);
}

#[test]
fn memif() {
    need_ports!();
    let (here, scratch) = (Netns::new(), Scratch::new());
    let start = |node: u32, server: bool| {
        let what = format!(
            "kind = \"memif\"\nsocket = {:?}\nserver = {server}\nmac = \"02:00:00:00:00:0{node}\"",
            scratch.path("memif.sock")
        );
        let address = format!("10.1.0.{}/31", node - 1);
        Dataplane::start(&here, node, "sr", &router_port(&what, &[&address], ALONE))
    };
    let (a, b) = (start(1, true), start(2, false));
    let (at_a, at_b) = on_veth();
    join(&a, &b, at_a, at_b);
    assert_echoes(&a, &b);
}

#[test]
fn virtio_user_and_vhost() {
    need_ports!();
    let (here, scratch) = (Netns::new(), Scratch::new());
    let start = |node: u32, kind: &str, more: &str| {
        let what = format!(
            "kind = \"{kind}\"\nsocket = {:?}\nmac = \"02:00:00:00:00:0{node}\"",
            scratch.path("vhost.sock")
        );
        let address = format!("10.1.0.{}/31", node - 1);
        let more = format!("{ALONE}\n{more}");
        Dataplane::start(&here, node, "sr", &router_port(&what, &[&address], &more))
    };
    let (a, b) = (start(1, "vhost", ""), start(2, "virtio_user", ""));
    let (at_a, at_b) = on_veth();
    join(&a, &b, at_a, at_b);
    assert_echoes(&a, &b);
}

#[test]
fn tap_and_af_packet() {
    need_ports!();
    let here = Netns::new();
    let start = |node: u32, kind: &str| {
        let what = format!("kind = \"{kind}\"\ninterface = \"wire\"");
        let address = format!("10.1.0.{}/31", node - 1);
        // Two ends of one interface: the second needs an address of its own.
        let more = format!("{ALONE}\nmac = \"02:00:00:00:00:0{node}\"");
        Dataplane::start(&here, node, "sr", &router_port(&what, &[&address], &more))
    };
    let a = start(1, "tap");
    let b = start(2, "af_packet");
    let (at_a, at_b) = on_veth();
    join(&a, &b, at_a, at_b);
    assert_echoes(&a, &b);
}

#[test]
fn through_somebody_elses_router() {
    need_ports!();
    let (left, middle, right) = (Netns::new(), Netns::new(), Netns::new());
    middle.veth("l", &left, "link");
    middle.veth("r", &right, "link");
    middle.addresses("l", &["10.1.1.254/24"]);
    middle.addresses("r", &["10.1.2.254/24"]);
    middle
        .inside(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1"))
        .expect("forwarding");
    let start = |netns: &Netns, node: u32| {
        let address = format!("10.1.{node}.1/24");
        let what = "kind = \"af_packet\"\ninterface = \"link\"";
        Dataplane::start(netns, node, "sr", &router_port(what, &[&address], ""))
    };
    let (a, b) = (start(&left, 1), start(&right, 2));
    let far = |local: &str, remote: &str, next_hop: &str, key: u8| v1::Adjacency {
        next_hop: next_hop.into(),
        minimum_ttl: 254,
        key_id: 7,
        key: vec![key; 32],
        ..over_udp("link", local, remote)
    };
    // Whoever may be far away must prove who he is.
    let mut keyless = far("10.1.1.1", "10.1.2.1", "10.1.1.254", 1);
    (keyless.peer, keyless.key_id, keyless.key) = (2, 0, Vec::new());
    let said = a.agent.refused(vec![Op::PutAdjacency(keyless)]);
    assert!(
        said.contains("operation 0 (put_adjacency)") && said.contains("key"),
        "{said}"
    );
    // And must be reached by somebody who is near.
    let mut lost = far("10.1.1.1", "10.1.2.1", "", 1);
    lost.peer = 2;
    let said = a.agent.refused(vec![Op::PutAdjacency(lost)]);
    assert!(said.contains("next_hop"), "{said}");

    program(&a, 2, far("10.1.1.1", "10.1.2.1", "10.1.1.254", 1));
    program(&b, 1, far("10.1.2.1", "10.1.1.1", "10.1.2.254", 2));
    for dataplane in [&a, &b] {
        wait_until("hellos with a wrong key are refused", || {
            dataplane.agent.drops("link", "bad-hello") >= 3
        });
        let adjacency = &dataplane.agent.dump().adjacencies[0];
        assert_eq!((adjacency.state.as_str(), adjacency.changes), ("down", 0));
        assert!(adjacency.key.is_empty(), "secrets are not read back");
    }
    let before = b.agent.drops("link", "bad-hello");
    program(&b, 1, far("10.1.2.1", "10.1.1.1", "10.1.2.254", 1));
    for dataplane in [&a, &b] {
        dataplane.agent.watch().adjacency(1, "up");
    }
    assert!(
        b.agent.drops("link", "bad-hello") <= before + 2,
        "no bad ones any more"
    );

    // On-link rules: what took a hop does not count as near.
    let near = v1::Adjacency {
        minimum_ttl: 255,
        ..far("10.1.2.1", "10.1.1.1", "10.1.2.254", 1)
    };
    let mut events = b.agent.watch();
    program(&b, 1, near);
    events.adjacency(1, "down");
    assert!(b.agent.drops("link", "ttl-too-low") > 0);
}

#[test]
fn strangers_are_not_heard() {
    need_ports!();
    let (left, right) = wired();
    let (a, _) = routers(&left, &right);
    program(&a, 2, on_veth().0);
    let link = RawLink::open(&right, "link");
    let port = mac(&a.agent.port("link").mac);
    let shop = crate::rig::name("/shop/a");
    let packet = PacketBuilder::new(dmsc_wire::Kind::Request)
        .destination(shop.as_name())
        .source(shop.as_name())
        .to_vec()
        .expect("packet");
    let stranger = udp4(
        [10, 1, 0, 9],
        [10, 1, 0, 0],
        (9, dmsc_wire::UDP_PORT),
        &packet,
    );
    link.send(&link.frame(port, 0x0800, &stranger));
    link.send(&link.frame(port, dmsc_wire::ETHERTYPE, &packet));
    wait_until("strangers are dropped", || {
        a.agent.drops("link", "unknown-neighbour") >= 2
    });
    let udp = &udp4(
        [10, 1, 0, 1],
        [10, 1, 0, 0],
        (9, dmsc_wire::UDP_PORT),
        &packet,
    )[20..];
    let far = ip4([10, 1, 0, 1], [10, 1, 0, 0], 17, 63, udp);
    link.send(&link.frame(port, 0x0800, &far));
    wait_until("the far one is dropped", || {
        a.agent.drops("link", "ttl-too-low") == 1
    });
    link.heard().iter().for_each(|f| {
        assert!(
            !(f[12..14] == [8, 0] && f[23] == 1),
            "the kernel complains: {f:02x?}"
        );
    });
}
