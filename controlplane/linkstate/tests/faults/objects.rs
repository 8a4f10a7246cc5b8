//! Objects that are wrong, one by one.

use super::*;

#[test]
fn objects_that_are_wrong_change_nothing_and_go_nowhere() {
    let mut sim = line();
    let before = tables(&sim);
    let digest = sim.engine(2).digest();
    let good = object(&sim, 3, 3, Kind::PREFIX, 1, HIGH, prefixes(&["/three/b"]));
    let with = |change: &dyn Fn(&mut Object)| {
        let mut object = good.clone();
        change(&mut object);
        object
    };
    let signed = |change: &dyn Fn(&mut Object)| resigned(with(change), 3);
    let now_ms = sim.wall_s() * 1_000;
    let wrong: Vec<(&str, Object)> = vec![
        ("forged body", with(&|o| o.body = prefixes(&["/three/x"]))),
        (
            "forged sequence",
            with(&|o| o.sequence = Sequence(HIGH + 1)),
        ),
        ("truncated body", with(&|o| o.body = o.body.slice(..5))),
        (
            "truncated and signed",
            signed(&|o| o.body = o.body.slice(..5)),
        ),
        ("no certificate", with(&|o| o.certificate = Bytes::new())),
        (
            "garbage certificate",
            with(&|o| o.certificate = Bytes::from_static(&[7; 108])),
        ),
        (
            "certificate of another",
            with(&|o| o.certificate = NodeSigner::new(2, 2, 0).certificate()),
        ),
        (
            "another's object, own key",
            signed(&|o| {
                o.key.origin = NodeId(1);
                o.body = prefixes(&["/one/b"]);
            }),
        ),
        (
            "purge of another's object",
            resigned(
                with(&|o| {
                    o.key.origin = NodeId(1);
                    o.flags = FLAG_PURGE;
                    o.body = Bytes::new();
                }),
                3,
            ),
        ),
        ("purge with a body", signed(&|o| o.flags = FLAG_PURGE)),
        ("another area", signed(&|o| o.area = 7)),
        ("no lifetime", signed(&|o| o.lifetime_s = 0)),
        ("life too long", signed(&|o| o.lifetime_s = 90_000)),
        (
            "replayed after its life",
            signed(&|o| o.originated_at_ms = now_ms - 3_700_000),
        ),
        (
            "from the future",
            signed(&|o| o.originated_at_ms = now_ms + 400_000),
        ),
        (
            "spent on the way",
            signed(&|o| {
                o.originated_at_ms = now_ms - 3_400_000;
                o.age_s = 3_600;
            }),
        ),
        ("kind 0", signed(&|o| o.key.kind = Kind(0))),
        ("origin 0", signed(&|o| o.key.origin = NodeId(0))),
        (
            "metric of a prefix",
            signed(&|o| o.body = one_prefix(|p| p.metric = 16_777_216)),
        ),
        (
            "domain of a prefix",
            signed(&|o| o.body = one_prefix(|p| p.domain = 0)),
        ),
        (
            "weight of a prefix",
            signed(&|o| o.body = one_prefix(|p| p.weight = 65_536)),
        ),
        (
            "17 domains of an export",
            signed(&|o| o.body = one_prefix(|p| p.export_domains = vec![1; 17])),
        ),
        (
            "exported under what is no name",
            signed(&|o| o.body = one_prefix(|p| p.export_name = Bytes::from_static(b"/x"))),
        ),
        (
            "of another gateway, beyond a limit",
            signed(&|o| {
                o.body = one_prefix(|p| {
                    p.gateway = 9;
                    p.metric = 16_777_216;
                });
            }),
        ),
        ("no prefixes", signed(&|o| o.body = prefixes(&[]))),
        (
            "reserved name",
            signed(&|o| o.body = prefixes(&["/dmsc/3"])),
        ),
        (
            "65 prefixes",
            signed(&|o| o.body = prefixes(&["/three/x"; 65])),
        ),
        ("adjacency with a metric of 0", {
            let mut body = Vec::new();
            body.extend_from_slice(&[0x0a, 6, 0x08, 1, 0x10, 1, 0x18, 1]);
            object(&sim, 3, 3, Kind::ADJACENCY, 1, HIGH, Bytes::from(body))
        }),
        (
            "authorisation by nobody",
            object(
                &sim,
                3,
                3,
                Kind::AUTHORISATION,
                5,
                HIGH,
                Bytes::from_static(&[1; 80]),
            ),
        ),
        ("authorisation of another gateway", {
            let body = WireAuthorisation {
                serial: 9,
                domain: 1,
                gateway: 1,
                issued_at_s: sim.wall_s(),
                not_after_s: sim.wall_s() + 60,
                names: vec!["/x".into()],
                ..WireAuthorisation::default()
            };
            let body = body.signed();
            let id = dmsc_linkstate::engine::body_id(&body);
            object(&sim, 3, 3, Kind::AUTHORISATION, id, HIGH, body)
        }),
        ("revocation by nobody", {
            let body = Bytes::from_static(&[1; 80]);
            let id = dmsc_linkstate::engine::body_id(&body);
            object(&sim, 3, 3, Kind::REVOCATION, id, HIGH, body)
        }),
    ];
    let count = wrong.len() as u64;
    for (what, object) in wrong {
        say(&mut sim, Message::Flood(vec![object]));
        sim.run(ms(100));
        assert_eq!(sim.engine(2).digest(), digest, "{what}");
        assert_eq!(tables(&sim), before, "{what}");
    }
    let refused: u64 = sim.engine(2).sessions().iter().map(|s| s.refused).sum();
    assert_eq!(refused, count);
    assert_eq!(sim.engine(2).sizes().waiting, 0);
    // An old version is not even refused.
    let old = object(&sim, 3, 3, Kind::PREFIX, 1, 1, prefixes(&["/three/old"]));
    say(&mut sim, Message::Flood(vec![old]));
    sim.run(ms(100));
    assert_eq!(tables(&sim), before);
    // An object that is larger than any may be ends the stream; it comes back, and all is as before.
    let large = signed(&|o| o.body = Bytes::from(vec![0; MAX_BODY + 1]));
    say(&mut sim, Message::Flood(vec![large]));
    assert_eq!(sim.nodes[&2].closes.len(), 1);
    sim.run(secs(3));
    assert_eq!(tables(&sim), before);
    assert!(sim.digests_equal());
}

