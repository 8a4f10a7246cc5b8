//! Random networks, failures and announcements: afterwards all databases are equal, and routes are those of the true graph.

mod sim;

use std::collections::{BTreeMap, BTreeSet};

use dmsc_linkstate::action::Topology;
use dmsc_linkstate::{
    Action, AdjacencyId, Cost, Digest, Event, Graph, Header, Key, Kind, LinkId, Message, NodeId,
    Object, Sequence, SessionId, routes_by,
};
use proptest::prelude::*;
use sim::{Sim, ms, secs};

/// What happens in a random network.
#[derive(Debug, Clone)]
enum Turn {
    Flap(usize),
    Break(usize),
    Announce(u32, u8),
    Withdraw(u32, u8),
    Restart(u32),
    Metric(usize, u32),
    Wait(u64),
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = prop_oneof![
        4 => any::<usize>().prop_map(Turn::Flap),
        1 => any::<usize>().prop_map(Turn::Break),
        3 => (any::<u32>(), 0..20u8).prop_map(|(node, name)| Turn::Announce(node, name)),
        2 => (any::<u32>(), 0..20u8).prop_map(|(node, name)| Turn::Withdraw(node, name)),
        1 => any::<u32>().prop_map(Turn::Restart),
        1 => (any::<usize>(), 1..50u32).prop_map(|(link, metric)| Turn::Metric(link, metric)),
        3 => (0..300u64).prop_map(Turn::Wait),
    ];
    prop::collection::vec(turn, 0..25)
}

/// Nodes, and links with their metrics; a line joins all.
fn network() -> impl Strategy<Value = (u32, Vec<(u32, u32, u32)>)> {
    (2..=8u32).prop_flat_map(|nodes| {
        let more = prop::collection::vec((1..=nodes, 1..=nodes, 1..30u32), 0..8);
        (Just(nodes), more).prop_map(|(nodes, more)| {
            let line = (1..nodes).map(|node| (node, node + 1, 10));
            let more = more.into_iter().filter(|(a, b, _)| a != b);
            (nodes, line.chain(more).collect())
        })
    })
}

fn build(nodes: u32, links: &[(u32, u32, u32)]) -> Sim {
    let mut sim = Sim::default();
    for id in 1..=nodes {
        sim.add_node(id, "sg");
    }
    let mut ids: BTreeMap<u32, u16> = BTreeMap::new();
    for (a, b, metric) in links {
        let mut end = |node: u32| {
            let id = ids.entry(node).or_default();
            *id += 1;
            (node, *id)
        };
        let ends = [end(*a), end(*b)];
        sim.add_link(ends, *metric, *metric * 3 % 17 + 1);
    }
    for id in 1..=nodes {
        sim.start(id, false);
    }
    for at in 0..links.len() {
        sim.set_link_at(at, true);
    }
    for id in 1..=nodes {
        sim.authorise(id, &["/p"], 36_000, 60);
    }
    sim
}

/// The graph as it is, with the adjacency ids of `root` on its own links.
fn truth(sim: &Sim, root: u32) -> Graph {
    let mut graph = Graph::new();
    for id in sim.nodes.keys() {
        graph.add_node(NodeId(*id));
    }
    for (number, link) in sim.links.iter().enumerate().filter(|(_, link)| link.up) {
        for end in 0..2 {
            let (from, id) = link.ends[end];
            let (to, _) = link.ends[1 - end];
            let id = if from == root {
                u32::from(id.0)
            } else {
                100_000 + u32::try_from(number).unwrap()
            };
            graph.add_link_with_delay(
                LinkId(id),
                NodeId(from),
                NodeId(to),
                link.metric,
                link.delay_us,
            );
        }
    }
    graph
}

fn check(sim: &Sim) -> Result<(), TestCaseError> {
    prop_assert!(sim.digests_equal(), "digests differ\n{}", sim.describe());
    let adjacency = |link: LinkId| AdjacencyId(u16::try_from(link.0).unwrap());
    for (id, node) in &sim.nodes {
        let graph = truth(sim, *id);
        for (topology, cost) in [
            (Topology::Metric, Cost::Metric),
            (Topology::Delay, Cost::Delay),
        ] {
            let expected = routes_by(&graph, NodeId(*id), cost);
            let found: BTreeMap<_, _> = node
                .tables
                .gateways
                .iter()
                .filter(|((at, _), _)| *at == topology)
                .map(|((_, to), route)| (*to, route))
                .collect();
            prop_assert_eq!(expected.len(), found.len(), "at {}\n{}", id, sim.describe());
            for route in expected {
                let way = found[&route.destination];
                let hops: Vec<_> = route.next_hops.iter().copied().map(adjacency).collect();
                prop_assert_eq!(route.metric, way.metric);
                prop_assert_eq!(&hops, &way.next_hops);
                prop_assert_eq!(route.node_protecting.map(adjacency), way.node_protecting);
                prop_assert_eq!(route.link_protecting.map(adjacency), way.link_protecting);
            }
        }
        // Prefixes of those who can be reached are what they announce.
        let reached = routes_by(&graph, NodeId(*id), Cost::Metric);
        let reached = reached.iter().map(|route| route.destination.0).chain([*id]);
        for gateway in reached {
            let told: BTreeSet<_> = node
                .tables
                .prefixes
                .iter()
                .filter(|(_, members)| members.iter().any(|m| m.gateway.0 == gateway))
                .map(|((_, name), _)| name.clone())
                .collect();
            let announced: BTreeSet<_> = sim.nodes[&gateway].announced.keys().cloned().collect();
            prop_assert_eq!(
                told,
                announced,
                "of {} at {}\n{}",
                gateway,
                id,
                sim.describe()
            );
        }
    }
    loop_free(sim)
}

