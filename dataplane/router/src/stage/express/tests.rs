//! Compared with the stages, which do the same for every packet there is.

use std::sync::atomic::Ordering::Relaxed;

use dmsc_fib::AdjacencyId;
use dmsc_proto::v1;
use dmsc_wire::{Domain, Flags, FlowLabel, Kind, PacketBuilder};

use super::*;
use crate::frame::PlainFrame;
use crate::packet::Verdict;
use crate::stage::testing::{PEER_MAC, World, name, op};
use crate::traffic::{Counted, Traffic};

fn from_router(world: &World, port: usize, packet: &[u8]) -> PlainFrame {
    let (source, own) = (format!("10.0.{port}.2"), format!("10.0.{port}.1"));
    world.frame(port, (&source, 50_000), &own, packet)
}

/// Gives the outer header an ECN field.
fn mark(frame: &mut PlainFrame, ecn: u8) {
    let bytes = frame.bytes_mut();
    bytes[15] = bytes[15] & !3 | ecn;
    bytes[24..26].fill(0);
    let checksum = crate::net::fold(crate::net::sum(&bytes[14..34], 0));
    bytes[24..26].copy_from_slice(&checksum.to_be_bytes());
}

fn bits(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// Packets of all kinds, some with options, some damaged.
fn some_packet(seed: &mut u64) -> Vec<u8> {
    let names = [
        "/far",
        "/both/x/yy",
        "/shop/b",
        "/nobody",
        "/dmsc/4",
        "/id/2",
    ]
    .map(name);
    let (to, from) = (
        &names[bits(seed) as usize % 6],
        &names[bits(seed) as usize % 6],
    );
    let kind = [
        Kind::Request,
        Kind::Response,
        Kind::EchoRequest,
        Kind::Error,
    ][bits(seed) as usize % 4];
    let gateway = [0, 0, 1, 4, 4, 4, 5, 77][bits(seed) as usize % 8];
    let payload = vec![7; bits(seed) as usize % 100];
    let mut builder = PacketBuilder::new(kind)
        .source(from.as_name())
        .destination(to.as_name())
        .domain(Domain(1 + bits(seed) as u32 % 8 / 7))
        .destination_gateway(NodeId(gateway))
        .flow_label(FlowLabel(bits(seed) as u32))
        .payload(&payload);
    if kind == Kind::EchoRequest && bits(seed).is_multiple_of(2) {
        builder = builder.record_slots(2);
    }
    for flag in [Flags::PINNED, Flags::BY_DELAY] {
        if bits(seed).is_multiple_of(4) {
            builder = builder.flag(flag);
        }
    }
    let mut packet = builder.to_vec().expect("packet");
    if bits(seed).is_multiple_of(4) {
        packet[2] = bits(seed) as u8 % 3;
    }
    packet
}

/// Gateways 4 and 5 by delay, too, and `/both` at them, with a share by delay of one.
fn both_topologies() -> Vec<v1::Op> {
    use v1::op::Op as O;
    let gateway = |gateway, hop, alternate| {
        op(O::PutGateway(v1::Gateway {
            topology: 1,
            gateway,
            metric: 900,
            next_hops: vec![hop],
            link_protecting: alternate,
            ..Default::default()
        }))
    };
    let member = |gateway, delay_weight| v1::Member {
        gateway,
        metric: 30,
        weight: 10,
        delay_weight,
    };
    vec![
        gateway(4, 2, 1),
        gateway(5, 2, 0),
        op(O::PutGroup(v1::Group {
            id: 3,
            members: vec![member(4, 5), member(5, 10)],
            weighted: true,
        })),
        op(O::PutPrefix(v1::Prefix {
            domain: 1,
            name: name("/both").as_bytes().to_vec(),
            group: 3,
        })),
    ]
}

/// All that was counted, in order.
fn counted(traffic: &Traffic) -> Vec<Counted> {
    let mut all = traffic.tally.sums();
    all.sort_by_key(|one| (one.name.clone(), one.gateway, one.next_hop));
    all
}

#[test]
fn what_it_does_the_stages_would_have_done() {
    let mut world = World::new();
    // What the stages count of what it does, and of what it leaves to them.
    let (mut by_stages, mut left) = (Traffic::default(), Traffic::default());
    world.attach(2, &["/shop/b"]);
    world.apply(&both_topologies());
    let mut seed = 0x9E37_79B9_7F4A_7C15;
    let (mut done, mut by_delay) = (0, 0);
    for round in 0..40_000 {
        let port = round % 2;
        let up = |id| {
            let live = &world.programmer.tables().adjacencies.get(AdjacencyId(id));
            live.map(|a| {
                a.live
                    .state
                    .store(if round / 500 % 5 == 4 { 0 } else { 2 }, Relaxed)
            })
        };
        up(1);
        // Sometimes not all packets fit into the link.
        for id in [1, 2] {
            let adjacency = world.programmer.tables().adjacencies.get(AdjacencyId(id));
            let live = &adjacency.expect("there").live;
            let mtu = if bits(&mut seed).is_multiple_of(8) {
                150
            } else {
                0
            };
            live.path_mtu.store(mtu, Relaxed);
            live.path_mtu_until.store(u64::MAX, Relaxed);
        }
        let mut frame = from_router(&world, port, &some_packet(&mut seed));
        if bits(&mut seed).is_multiple_of(4) {
            mark(&mut frame, bits(&mut seed) as u8 & 3);
        }
        for _ in 0..bits(&mut seed) % 8 / 5 {
            let at = bits(&mut seed) as usize % frame.bytes().len();
            frame.bytes_mut()[at] = bits(&mut seed) as u8;
        }
        if bits(&mut seed).is_multiple_of(8) {
            frame.truncate(bits(&mut seed) as usize % 250);
        }
        if bits(&mut seed).is_multiple_of(8) {
            // Padding of Ethernet, of which the headers do not know.
            frame = PlainFrame::new(&[frame.bytes(), &[9; 6]].concat());
        }
        let mut express = [frame.clone()];
        let exits = world.express(port, &mut express);
        let into = match exits.first() {
            Some(_) => &mut by_stages,
            None => &mut left,
        };
        std::mem::swap(&mut world.traffic, into);
        let outcome = world.walk(port, frame.clone());
        std::mem::swap(&mut world.traffic, into);
        let Some(exit) = exits.first() else {
            assert_eq!(express[0].bytes(), frame.bytes(), "round {round}: changed");
            continue;
        };
        match outcome.context.verdict {
            Verdict::Send(port) => {
                assert_eq!(*exit, port, "round {round}");
                assert_eq!(express[0].bytes(), outcome.frame.bytes(), "round {round}");
                by_delay += usize::from(outcome.header().flags.contains(Flags::BY_DELAY));
                done += 1;
            }
            other => panic!("round {round}: sent, but the stages say {other:?}"),
        }
    }
    assert!(done > 5_000, "{done} alike");
    assert!(by_delay > 500, "{by_delay} by delay");
    let all = counted(&world.traffic);
    assert_eq!(all, counted(&by_stages));
    let has = |adjacency| {
        let mut any = all.iter();
        any.any(|one| one.next_hop.adjacency == AdjacencyId(adjacency) && one.sum.packets > 100)
    };
    assert!(has(1) && has(2), "{all:?}");
}

/// With a second neighbour on the first port, by adjacency 5, which has the place of adjacency 1 among the ways.
fn with_a_third() -> World {
    let mut world = World::new();
    world.apply(&[op(v1::op::Op::PutAdjacency(v1::Adjacency {
        id: 5,
        peer: 7,
        port: "p0".into(),
        local_address: "10.0.0.1".into(),
        remote_address: "10.0.0.3".into(),
        ..Default::default()
    }))]);
    let third = world.programmer.tables().adjacencies.get(AdjacencyId(5));
    let third = third.expect("there");
    third.live.state.store(2, Relaxed);
    third.neighbour.learn(PEER_MAC, 1);
    world
}

fn way_to_4(next_hops: &[u32]) -> v1::Op {
    op(v1::op::Op::PutGateway(v1::Gateway {
        gateway: 4,
        metric: 30,
        next_hops: next_hops.to_vec(),
        ..Default::default()
    }))
}

#[test]
fn what_is_remembered_of_gateways_is_that_of_these_tables_and_neighbours() {
    let mut world = with_a_third();
    let to_4 = |world: &World, from: &str, port: usize| {
        let (to, by) = (name("/far"), name("/id/2"));
        let packet = PacketBuilder::new(Kind::Request)
            .source(by.as_name())
            .destination(to.as_name())
            .domain(Domain(1))
            .destination_gateway(NodeId(4));
        let own = format!("10.0.{port}.1");
        world.frame(
            port,
            (from, 50_000),
            &own,
            &packet.to_vec().expect("packet"),
        )
    };
    // The last byte of the address that a frame goes to.
    let goes_to = |frame: &PlainFrame| frame.bytes()[33];
    for next_hop in [1, 5, 1] {
        world.apply(&[way_to_4(&[next_hop])]);
        let mut frames = [(); 3].map(|()| to_4(&world, "10.0.1.2", 1));
        assert_eq!(world.express(1, &mut frames), [0; 3]);
        let expected = if next_hop == 5 { 3 } else { 2 };
        assert!(frames.iter().all(|frame| goes_to(frame) == expected));
    }
    // From both neighbours of the first port, by the second one: never back to whom it came from.
    world.apply(&[way_to_4(&[1])]);
    let mut frames = ["10.0.0.3", "10.0.0.2", "10.0.0.3"].map(|from| to_4(&world, from, 0));
    let before = frames[1].clone();
    assert_eq!(
        world.express(0, &mut frames),
        [0],
        "then one for the stages"
    );
    assert_eq!(goes_to(&frames[0]), 2);
    assert_eq!(frames[1].bytes(), before.bytes());
    world.apply(&[way_to_4(&[2])]);
    let mut frames = ["10.0.0.3", "10.0.0.2", "10.0.0.3"].map(|from| to_4(&world, from, 0));
    assert_eq!(world.express(0, &mut frames), [1; 3]);
}

#[test]
fn in_a_burst_each_call_is_counted_for_the_way_that_it_takes() {
    let mut world = with_a_third();
    world.apply(&[way_to_4(&[1, 5])]);
    let mut by_stages = Traffic::default();
    let mut seed = 0x9E37_79B9_7F4A_7C15;
    for _ in 0..100 {
        // With and without a gateway, in any order.
        let mut frames = [(); BATCH].map(|()| {
            let (to, from) = (name("/far"), name("/id/2"));
            let packet = PacketBuilder::new(Kind::Request)
                .source(from.as_name())
                .destination(to.as_name())
                .domain(Domain(1))
                .flow_label(FlowLabel(bits(&mut seed) as u32))
                .destination_gateway(NodeId([0, 4][bits(&mut seed) as usize % 2]));
            from_router(&world, 1, &packet.to_vec().expect("packet"))
        });
        std::mem::swap(&mut world.traffic, &mut by_stages);
        let walked = frames.clone().map(|frame| world.walk(1, frame).frame);
        std::mem::swap(&mut world.traffic, &mut by_stages);
        assert_eq!(world.express(1, &mut frames), [0; BATCH]);
        for (frame, walked) in frames.iter().zip(&walked) {
            assert_eq!(frame.bytes(), walked.bytes());
        }
    }
    assert_ne!(world.habit.get(), Default::default(), "what names are like");
    let done = counted(&world.traffic);
    assert_eq!(done, counted(&by_stages));
    let [first, third] = &done[..] else {
        panic!("{done:?}")
    };
    for (one, hop) in [(first, (1, 5)), (third, (5, 7))] {
        assert_eq!((one.next_hop.adjacency.0, one.next_hop.peer.0), hop);
        assert!(one.sum.packets > 500, "{one:?}");
    }
}

#[test]
fn none_overtakes_one_that_needs_the_stages() {
    let world = World::new();
    let to_far = |gateway: u32| {
        let (to, from) = (name("/far"), name("/id/2"));
        let packet = PacketBuilder::new(Kind::Request)
            .source(from.as_name())
            .destination(to.as_name())
            .domain(Domain(1))
            .destination_gateway(NodeId(gateway));
        from_router(&world, 1, &packet.to_vec().expect("packet"))
    };
    // Stamped, by name, unreachable, stamped: the third is for the stages, and so is what follows it.
    let mut frames = [to_far(4), to_far(0), to_far(77), to_far(4)];
    let last = frames[3].clone();
    assert_eq!(world.express(1, &mut frames), [0, 0]);
    assert_eq!(frames[3].bytes(), last.bytes());
    let resolved = world.counters.ports[1].events(EventKind::NameResolved);
    assert_eq!(resolved, 1);
}