#[test]
fn prefixes_without_authorisation_wait_and_go_nowhere() {
    let mut sim = line();
    let before = tables(&sim);
    let stolen = object(
        &sim,
        3,
        3,
        Kind::PREFIX,
        9,
        HIGH,
        prefixes(&["/three/b", "/one/stolen"]),
    );
    say(&mut sim, Message::Flood(vec![stolen]));
    sim.run(ms(200));
    assert_eq!(sim.engine(2).sizes().waiting, 1);
    assert_eq!(sim.engine(1).sizes().waiting, 0, "not flooded");
    assert_eq!(tables(&sim), before);
    // Waiting is bounded by number and time.
    for id in 100..1_000 {
        let object = object(
            &sim,
            3,
            3,
            Kind::PREFIX,
            id,
            HIGH,
            prefixes(&["/one/stolen"]),
        );
        say(&mut sim, Message::Flood(vec![object]));
    }
    assert_eq!(sim.engine(2).sizes().waiting, 256);
    sim.run(secs(61));
    assert_eq!(sim.engine(2).sizes().waiting, 0);
    assert_eq!(tables(&sim), before);
}

#[test]
fn unknown_kinds_are_kept_and_flooded_and_change_no_table() {
    let mut sim = line();
    let before = tables(&sim);
    let unknown = object(&sim, 4, 4, Kind(77), 1, HIGH, Bytes::from_static(b"future"));
    say(&mut sim, Message::Flood(vec![unknown.clone()]));
    sim.run(secs(3));
    assert_eq!(stored(&sim, 1, Kind(77), 4).body, unknown.body);
    assert_eq!(tables(&sim), before);
}

#[test]
fn a_revocation_holds_after_its_object_is_purged() {
    let mut sim = line();
    let now_s = sim.wall_s();
    let revocation = WireRevocation {
        serial: 1,
        name: "/one".into(),
        gateway: 0,
        issued_before_s: now_s,
        until_s: now_s + 86_400,
        ..WireRevocation::default()
    };
    sim.handle(3, Event::Revocation(revocation.signed()));
    sim.run(ms(100));
    assert!(sim.members(1, "/one/a").is_empty());
    // Node 3 leaves and takes its objects along.
    sim.handle(3, Event::Leave);
    sim.run(secs(70));
    assert!(sim.members(2, "/one/a").is_empty());
    assert_eq!(sim.engine(1).revocations().len(), 1);
    // Garbage in its place is no revocation.
    sim.handle(2, Event::Revocation(Bytes::from_static(b"garbage")));
    sim.handle(2, Event::RootRevocation(Bytes::from_static(b"garbage")));
    assert_eq!(sim.nodes[&2].kept.len(), 1);
}