/// Every walk along next hops comes nearer with each step, so none comes back.
fn loop_free(sim: &Sim) -> Result<(), TestCaseError> {
    for topology in [Topology::Metric, Topology::Delay] {
        for to in sim.nodes.keys() {
            for from in sim.nodes.keys() {
                let mut at = *from;
                let mut steps = 0;
                while at != *to {
                    let Some(route) = sim.route(at, topology, *to) else {
                        prop_assert_eq!(at, *from, "a way that ends");
                        break;
                    };
                    at = sim
                        .behind(at, route.next_hops[steps % route.next_hops.len()])
                        .unwrap();
                    steps += 1;
                    prop_assert!(steps <= sim.nodes.len(), "a loop {} → {}", from, to);
                }
            }
        }
    }
    Ok(())
}

fn turn(sim: &mut Sim, turn: &Turn) {
    let nodes = u32::try_from(sim.nodes.len()).unwrap();
    let links = sim.links.len();
    match turn {
        Turn::Flap(at) => {
            let up = sim.links[at % links].up;
            sim.set_link_at(at % links, !up);
        }
        Turn::Break(at) => sim.disconnect(at % links),
        Turn::Announce(node, name) => sim.announce(node % nodes + 1, &[&format!("/p/{name}")]),
        Turn::Withdraw(node, name) => sim.withdraw(node % nodes + 1, &format!("/p/{name}")),
        Turn::Restart(node) => {
            sim.kill(node % nodes + 1);
            sim.start(node % nodes + 1, true);
        }
        Turn::Metric(at, metric) => {
            let link = &sim.links[at % links];
            let [a, b] = link.ends.map(|(node, _)| node);
            sim.set_metric(a, b, *metric);
        }
        Turn::Wait(time) => sim.run(ms(*time)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn after_quiet_all_are_equal_and_right((nodes, links) in network(), turns in turns()) {
        let mut sim = build(nodes, &links);
        for step in &turns {
            turn(&mut sim, step);
        }
        // Longer than the hold after a restart.
        sim.run(secs(30));
        for at in 0..sim.links.len() {
            sim.set_link_at(at, true);
        }
        sim.run(secs(5));
        check(&sim)?;
        // And with half of the links down again.
        for at in (0..sim.links.len()).step_by(2) {
            sim.set_link_at(at, false);
        }
        sim.run(secs(3));
        loop_free(&sim)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, max_shrink_iters: 100, ..ProptestConfig::default() })]

    /// Control planes die and come back in any order, with valid or with expired authorisations: no dataplane ever loses a thing.
    #[test]
    fn restarts_lose_nothing(
        (nodes, links) in network(),
        life in prop_oneof![Just(3_600u64), Just(20)],
        restarts in prop::collection::vec((any::<u32>(), 0..4_000u64, 0..3_000u64), 1..8),
    ) {
        let mut sim = build(nodes, &links);
        for id in 1..=nodes {
            sim.node(id).authorisations.clear();
            sim.authorise(id, &["/p"], life, 3_600);
            sim.announce(id, &[&format!("/p/{id}"), "/p/all"]);
        }
        sim.run(secs(25));
        prop_assert!(sim.digests_equal());
        for node in sim.nodes.values_mut() {
            prop_assert_eq!(node.tables.prefixes.len(), nodes as usize + 1);
            node.lost.clear();
        }
        let mut dead: Vec<u32> = Vec::new();
        for (node, away, wait) in restarts {
            let node = node % nodes + 1;
            if dead.contains(&node) {
                dead.retain(|dead| *dead != node);
                sim.start(node, true);
            } else {
                dead.push(node);
                sim.kill(node);
                sim.run(ms(away));
            }
            sim.run(ms(wait));
        }
        for node in dead {
            sim.start(node, true);
        }
        sim.run(secs(40));
        for (id, node) in &sim.nodes {
            prop_assert!(node.lost.is_empty(), "{} lost {:?}\n{}", id, node.lost, sim.describe());
            prop_assert_eq!(node.tables.prefixes.len(), nodes as usize + 1);
            prop_assert!(!sim.engine(*id).restarting());
        }
        prop_assert!(sim.digests_equal(), "digests differ\n{}", sim.describe());
    }
}

fn key() -> impl Strategy<Value = Key> {
    (0..9u8, 0..5u32, 0..5u64).prop_map(|(kind, origin, id)| Key {
        kind: Kind(kind),
        origin: NodeId(origin),
        id,
    })
}

