//! What costs nothing: refreshes, and changes that change no way.

use dmsc_linkstate::engine::body::{AdjacencyBody, Link};

use super::*;

type Change<'a> = &'a dyn Fn(&mut AdjacencyBody);

#[test]
fn a_refresh_of_prefixes_judges_none_again_and_changes_nothing() {
    let mut sim = line_with(|config| config.lifetime_s = 60);
    let texts: Vec<String> = (0..100).map(|n| format!("/one/p{n}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    sim.announce(1, &texts);
    sim.run(secs(5));
    let judged = |sim: &Sim| -> Vec<u64> { (1..=3).map(|id| sim.engine(id).judged()).collect() };
    let deltas = |sim: &Sim| -> Vec<usize> {
        let nodes = sim.nodes.values();
        nodes.map(|node| node.deltas.len()).collect()
    };
    let (before, told) = (judged(&sim), deltas(&sim));
    let sequence = |sim: &Sim| stored(sim, 3, Kind::PREFIX, 1).sequence;
    let first = sequence(&sim);
    sim.run(secs(100));
    assert!(sequence(&sim) > first, "refreshed");
    assert_eq!(judged(&sim), before);
    assert_eq!(deltas(&sim), told);
    // One that does change is judged, and its object only.
    sim.withdraw(1, "/one/p7");
    sim.run(secs(1));
    assert_eq!(sim.members(3, "/one/p7"), []);
    assert!(judged(&sim)[2] - before[2] <= 2 * 64);
    // What the prefixes depend on is judged when it changes, refreshed or not.
    let revocation = WireRevocation {
        serial: 1,
        name: "/one/p8".into(),
        issued_before_s: sim.wall_s(),
        until_s: sim.wall_s() + 86_400,
        ..WireRevocation::default()
    };
    sim.handle(3, Event::Revocation(revocation.signed()));
    sim.run(secs(100));
    for id in 1..=3 {
        assert_eq!(sim.members(id, "/one/p8"), []);
        assert_eq!(sim.members(id, "/one/p9"), [1]);
    }
    assert!(sim.digests_equal());
}

#[test]
fn what_changes_no_way_is_not_computed() {
    let mut sim = line();
    sim.run(secs(2));
    sim.dropped.insert((2, 3)); // or node 3 would take it back
    let told = stored(&sim, 2, Kind::ADJACENCY, 3);
    let body = AdjacencyBody::decode(told.body.clone()).unwrap();
    let mut sequence = HIGH;
    let mut say_body = |sim: &mut Sim, body: &AdjacencyBody| {
        sequence += 1;
        let before = sim.engine(2).computations();
        let body = Bytes::from(body.encode_to_vec());
        let object = object(sim, 3, 3, Kind::ADJACENCY, 1, sequence, body);
        say(sim, Message::Flood(vec![object]));
        sim.run(secs(3));
        assert_eq!(stored(sim, 2, Kind::ADJACENCY, 3).sequence.0, sequence);
        sim.engine(2).computations() - before
    };
    let with = |change: Change<'_>| {
        let mut body = body.clone();
        change(&mut body);
        body
    };
    let one_way = Link {
        peer: 1,
        id: 9,
        peer_id: 9,
        metric: 1,
        delay_us: 1,
        capacity_kbps: 0,
        ..Link::default()
    };
    let nothing: [(&str, Change<'_>); 4] = [
        ("texts", &|body| {
            body.name = "another".into();
            body.software = "9".into();
        }),
        ("capacity", &|body| body.links[0].capacity_kbps = 7),
        ("figures", &|body| {
            body.links[0].measured_delay_us = Some(900);
            body.links[0].loss_ppm = Some(20_000);
        }),
        ("one-way", &|body| body.links.push(one_way)),
    ];
    for (what, change) in nothing {
        assert_eq!(say_body(&mut sim, &with(change)), 0, "{what}");
    }
    let something: [(&str, Change<'_>); 4] = [
        ("metric", &|body| body.links[0].metric = 7),
        ("delay", &|body| body.links[0].delay_us = 7),
        ("overload", &|body| body.overload = true),
        ("no link", &|body| body.links.clear()),
    ];
    for (what, change) in something {
        assert_eq!(say_body(&mut sim, &with(change)), 1, "{what}");
        assert_eq!(say_body(&mut sim, &body), 1, "{what}");
    }
}
