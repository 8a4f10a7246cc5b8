//! The VLAN tag is the dataplane's work: on DMSC, on neighbour resolution, and on the way to the kernel and back.

use crate::rig::link::mac;
use crate::rig::pair::{assert_echoes, join, on_veth, over_ethernet, router_port, wired};
use crate::rig::{Dataplane, Netns, RawLink, need_ports, wait_until};
use dmsc_proto::v1;

fn tagged(netns: &Netns, node: u32, vlan: u16) -> Dataplane {
    let (v4, v6) = (
        format!("10.1.0.{}/31", node - 1),
        format!("fd01::{node}/64"),
    );
    let what = "kind = \"af_packet\"\ninterface = \"link\"";
    let more = format!("vlan = {vlan}");
    Dataplane::start(netns, node, "sr", &router_port(what, &[&v4, &v6], &more))
}

#[test]
fn a_tagged_port() {
    need_ports!();
    let (left, right) = wired();
    let (a, b) = (tagged(&left, 1, 100), tagged(&right, 2, 100));
    let (at_a, at_b) = on_veth();
    join(&a, &b, at_a, at_b);
    assert_echoes(&a, &b);

    // The kernels at both ends speak through the tag without knowing it.
    for address in ["10.1.0.1", "fd01::2"] {
        let said = left.output(&["ping", "-c3", "-i0.1", "-W2", address]);
        assert!(
            said.contains("3 received") && !said.contains("DUP"),
            "{said}"
        );
    }

    // Without the tag nothing is heard.
    let link = RawLink::open(&left, "link");
    let before = b.agent.drops("link", "wrong-vlan");
    link.send(&link.frame(mac(&b.agent.port("link").mac), 0x0800, &[0x45; 60]));
    wait_until("an untagged frame is dropped", || {
        b.agent.drops("link", "wrong-vlan") == before + 1
    });
}

#[test]
fn a_tagged_adjacency_on_an_untagged_port() {
    need_ports!();
    let (left, right) = wired();
    let (a, b) = (tagged(&left, 1, 0), tagged(&right, 2, 0));
    let with = |vlan, adjacency| v1::Adjacency { vlan, ..adjacency };
    join(
        &a,
        &b,
        with(7, over_ethernet("link")),
        with(7, over_ethernet("link")),
    );
    assert_echoes(&a, &b);
    let (at_a, at_b) = on_veth();
    join(&a, &b, with(8, at_a), with(8, at_b));
    assert_echoes(&a, &b);
    let said = left.output(&["ping", "-c1", "-W2", "10.1.0.1"]);
    assert!(
        said.contains("1 received"),
        "the kernels are untagged: {said}"
    );
}