#[test]
fn a_link_counts_only_if_both_ends_name_it() {
    use dmsc_linkstate::engine::body::{AdjacencyBody, Link};
    let mut sim = line();
    let before = tables(&sim);
    // Node 4 is certified and says that it is joined to 1 and 3; or by ids that are those of other links.
    for (sequence, id, peer_id) in [(1, 1, 1), (2, 1, 2), (3, 7, 7)] {
        let link = |peer| Link {
            peer,
            id,
            peer_id,
            metric: 1,
            delay_us: 1,
            capacity_kbps: 0,
            ..Link::default()
        };
        let body = AdjacencyBody {
            links: vec![link(1), link(2), link(3)],
            ..AdjacencyBody::default()
        };
        let body = Bytes::from(body.encode_to_vec());
        let object = object(&sim, 4, 4, Kind::ADJACENCY, 1, HIGH + sequence, body);
        say(&mut sim, Message::Flood(vec![object]));
        sim.run(ms(200));
        assert_eq!(tables(&sim), before);
    }
    assert_eq!(
        stored(&sim, 1, Kind::ADJACENCY, 4).sequence,
        Sequence(HIGH + 3)
    );
}

#[test]
fn only_the_first_adjacency_object_of_a_node_counts() {
    use dmsc_linkstate::engine::body::{AdjacencyBody, Link};
    let mut sim = line();
    sim.add_node(4, "sr");
    sim.add_link([(4, 1), (2, 9)], 10, 10);
    sim.start(4, false);
    sim.set_link(4, 2, true);
    sim.run(secs(2));
    let before = tables(&sim);
    let cheaper = Link {
        peer: 2,
        id: 1,
        peer_id: 9,
        metric: 1,
        delay_us: 1,
        capacity_kbps: 0,
        ..Link::default()
    };
    let body = AdjacencyBody {
        links: vec![cheaper],
        ..AdjacencyBody::default()
    };
    sim.dropped.insert((2, 4)); // or node 4 would take it back
    let body = Bytes::from(body.encode_to_vec());
    let object = object(&sim, 4, 4, Kind::ADJACENCY, 2, HIGH, body);
    say(&mut sim, Message::Flood(vec![object]));
    sim.run(secs(1));
    assert_eq!(tables(&sim), before);
}

fn one_prefix(change: impl Fn(&mut AnnouncedPrefix)) -> Bytes {
    let mut prefix = AnnouncedPrefix {
        domain: 1,
        name: Bytes::copy_from_slice(name("/three/b").as_bytes()),
        ..AnnouncedPrefix::default()
    };
    change(&mut prefix);
    let prefixes = vec![prefix];
    Bytes::from(PrefixBody { prefixes }.encode_to_vec())
}

#[test]
fn limits_of_a_prefix_are_what_may_just_be() {
    let mut sim = line();
    let body = one_prefix(|prefix| {
        prefix.metric = 16_777_215;
        prefix.weight = 65_535;
        prefix.export_domains = vec![2; 16];
        prefix.export_name = Bytes::copy_from_slice(name("/here").as_bytes());
        prefix.gateway = 3;
    });
    sim.dropped.insert((2, 3));
    let object = object(&sim, 3, 3, Kind::PREFIX, 7, HIGH, body);
    say(&mut sim, Message::Flood(vec![object]));
    sim.run(ms(100));
    assert_eq!(sim.members(1, "/three/b"), [3]);
}

#[test]
fn a_prefix_of_another_gateway_is_passed_on_and_not_used() {
    let mut sim = line();
    let before = tables(&sim);
    sim.dropped.insert((2, 3));
    let body = one_prefix(|prefix| prefix.gateway = 9);
    let object = object(&sim, 3, 3, Kind::PREFIX, 7, HIGH, body.clone());
    say(&mut sim, Message::Flood(vec![object]));
    sim.run(secs(1));
    assert_eq!(tables(&sim), before);
    assert_eq!(sim.engine(2).sizes().waiting, 0);
    let entries = sim.engine(1).entries(sim.time(1));
    assert!(entries.iter().any(|entry| entry.object.body == body));
}

