//! Counting on plain buffers: against a plain model, and where there is no room.

use std::collections::BTreeMap;

use dmsc_fib::{AdjacencyId, RecordId};
use dmsc_proto::Latency;
use dmsc_wire::{AttachmentId, Domain, Kind, NameBuf, NodeId, PacketBuilder, RequestId};

use super::*;
use crate::clock::Clock;
use crate::packet::Verdict;
use crate::stage::testing::{World, name};

fn bits(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

pub(super) fn target(record: u32, gateway: u32, next_hop: u16) -> Target {
    Target {
        record: RecordId(record),
        gateway: NodeId(gateway),
        next_hop: AdjacencyId(next_hop),
    }
}

pub(super) fn label(prefix: &NameBuf) -> Label<'_> {
    Label {
        domain: Domain(1),
        prefix: prefix.as_name(),
        peer: NodeId(5),
    }
}

/// Sums by prefix and member.
pub(super) fn sums(accounts: &Accounts) -> BTreeMap<(String, u32), Sum> {
    let all = accounts.changed(0, None);
    let members = all.flat_map(|((_, name), account)| {
        let members = account.members.iter();
        members.map(move |(gateway, sum)| ((name.to_string(), gateway.0), *sum))
    });
    members.collect()
}

/// Sums by prefix, member and adjacency, each with the neighbour behind it.
pub(super) fn ways(accounts: &Accounts) -> BTreeMap<(String, u32, u16, u32), Sum> {
    let all = accounts.changed(0, None);
    let ways = all.flat_map(|((_, name), account)| {
        let ways = account.ways.iter();
        ways.map(move |((gateway, hop), sum)| {
            let (adjacency, neighbour) = (hop.adjacency.0, hop.peer.0);
            ((name.to_string(), gateway.0, adjacency, neighbour), *sum)
        })
    });
    ways.collect()
}

pub(super) fn read(tally: &Tally) -> Accounts {
    let mut accounts = Accounts::default();
    accounts.begin(0);
    accounts.add(tally, Clock::ONE_GHZ);
    accounts
}

#[test]
fn every_call_is_counted_once_with_its_prefix_member_next_hop_and_bytes() {
    let mut world = World::new();
    world.attach(2, &[]);
    let server = world.attach(3, &["/shop/b"]);
    let from = name("/id/2");
    let mut expected: BTreeMap<(String, u32), Sum> = BTreeMap::new();
    let mut expected_ways: BTreeMap<(String, u32, u16, u32), Sum> = BTreeMap::new();
    let mut seed = 0x9E37_79B9_7F4A_7C15;
    for _ in 0..4_000 {
        let (text, prefix) = [
            ("/far", "/far"),
            ("/far/x/yy", "/far"),
            ("/shop/b/carts/of/a/customer", "/shop/b"),
            ("/nobody", ""),
            ("/dmsc/1", ""),
        ][bits(&mut seed) as usize % 5];
        let kind = [Kind::Request, Kind::EchoRequest, Kind::Response][bits(&mut seed) as usize % 3];
        // Not placed; by the pod; by the pod, down to the attachment.
        let placed = bits(&mut seed) as usize % 3;
        let (to, payload) = (name(text), vec![1; bits(&mut seed) as usize % 100]);
        let id = RequestId(bits(&mut seed) % 3);
        let member = if prefix == "/far" { 4 } else { 1 };
        let mut packet = PacketBuilder::new(kind)
            .source(from.as_name())
            .destination(to.as_name())
            .domain(Domain(1))
            .request_id(id)
            .payload(&payload);
        if placed > 0 {
            packet = packet.destination_gateway(NodeId(member)).pinned();
        }
        if placed == 2 && member == 1 {
            packet = packet.destination_attachment(server);
        }
        let packet = packet.to_vec().expect("packet");
        let is_from_pod = !bits(&mut seed).is_multiple_of(4);
        let outcome = if is_from_pod {
            world.from_pod(2, &packet)
        } else {
            world.from_router(2, &packet)
        };
        let is_sent = matches!(outcome.context.verdict, Verdict::Send(_));
        let (adjacency, neighbour) = match outcome.context.verdict {
            Verdict::Send(0) => (1, 5),
            Verdict::Send(1) => (2, 6),
            _ => (0, 0),
        };
        let is_counted = is_sent && kind != Kind::Response && (is_from_pod || placed == 0);
        if is_counted && !prefix.is_empty() {
            let way = (prefix.to_owned(), member, adjacency, neighbour);
            for sum in [
                expected.entry((prefix.to_owned(), member)).or_default(),
                expected_ways.entry(way).or_default(),
            ] {
                sum.packets += 1;
                sum.bytes += packet.len() as u64;
                sum.requests += u64::from(is_from_pod && kind == Kind::Request && id.0 != 0);
            }
        }
    }
    let accounts = read(&world.traffic.tally);
    assert_eq!(sums(&accounts), expected);
    assert_eq!(ways(&accounts), expected_ways);
    assert!(
        expected.values().all(|sum| sum.packets > 300),
        "{expected:?}"
    );
}