fn object() -> impl Strategy<Value = Object> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..120);
    let numbers = (
        any::<u8>(),
        any::<u64>(),
        any::<u32>(),
        any::<u64>(),
        any::<u32>(),
    );
    (key(), numbers, bytes(), bytes()).prop_map(|(key, numbers, body, certificate)| {
        let (flags, sequence, lifetime_s, originated_at_ms, age_s) = numbers;
        Object {
            key,
            flags,
            sequence: Sequence(sequence),
            lifetime_s,
            area: age_s & 1,
            originated_at_ms,
            body: body.into(),
            signature: [flags; 64],
            certificate: certificate.into(),
            age_s,
        }
    })
}

fn header() -> impl Strategy<Value = Header> {
    (key(), any::<u64>(), any::<u128>()).prop_map(|(key, sequence, tag)| Header {
        key,
        sequence: Sequence(sequence),
        tag,
    })
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        prop::collection::vec(object(), 0..5).prop_map(Message::Flood),
        (any::<u32>(), any::<u64>(), any::<bool>()).prop_map(|(count, bucket, restoring)| {
            let buckets = [bucket; 64];
            let digest = Digest { count, buckets };
            Message::Digest { digest, restoring }
        }),
        (
            any::<u64>(),
            prop::collection::vec(header(), 0..20),
            prop::option::of(key()),
            prop::option::of(key()),
        )
            .prop_map(|(bucket_mask, headers, from, to)| Message::Summary {
                bucket_mask,
                headers,
                from,
                to,
            }),
        prop::collection::vec(key(), 0..20).prop_map(Message::Request),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let id = || (0..4u16).prop_map(AdjacencyId);
    let session = || (0..4u64).prop_map(SessionId);
    prop_oneof![
        (id(), any::<bool>()).prop_map(|(id, up)| Event::LinkHello { id, up }),
        id().prop_map(Event::LinkRemoved),
        (session(), id(), 0..4u32, id()).prop_map(|(session, link, peer, peer_link)| {
            Event::SessionUp {
                session,
                link,
                peer: NodeId(peer),
                peer_link,
            }
        }),
        session().prop_map(Event::SessionDown),
        (session(), message()).prop_map(|(session, message)| Event::Received { session, message }),
        any::<bool>().prop_map(Event::Drain),
        any::<u64>().prop_map(|version| Event::Programmed { version }),
        Just(Event::Leave),
        Just(Event::Tick),
        prop::collection::vec(any::<u8>(), 0..99).prop_map(|b| Event::Revocation(b.into())),
        prop::collection::vec(any::<u8>(), 0..99).prop_map(|b| Event::RootRevocation(b.into())),
        prop::collection::vec(any::<u8>(), 0..99)
            .prop_map(|b| Event::Authorisations(vec![b.into()])),
    ]
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(events in prop::collection::vec((event(), 0..3_000u64, -9i64..9), 0..60)) {
        let mut sim = Sim::default();
        sim.add_node(1, "sg");
        for peer in 2..4u32 {
            sim.add_node(peer, "sr");
            sim.add_link([(1, u16::try_from(peer).unwrap()), (peer, 1)], 10, 10);
        }
        sim.start(1, false);
        let mut now = sim.time(1);
        for (event, wait, jump) in events {
            now.mono += ms(wait);
            now.wall = now.wall.saturating_add(ms(wait));
            now.wall = if jump < 0 { now.wall.saturating_sub(secs(jump.unsigned_abs())) } else { now.wall };
            let engine = sim.engine_mut(1);
            for action in engine.handle(now, event) {
                if let Action::Wake(session) = action {
                    let mut messages = 0;
                    while engine.next_message(now, session).is_some() {
                        messages += 1;
                        prop_assert!(messages < 20, "it never ends");
                    }
                }
            }
            prop_assert!(engine.next_deadline().is_none_or(|at| at > now.mono));
        }
    }

    #[test]
    fn any_bytes_are_a_body_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = dmsc_linkstate::engine::body::adjacency(&bytes);
        let _ = dmsc_linkstate::engine::body::prefixes(&bytes);
    }

    /// Mutations of a good body, which reach further than random bytes.
    #[test]
    fn mutated_bodies_are_bodies_or_errors(at in any::<usize>(), byte in any::<u8>(), cut in any::<usize>()) {
        use dmsc_linkstate::engine::body::{AdjacencyBody, Link, adjacency, prefixes};
        use prost::Message as _;
        let link = Link { peer: 2, id: 1, peer_id: 3, metric: 10, delay_us: 10, capacity_kbps: 5, measured_delay_us: Some(100), available_kbps: Some(3), ..Link::default() };
        let body = AdjacencyBody { links: vec![link; 3], ..AdjacencyBody::default() };
        let mut bytes = body.encode_to_vec();
        let length = bytes.len();
        bytes[at % length] = byte;
        bytes.truncate(cut % (length + 1));
        if let Ok(body) = adjacency(&bytes) {
            prop_assert!(body.links.iter().all(|link| link.metric > 0 && link.peer > 0));
        }
        let _ = prefixes(&bytes);
    }
}