#[test]
fn an_authorisation_that_is_not_understood_is_passed_on_and_covers_nothing() {
    let mut sim = line();
    let before = tables(&sim);
    sim.dropped.insert((2, 3));
    for (gateway, conditions) in [(0, 0), (3, 1)] {
        let body = WireAuthorisation {
            serial: 9,
            domain: 1,
            gateway,
            issued_at_s: sim.wall_s(),
            not_after_s: sim.wall_s() + 600,
            names: vec!["/more".into()],
            conditions,
            ..WireAuthorisation::default()
        }
        .signed();
        let id = dmsc_linkstate::engine::body_id(&body);
        let object = object(&sim, 3, 3, Kind::AUTHORISATION, id, HIGH, body.clone());
        say(&mut sim, Message::Flood(vec![object]));
        sim.run(ms(100));
        let entries = sim.engine(1).entries(sim.time(1));
        assert!(entries.iter().any(|entry| entry.object.body == body));
    }
    let claim = object(&sim, 3, 3, Kind::PREFIX, 7, HIGH, prefixes(&["/more/x"]));
    say(&mut sim, Message::Flood(vec![claim]));
    sim.run(ms(100));
    assert_eq!(sim.engine(2).sizes().waiting, 1);
    assert_eq!(tables(&sim), before);
}

#[test]
fn what_was_purged_cannot_be_replayed_while_it_could_still_live() {
    let mut sim = line_with(|config| config.session_timeout = secs(9_000));
    sim.dropped.insert((2, 3)); // or node 3 would take it back
    let old = object(&sim, 3, 3, Kind::PREFIX, 7, HIGH, prefixes(&["/three/old"]));
    let mut purge = old.clone();
    purge.sequence = Sequence(HIGH + 1);
    purge.flags = FLAG_PURGE;
    purge.body = Bytes::new();
    let purge = resigned(purge, 3);
    say(&mut sim, Message::Flood(vec![old.clone()]));
    sim.run(ms(100));
    assert_eq!(sim.members(1, "/three/old"), [3]);
    say(&mut sim, Message::Flood(vec![purge]));
    sim.run(ms(100));
    for wait in [61, 540, 2_800] {
        sim.run(secs(wait));
        let gone = sim.engine(2).entries(sim.time(2));
        assert!(gone.iter().all(|entry| entry.object.key != old.key));
        let replayed = sim.objects;
        for at in [1, 2] {
            let other = 3 - at;
            let session = sim.session_between(at, other).unwrap();
            let message = Message::Flood(vec![old.clone()]);
            sim.handle(at, Event::Received { session, message });
            sim.run(ms(200));
            assert!(sim.members(at, "/three/old").is_empty(), "after {wait} s");
        }
        assert!(sim.objects > replayed, "whoever shows it is told");
        let gone = sim.engine(2).entries(sim.time(2));
        assert!(gone.iter().all(|entry| entry.object.key != old.key));
    }
    // After its lifetime it is refused for that.
    sim.run(secs(700));
    say(&mut sim, Message::Flood(vec![old]));
    sim.run(ms(100));
    assert!(sim.members(2, "/three/old").is_empty());
}

#[test]
fn who_missed_a_purge_for_long_learns_it_from_those_who_remember() {
    let mut sim = line();
    sim.set_link(1, 2, false);
    sim.withdraw(3, "/three/a");
    sim.run(secs(300));
    assert!(sim.members(2, "/three/a").is_empty());
    sim.set_link(1, 2, true);
    sim.run(secs(10));
    assert!(sim.members(1, "/three/a").is_empty());
    assert!(sim.digests_equal());
}

#[test]
fn what_is_over_is_remembered_as_long_as_an_older_version_could_be_sent() {
    let mut sim = line();
    // Heard of late: 50 minutes of the hour that they live are over.
    for sequence in [HIGH, HIGH + 1] {
        let mut object = object(&sim, 4, 4, Kind(77), 1, sequence, Bytes::from_static(b"x"));
        object.originated_at_ms -= 3_000_000;
        object.age_s = 3_000;
        say(&mut sim, Message::Flood(vec![resigned(object, 4)]));
        sim.run(secs(1));
    }
    sim.run(secs(650));
    assert_eq!(sim.engine(2).sizes().buried, 1);
    // 600 s and the tolerance of clocks, 300 s: not the whole hour anew.
    sim.run(secs(260));
    assert_eq!(sim.engine(2).sizes().buried, 0);
}

#[test]
fn nothing_is_announced_in_no_domain() {
    let mut sim = line();
    let before = tables(&sim);
    let announcement = dmsc_linkstate::event::Announcement {
        domain: dmsc_wire::Domain(0),
        name: name("/one/b"),
        metric: 0,
        weight: 1,
        announced_at_ms: 0,
    };
    sim.handle(1, Event::Announce(vec![announcement]));
    sim.run(secs(1));
    assert_eq!(tables(&sim), before);
    assert_eq!(sim.members(3, "/one/a"), [1], "in the same object");
}