#[test]
fn what_the_express_resolves_is_counted_as_the_stages_count_it() {
    let world = World::new();
    let (from, to) = (name("/id/9"), name("/far/x"));
    let packet = |gateway: u32, id: u64| {
        let packet = PacketBuilder::new(Kind::Request)
            .source(from.as_name())
            .destination(to.as_name())
            .domain(Domain(1))
            .request_id(RequestId(id))
            .destination_gateway(NodeId(gateway));
        packet.to_vec().expect("packet")
    };
    let all = [packet(0, 5), packet(4, 6), packet(0, 0), packet(0, 7)];
    let mut frames: Vec<_> = all
        .iter()
        .map(|packet| world.frame(1, ("10.0.1.2", 50_000), "10.0.1.1", packet))
        .collect();
    assert_eq!(world.express(1, &mut frames).len(), 4);
    let sum = Sum {
        packets: 3,
        bytes: 3 * all[0].len() as u64,
        // Told by the gateway where they entered.
        requests: 0,
    };
    let expected = BTreeMap::from([(("/far".to_owned(), 4), sum)]);
    let accounts = read(&world.traffic.tally);
    assert_eq!(sums(&accounts), expected);
    let way = ("/far".to_owned(), 4, 1, 5);
    assert_eq!(ways(&accounts), BTreeMap::from([(way, sum)]));
}

#[test]
fn what_finds_no_room_is_counted_as_other() {
    let mut tally = Tally::default();
    let (prefix, mut seed) = (name("/a/prefix/of/usual/length"), 7);
    for round in 0..3 {
        let all = 3 * SLOTS as u64;
        // Until the table is full nobody is turned away.
        let mut again = [target(0, 1, 0); SLOTS / 2];
        for record in 0..all as u32 {
            let (gateway, hop) = (bits(&mut seed) as u32 % 3, bits(&mut seed) as u16 % 3);
            let to = target(record.wrapping_mul(5), 1 + gateway, hop);
            let of = || Some(label(&prefix));
            tally.count(to, 10, true, of);
            if let Some(place) = again.get_mut(record as usize) {
                *place = to;
            }
        }
        let found: u64 = tally.sums().iter().map(|one| one.sum.packets).sum();
        let other = tally.other();
        assert_eq!(found + other.packets, all, "round {round}");
        assert_eq!(other.bytes, 10 * other.packets);
        assert!(found * 10 > SLOTS as u64 * 9, "{found} of {SLOTS}");
        // Who has a slot keeps it, wherever it is.
        for one in again {
            tally.count(one, 10, true, || None);
        }
        let more: u64 = tally.sums().iter().map(|one| one.sum.packets).sum();
        assert_eq!((more - found, tally.other()), (again.len() as u64, other));
        // Calls and their latencies find room, or neither do.
        let rows = tally.sums().len();
        for record in 0..1_000 {
            let to = target(u32::MAX - record, 9, 1);
            tally.count(to, 10, true, || Some(label(&prefix)));
            tally.latency(to, label(&prefix), 1);
        }
        let (matched, crowded) = (tally.answers().matched, tally.answers().crowded);
        assert_eq!(
            (matched + crowded, tally.other().packets),
            (1_000, other.packets + crowded)
        );
        assert_eq!(tally.sums().len(), rows + matched as usize);
        assert!(matched < 500, "{matched} found room");
        tally.clear();
        assert!(tally.sums().is_empty() && tally.other() == Sum::default());
    }
}

#[test]
fn half_full_everything_has_room() {
    let tally = Tally::default();
    let prefix = name("/a");
    for record in 0..SLOTS as u32 / 16 {
        for (gateway, hop) in [3, 70_001]
            .into_iter()
            .flat_map(|to| (0..4).map(move |hop| (to, hop)))
        {
            let to = target(record * 7, gateway, hop);
            tally.count(to, 1, false, || Some(label(&prefix)));
        }
    }
    assert_eq!(tally.other(), Sum::default());
    assert_eq!(tally.sums().len(), SLOTS / 2);
}

/// A world with a caller and a server, and a packet of each between them.
fn pair() -> (
    World,
    AttachmentId,
    impl Fn(Kind, u64, AttachmentId) -> Vec<u8>,
) {
    let mut world = World::new();
    let caller = world.attach(2, &[]);
    let (client, service) = (name("/id/2"), name("/far/x"));
    let packet = move |kind, id, caller| {
        let (from, to): (&NameBuf, &NameBuf) = match kind {
            Kind::Response => (&service, &client),
            _ => (&client, &service),
        };
        let packet = PacketBuilder::new(kind)
            .source(from.as_name())
            .destination(to.as_name())
            .domain(Domain(1))
            .request_id(RequestId(id));
        let packet = match kind {
            Kind::Response => packet
                .destination_gateway(NodeId(1))
                .destination_attachment(caller),
            _ => packet,
        };
        packet.to_vec().expect("packet")
    };
    (world, caller, packet)
}

