//! By what calls leave: several ways at once, others after a failure, none, and to pods here.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use dmsc_fib::AdjacencyId;
use dmsc_proto::v1;
use dmsc_wire::{FlowLabel, NameBuf, NodeId, PacketBuilder};

use super::tests::{label, read, sums, target, ways};
use super::*;
use crate::clock::Clock;
use crate::packet::Verdict;
use crate::stage::testing::{World, name, op, request};

/// Of so many packets of one length, all of them requests that are not awaited.
fn packets(packets: u64, length: usize) -> Sum {
    Sum {
        packets,
        bytes: packets * length as u64,
        requests: 0,
    }
}

/// What is counted of calls of the pod 2 to `/far`, by adjacency with the neighbour behind it.
fn of_far(world: &World) -> BTreeMap<(u16, u32), Sum> {
    let all = ways(&read(&world.traffic.tally)).into_iter();
    all.map(|((prefix, gateway, adjacency, neighbour), sum)| {
        assert_eq!((prefix.as_str(), gateway), ("/far", 4));
        ((adjacency, neighbour), sum)
    })
    .collect()
}

/// A call of the pod 2 by name, and one that names its gateway.
fn by_name_and_pinned<'a>(from: &'a NameBuf, to: &'a NameBuf) -> [PacketBuilder<'a>; 2] {
    let pinned = request(from, to).pinned().destination_gateway(NodeId(4));
    [request(from, to), pinned]
}

fn set_up(world: &World, adjacency: u16, is_up: bool) {
    let adjacencies = &world.programmer.tables().adjacencies;
    let adjacency = adjacencies.get(AdjacencyId(adjacency)).expect("there");
    adjacency
        .live
        .state
        .store(if is_up { 2 } else { 0 }, Relaxed);
}

#[test]
fn flows_over_equal_ways_are_counted_by_the_one_that_each_takes() {
    let mut world = World::new();
    world.attach(2, &[]);
    world.apply(&[op(v1::op::Op::PutGateway(v1::Gateway {
        gateway: 4,
        metric: 30,
        next_hops: vec![1, 2],
        ..Default::default()
    }))]);
    let (from, to) = (name("/id/2"), name("/far/x"));
    let mut expected: BTreeMap<(u16, u32), Sum> = BTreeMap::new();
    for flow in 0..1_000u32 {
        let flow = FlowLabel(flow.wrapping_mul(0x9E37_79B9));
        for packet in by_name_and_pinned(&from, &to) {
            let packet = packet.flow_label(flow).to_vec().expect("packet");
            let hop = match world.from_pod(2, &packet).context.verdict {
                Verdict::Send(0) => (1, 5),
                Verdict::Send(1) => (2, 6),
                other => panic!("{other:?}"),
            };
            let sum = expected.entry(hop).or_default();
            sum.packets += 1;
            sum.bytes += packet.len() as u64;
        }
    }
    assert_eq!(of_far(&world), expected);
    assert_eq!(expected.len(), 2);
    assert!(expected.values().all(|sum| sum.packets > 800));
    let all = sums(&read(&world.traffic.tally));
    assert_eq!(all[&("/far".to_owned(), 4)].packets, 2_000);
}

#[test]
fn after_a_failure_the_alternate_counts_and_without_a_way_nothing() {
    let mut world = World::new();
    world.attach(2, &[]);
    let (from, to) = (name("/id/2"), name("/far/x"));
    let length = request(&from, &to).to_vec().expect("packet").len();
    let send = |world: &World, times| {
        for _ in 0..times {
            for packet in by_name_and_pinned(&from, &to) {
                world.from_pod(2, &packet.to_vec().expect("packet"));
            }
        }
    };
    send(&world, 3);
    let first = ((1, 5), packets(6, length));
    assert_eq!(of_far(&world), BTreeMap::from([first]));
    set_up(&world, 1, false);
    send(&world, 2);
    let second = ((2, 6), packets(4, length));
    assert_eq!(of_far(&world), BTreeMap::from([first, second]));
    set_up(&world, 2, false);
    send(&world, 1);
    assert_eq!(of_far(&world), BTreeMap::from([first, second]));
    assert_eq!(world.traffic.tally.other(), Sum::default());
    set_up(&world, 1, true);
    send(&world, 1);
    let again = ((1, 5), packets(8, length));
    assert_eq!(of_far(&world), BTreeMap::from([again, second]));
}

#[test]
fn calls_to_pods_here_have_no_next_hop_and_refused_ones_do_not_count() {
    let mut world = World::new();
    world.attach(2, &[]);
    let server = world.attach(3, &["/shop/b"]);
    let (from, to) = (name("/id/2"), name("/shop/b/carts"));
    let send = |world: &World| {
        let here = request(&from, &to).pinned().destination_gateway(NodeId(1));
        let there = request(&from, &to).pinned().destination_gateway(NodeId(1));
        let there = there.destination_attachment(server);
        let all = [request(&from, &to), here, there];
        let all = all.map(|packet| packet.to_vec().expect("packet"));
        all.iter().for_each(|packet| {
            world.from_pod(2, packet);
        });
        all[0].len()
    };
    let length = send(&world);
    let here = (("/shop/b".to_owned(), 1, 0, 0), packets(3, length));
    let counted = |world: &World| ways(&read(&world.traffic.tally));
    assert_eq!(counted(&world), BTreeMap::from([here.clone()]));
    let rule = v1::AccessRule {
        id: 1,
        domain: 1,
        caller: name("/id/2").as_bytes().to_vec(),
        callee: name("/shop").as_bytes().to_vec(),
        allow: false,
    };
    world.apply(&[op(v1::op::Op::PutAccessRule(rule))]);
    send(&world);
    assert_eq!(counted(&world), BTreeMap::from([here]));
}

#[test]
fn an_account_tells_so_many_ways_apart_and_its_sums_have_all() {
    let (tally, prefix) = (Tally::default(), name("/a"));
    for hop in 1..=1_100 {
        tally.count(target(1, 4, hop), 10, true, || Some(label(&prefix)));
    }
    let accounts = read(&tally);
    let (_, account) = accounts.changed(0, None).next().expect("/a");
    assert_eq!(account.ways.iter().count(), 1_024);
    assert_eq!(account.sum.packets, 1_100);
    let members: Vec<_> = account.members.iter().copied().collect();
    assert_eq!(members, [(NodeId(4), account.sum)]);
}

#[test]
fn an_adjacency_that_leads_to_another_neighbour_by_now_is_another_next_hop() {
    let (mut tally, prefix) = (Tally::default(), name("/a"));
    let mut accounts = Accounts::default();
    accounts.begin(0);
    for neighbour in [5, 7] {
        let label = Label {
            peer: NodeId(neighbour),
            ..label(&prefix)
        };
        tally.count(target(1, 4, 1), 10, false, || Some(label));
        accounts.add(&tally, Clock::ONE_GHZ);
        tally.clear();
    }
    let way = |neighbour| ("/a".to_owned(), 4, 1, neighbour);
    let expected = [5, 7].map(|neighbour| (way(neighbour), packets(1, 10)));
    assert_eq!(ways(&accounts), BTreeMap::from(expected));
}