#[test]
fn one_call_in_so_many_has_a_latency() {
    let (mut world, caller, packet) = pair();
    let mut answered = 0;
    for id in 0..64 * SAMPLED {
        world.now = 1_000_000 * id;
        world.from_pod(2, &packet(Kind::Request, id, caller));
        world.now += 250_000;
        let response = packet(Kind::Response, id, caller);
        let outcome = world.from_router(1, &response);
        assert_eq!(outcome.context.verdict, Verdict::Send(2));
        answered += 1;
    }
    let accounts = read(&world.traffic.tally);
    let (_, account) = accounts.changed(0, None).next().expect("/far");
    let buckets: Vec<_> = account.latency.buckets().collect();
    let [(248, 256, count)] = buckets[..] else {
        panic!("{buckets:?}")
    };
    assert_eq!(count, accounts.answers().matched);
    assert!((32..128).contains(&count), "{count} of {answered}");
    assert_eq!(accounts.answers().unmatched, 0);

    // Answers that nobody waits for here, as when another worker had the request.
    for id in 0..64 * SAMPLED {
        world.from_router(1, &packet(Kind::Response, id, caller));
    }
    assert_eq!(read(&world.traffic.tally).answers().unmatched, count);
    // Datagrams: nobody waits for one.
    world.from_pod(2, &packet(Kind::Request, 0, caller));
    world.from_router(1, &packet(Kind::Response, 0, caller));
    let answers = read(&world.traffic.tally).answers();
    assert_eq!((answers.matched, answers.unmatched), (count, count));
}

#[test]
fn calls_that_nobody_answers_give_their_places_back() {
    let (mut world, caller, packet) = pair();
    let ask = |world: &mut World, ids: std::ops::Range<u64>| {
        for id in ids.filter(|id| calls::is_sampled(RequestId(*id))) {
            world.from_pod(2, &packet(Kind::Request, id, caller));
        }
        read(&world.traffic.tally).answers()
    };
    let answers = ask(&mut world, 1..4_096 * SAMPLED);
    assert!(answers.crowded > 2_000, "{answers:?}");
    assert_eq!(answers.unanswered, 0);
    world.now += 1 << 36;
    let answers = ask(&mut world, 4_096 * SAMPLED..8_192 * SAMPLED);
    assert!(answers.unanswered > 900, "{answers:?}");
    assert!(answers.unanswered <= 1_024, "as many as there are places");
}

#[test]
fn a_table_is_traded_for_an_empty_one_and_nothing_is_lost() {
    let exchange = Exchange::default();
    let mut own = Box::<Tally>::default();
    let count = |own: &Tally, record| {
        let to = target(record, 4, 1);
        let prefix = name("/a");
        own.count(to, 5, false, || Some(label(&prefix)));
    };
    let mut accounts = Accounts::default();
    let mut spare = Some(Box::default());
    for round in 0..10 {
        count(&own, 1);
        exchange.trade(&mut own);
        count(&own, 1);
        accounts.begin(round);
        if let Some(empty) = spare.take() {
            spare = exchange.offer(empty);
        }
        exchange.trade(&mut own);
        if let Some(mut full) = exchange.take() {
            accounts.add(&full, Clock::ONE_GHZ);
            full.clear();
            spare = Some(full);
        }
    }
    let sum = Sum {
        packets: 20,
        bytes: 100,
        requests: 0,
    };
    assert_eq!(
        sums(&accounts),
        BTreeMap::from([(("/a".to_owned(), 4), sum)])
    );
}

#[test]
fn prefixes_without_traffic_are_forgotten_and_begin_anew() {
    let tally = Tally::default();
    let prefix = name("/a");
    let to = target(1, 4, 1);
    tally.count(to, 5, false, || Some(label(&prefix)));
    let mut accounts = Accounts::default();
    accounts.begin(0);
    accounts.add(&tally, Clock::ONE_GHZ);
    let since = |accounts: &Accounts| {
        let all = accounts.changed(0, None);
        all.map(|(_, one)| (one.since, one.sum.packets)).next()
    };
    assert_eq!(since(&accounts), Some((1, 1)));
    // However often they are read, and whatever pods tell.
    let second = 1_000_000_000;
    let told = |accounts: &mut Accounts, count| {
        let mut latency = Latency::default();
        latency.add_many(300, count);
        accounts.tell(Domain(1), name("/a/b").as_name(), &latency)
    };
    (0..6_000).for_each(|at| {
        accounts.begin(at * second / 10);
        assert_eq!(told(&mut accounts, at % 2), at % 2 == 1);
    });
    assert_eq!(since(&accounts), Some((1, 1)));
    (600..700).for_each(|at| accounts.begin(at * second));
    assert_eq!(since(&accounts), None);
    assert!(!told(&mut accounts, 1));
    assert_eq!(accounts.answers().told, 3_000);
    accounts.add(&tally, Clock::ONE_GHZ);
    assert_eq!(since(&accounts), Some((6_101, 1)));
    assert_eq!(accounts.changed(6_101, None).count(), 0);
}
