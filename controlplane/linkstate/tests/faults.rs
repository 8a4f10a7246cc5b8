//! What neighbours may do wrong, by accident or on purpose: no table changes, nothing grows without bound, nothing storms.

mod sim;

use std::sync::atomic::Ordering;

use bytes::Bytes;
use dmsc_linkstate::engine::body::{AnnouncedPrefix, PrefixBody};
use dmsc_linkstate::object::{FLAG_PURGE, MAX_BODY};
use dmsc_linkstate::{
    Alarm, Digest, Event, Key, Kind, Message, NodeId, Object, Sequence, SessionId, Signer as _,
};
use prost::Message as _;
use sim::crypto::{NodeSigner, WireAuthorisation, WireRevocation};
use sim::{EPOCH_S, Sim, Tables, ms, name, secs};

/// A line of three: 1 — 2 — 3, prefixes at 1 and 3.
fn line() -> Sim {
    line_with(2_000)
}

fn line_with(objects_per_second: u32) -> Sim {
    let mut sim = Sim::default();
    for id in 1..=3 {
        sim.add_node(id, "sg");
        sim.node(id).config.objects_per_second = objects_per_second;
    }
    sim.add_link([(1, 1), (2, 1)], 10, 10);
    sim.add_link([(2, 2), (3, 1)], 10, 10);
    for id in 1..=3 {
        sim.start(id, false);
    }
    sim.set_link(1, 2, true);
    sim.set_link(2, 3, true);
    sim.authorise(1, &["/one"], 3_600, 60);
    sim.authorise(3, &["/three"], 3_600, 60);
    sim.announce(1, &["/one/a"]);
    sim.announce(3, &["/three/a"]);
    sim.run(secs(4));
    assert!(sim.digests_equal());
    assert_eq!(sim.members(3, "/one/a"), [1]);
    sim
}

/// What all dataplanes have, whatever the number of the last delta.
fn tables(sim: &Sim) -> Vec<Tables> {
    let tables = |node: &sim::Node| Tables {
        version: 0,
        ..node.tables.clone()
    };
    sim.nodes.values().map(tables).collect()
}

/// Node 3's stream to node 2 says this, as if node 3 were somebody else.
fn say(sim: &mut Sim, message: Message) {
    let session = sim.session_between(2, 3).unwrap();
    sim.handle(2, Event::Received { session, message });
}

/// An object of `node`, signed with the key of `seed`.
fn object(
    sim: &Sim,
    node: u32,
    seed: u32,
    kind: Kind,
    id: u64,
    sequence: u64,
    body: Bytes,
) -> Object {
    let signer = NodeSigner::new(node, seed, EPOCH_S);
    let mut object = Object {
        key: Key {
            kind,
            origin: NodeId(node),
            id,
        },
        flags: 0,
        sequence: Sequence(sequence),
        lifetime_s: 3_600,
        area: 0,
        originated_at_ms: sim.wall_s() * 1_000,
        body,
        signature: [0; 64],
        certificate: signer.certificate(),
        age_s: 0,
    };
    object.signature = signer.sign(&object.signed_bytes());
    object
}

fn resigned(mut object: Object, seed: u32) -> Object {
    let signer = NodeSigner::new(object.key.origin.0, seed, EPOCH_S);
    object.signature = signer.sign(&object.signed_bytes());
    object
}

fn prefixes(names: &[&str]) -> Bytes {
    let prefixes = names
        .iter()
        .map(|text| AnnouncedPrefix {
            domain: 1,
            name: Bytes::copy_from_slice(name(text).as_bytes()),
            ..AnnouncedPrefix::default()
        })
        .collect();
    Bytes::from(PrefixBody { prefixes }.encode_to_vec())
}

fn stored(sim: &Sim, at: u32, kind: Kind, origin: u32) -> Object {
    sim.engine(at)
        .entries(sim.time(at))
        .iter()
        .find(|entry| entry.object.key.kind == kind && entry.object.key.origin == NodeId(origin))
        .map(|entry| entry.object.clone())
        .unwrap()
}

const HIGH: u64 = 9 << 32;

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
        ("spent on the way", signed(&|o| o.age_s = 3_600)),
        ("kind 0", signed(&|o| o.key.kind = Kind(0))),
        ("origin 0", signed(&|o| o.key.origin = NodeId(0))),
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
fn a_flood_of_objects_costs_a_bounded_number_of_verifications() {
    let mut sim = line_with(200);
    let before = tables(&sim);
    let verifications = sim.nodes[&2].verifications.clone();
    let counted = verifications.load(Ordering::Relaxed);
    let template = object(&sim, 3, 3, Kind::PREFIX, 1, HIGH, prefixes(&["/three/x"]));
    // 100,000 forged objects in one second, each with an id that is new, from an origin that is known.
    for step in 0..100u64 {
        let objects = (0..1_000)
            .map(|n| {
                let mut object = template.clone();
                object.key.id = 1_000 + step * 1_000 + n;
                object
            })
            .collect();
        say(&mut sim, Message::Flood(objects));
        sim.run(ms(10));
    }
    let spent = verifications.load(Ordering::Relaxed) - counted;
    // 200 a second after a burst of 2,000: as configured here.
    assert!(spent <= 2_210, "{spent} verifications");
    let sizes = sim.engine(2).sizes();
    assert!(
        sizes.objects < 20 && sizes.waiting == 0 && sizes.deferred == 0,
        "{sizes:?}"
    );
    assert_eq!(tables(&sim), before);
    assert!(sim.alarms(2).is_empty());
    // Well-signed ones from one origin end at its limit.
    sim.run(secs(20));
    let mut config = sim.nodes[&2].config.clone();
    config.objects_per_origin = 500;
    sim.node(2).config = config;
    sim.kill(2);
    sim.start(2, true);
    sim.run(secs(3));
    for id in 0..1_000 {
        let object = object(&sim, 4, 4, Kind(77), id, HIGH, Bytes::from_static(b"x"));
        say(&mut sim, Message::Flood(vec![object]));
    }
    assert!(sim.engine(2).sizes().objects <= 500 + 20);
    assert!(sim.alarms(2).contains(&Alarm::DatabaseFull));
    sim.run(ms(100));
    assert_eq!(sim.members(2, "/one/a"), [1]);
}

#[test]
fn versions_that_come_too_fast_are_taken_one_by_one_and_the_last_one_counts() {
    let mut sim = line();
    let objects = sim.objects;
    for version in 0..1_000u64 {
        let names = [format!("/three/v{version}")];
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let object = object(
            &sim,
            3,
            3,
            Kind::PREFIX,
            7,
            HIGH + version,
            prefixes(&names),
        );
        say(&mut sim, Message::Flood(vec![object]));
        sim.run(ms(1));
        assert!(sim.engine(2).sizes().deferred <= 1);
    }
    sim.run(ms(200));
    assert_eq!(sim.members(1, "/three/v999"), [3]);
    let flooded = sim.objects - objects;
    // 1 s / 20 ms to one side, and node 3, whose object it says to be, answers.
    assert!(flooded <= 150, "{flooded} objects were flooded");
    // A purge that is too fast is late, not lost.
    let mut purge = object(&sim, 3, 3, Kind::PREFIX, 7, HIGH + 5_000, Bytes::new());
    let last = object(
        &sim,
        3,
        3,
        Kind::PREFIX,
        7,
        HIGH + 4_999,
        prefixes(&["/three/last"]),
    );
    purge.flags = FLAG_PURGE;
    let purge = resigned(purge, 3);
    sim.run(ms(50));
    say(&mut sim, Message::Flood(vec![last, purge]));
    sim.run(ms(100));
    assert!(sim.members(1, "/three/last").is_empty());
}

#[test]
fn a_neighbour_that_never_reads_costs_keys_not_objects() {
    let mut sim = line();
    sim.node(3).stopped = true;
    sim.set_session_timeout(2, secs(3_600));
    let mut most = 0;
    for step in 0..600u32 {
        // Churn: one prefix comes and goes, and one more comes.
        if step % 2 == 0 {
            sim.announce(1, &["/one/churn"]);
        } else {
            sim.withdraw(1, "/one/churn");
        }
        sim.announce(1, &[&format!("/one/n{step}")]);
        sim.run(ms(100));
        most = most.max(sim.engine(2).sizes().to_send);
    }
    let objects = sim.engine(2).sizes().objects;
    assert!(most <= objects + 5, "{most} keys for {objects} objects");
    assert_eq!(sim.members(2, "/one/n599"), [1]);
    sim.resume(3);
    sim.run(secs(5));
    assert_eq!(sim.members(3, "/one/n599"), [1]);
    assert!(sim.digests_equal());
}

#[test]
fn a_silent_stream_is_closed_and_the_adjacency_stays() {
    let mut sim = line();
    sim.node(3).stopped = true;
    let before = sim.nodes[&1].tables.clone();
    sim.run(secs(60));
    assert!(!sim.nodes[&2].closes.is_empty());
    assert!(
        sim.nodes[&1].tables.same(&before),
        "hellos run, so the link is up"
    );
    sim.resume(3);
    sim.run(secs(5));
    assert!(sim.digests_equal());
}

#[test]
fn digests_that_lie_cause_a_bounded_number_of_messages() {
    let mut sim = line();
    let before = tables(&sim);
    sim.run(secs(5));
    let sent = sim.messages;
    let objects = sim.objects;
    for step in 0..6_000u64 {
        let digest = Digest {
            count: 1_000,
            buckets: [step; 64],
        };
        say(&mut sim, Message::Digest(digest));
        sim.run(ms(10));
    }
    // 60 s. Digests alone: 2 streams, both ends, every 2 s: 120. The lie: one summary per pace of 2, 4, 8, 16, 30 s and its answer — but node 3
    // itself says the truth in between, which sets the pace back to 2 s: at most 30 summaries and 30 answers.
    let sent = sim.messages - sent;
    assert!(sent <= 120 + 60 + 10, "{sent} messages");
    assert_eq!(sim.objects - objects, 0);
    // Without the truth in between.
    sim.node(3).stopped = true;
    sim.set_session_timeout(2, secs(3_600));
    let mut summaries = 0;
    let session = sim.session_between(2, 3).unwrap();
    for step in 0..12_000u64 {
        let digest = Digest {
            count: 1_000,
            buckets: [step; 64],
        };
        say(&mut sim, Message::Digest(digest));
        summaries += drain(&mut sim, session);
        sim.run(ms(10));
    }
    assert!(summaries <= 10, "{summaries} summaries in 120 s");
    assert_eq!(tables(&sim), before);
}

/// Reads what node 2 has for the stream, and counts summaries.
fn drain(sim: &mut Sim, session: SessionId) -> usize {
    let now = sim.time(2);
    let mut summaries = 0;
    while let Some(message) = sim.engine_mut(2).next_message(now, session) {
        summaries += usize::from(matches!(message, Message::Summary { .. }));
    }
    summaries
}

#[test]
fn summaries_and_requests_that_lie_are_bounded_too() {
    let mut sim = line();
    let before = tables(&sim);
    sim.node(3).stopped = true;
    sim.set_session_timeout(2, secs(3_600));
    let session = sim.session_between(2, 3).unwrap();
    let mut objects = 0;
    let mut keys = 0;
    for step in 0..600u64 {
        let headers = (0..1_000)
            .map(|n| {
                let key = Key {
                    kind: Kind::PREFIX,
                    origin: NodeId(3),
                    id: step * 1_000 + n,
                };
                (key, Sequence(HIGH))
            })
            .collect();
        let bucket_mask = u64::MAX;
        say(
            &mut sim,
            Message::Summary {
                bucket_mask,
                headers,
            },
        );
        let all: Vec<Key> = sim
            .engine(2)
            .entries(sim.time(2))
            .iter()
            .map(|entry| entry.object.key)
            .collect();
        say(&mut sim, Message::Request(all));
        assert!(sim.engine(2).sizes().to_send <= 20_000 + 20);
        sim.run(ms(100));
        let now = sim.time(2);
        while let Some(message) = sim.engine_mut(2).next_message(now, session) {
            match message {
                Message::Flood(flood) => objects += flood.len(),
                Message::Request(request) => keys += request.len(),
                _ => {}
            }
        }
    }
    // 60 s: asked once per pace for at most 20,000 keys; 2,000 objects a second on request after a burst of 20,000.
    assert!(keys <= 30 * 1_000, "{keys} keys asked for");
    assert!(objects <= 20_000 + 60 * 2_000, "{objects} objects sent");
    assert_eq!(tables(&sim), before);
}

#[test]
fn a_clock_that_jumps_raises_an_alarm_and_nothing_expires() {
    let mut sim = line();
    let before = tables(&sim);
    for jump in [86_400, -172_800] {
        sim.node(2).wall_skew += jump;
        sim.run(secs(60));
        assert_eq!(sim.alarms(2), [Alarm::ClockJump], "{jump}");
        assert_eq!(tables(&sim), before);
        // What it says meanwhile is believed by others, because it says it with the time of before.
        sim.set_metric(1, 2, 10);
    }
    sim.node(2).wall_skew = 0;
    sim.run(secs(10));
    assert!(sim.alarms(2).is_empty());
    assert_eq!(sim.nodes[&2].alarms, ["ClockJump", "ClockJump over"]);
    assert_eq!(tables(&sim), before);
    assert!(sim.digests_equal());
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
    sim.handle(2, Event::NodeRevocation(Bytes::from_static(b"garbage")));
    assert_eq!(sim.nodes[&2].kept.len(), 1);
}

#[test]
fn a_stream_over_an_adjacency_that_is_not_is_closed() {
    let mut sim = line();
    let before = tables(&sim);
    let session = SessionId(999);
    for (link, peer) in [(7, 3), (1, 3)] {
        let event = Event::SessionUp {
            session,
            link: dmsc_linkstate::AdjacencyId(link),
            peer: NodeId(peer),
            peer_link: dmsc_linkstate::AdjacencyId(1),
        };
        sim.handle(2, event);
    }
    assert_eq!(sim.nodes[&2].closes.len(), 2);
    let message = Message::Flood(Vec::new());
    sim.handle(2, Event::Received { session, message });
    sim.run(secs(1));
    assert_eq!(tables(&sim), before);
}

#[test]
fn objects_of_a_dead_node_end_and_those_of_the_living_do_not() {
    let mut sim = Sim::default();
    for id in 1..=3 {
        sim.add_node(id, "sg");
        sim.node(id).config.lifetime_s = 60;
    }
    sim.add_link([(1, 1), (2, 1)], 10, 10);
    sim.add_link([(2, 2), (3, 1)], 10, 10);
    for id in 1..=3 {
        sim.start(id, false);
    }
    sim.set_link(1, 2, true);
    sim.set_link(2, 3, true);
    sim.authorise(1, &["/one"], 3_600, 60);
    sim.authorise(3, &["/three"], 3_600, 60);
    sim.announce(1, &["/one/a"]);
    sim.announce(3, &["/three/a"]);
    sim.run(secs(300));
    assert_eq!(sim.members(3, "/one/a"), [1], "refreshed many times");
    assert!(sim.nodes[&3].lost.is_empty());
    let deltas = sim.nodes[&3].deltas.len();
    sim.run(secs(300));
    assert_eq!(
        sim.nodes[&3].deltas.len(),
        deltas,
        "a refresh changes nothing"
    );
    sim.set_link(1, 2, false);
    sim.kill(1);
    sim.run(secs(30));
    assert_eq!(sim.members(3, "/one/a"), [1]);
    sim.run(secs(40));
    assert!(sim.members(3, "/one/a").is_empty());
    assert_eq!(sim.engine(3).sizes().objects, 4);
    let (two, three) = (sim.engine(2).digest(), sim.engine(3).digest());
    assert_eq!(two, three);
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
fn stages_of_a_change_are_timed() {
    use dmsc_linkstate::engine::Stage;
    let mut sim = line();
    for id in 1..=3 {
        sim.engine_mut(id).take_stage_times();
    }
    sim.announce(1, &["/one/b"]);
    sim.run(ms(100));
    let at_1 = sim.engine_mut(1).take_stage_times();
    let at_3 = sim.engine_mut(3).take_stage_times();
    let time = |times: &[(Stage, u64)], stage| {
        let found = times.iter().find(|(at, _)| *at == stage);
        found.map(|(_, us)| *us)
    };
    // 5 ms are gathered, each hop takes 0.5 ms, a dataplane 1 ms.
    assert_eq!(time(&at_1, Stage::AnnouncedOriginated), Some(5_000));
    assert_eq!(time(&at_3, Stage::OriginatedReceived), Some(1_000));
    assert_eq!(time(&at_3, Stage::ReceivedVerified), Some(0));
    assert_eq!(time(&at_3, Stage::VerifiedRouted), Some(0));
    assert_eq!(time(&at_3, Stage::RoutedProgrammed), Some(1_000));
    assert_eq!(time(&at_3, Stage::AnnouncedProgrammed), Some(7_000));
    assert_eq!(sim.engine_mut(3).take_stage_times(), []);
}

#[test]
fn twenty_thousand_names_are_everywhere_and_one_change_costs_one_object() {
    let mut sim = line();
    let names: Vec<String> = (0..20_000).map(|n| format!("/one/n{n}")).collect();
    for batch in names.chunks(500) {
        let batch: Vec<&str> = batch.iter().map(String::as_str).collect();
        sim.announce(1, &batch);
        sim.run(ms(1));
    }
    sim.run(ms(200));
    assert_eq!(sim.engine(3).prefix_count(), 20_002);
    assert!(sim.digests_equal());
    let objects = sim.objects;
    let deltas = sim.nodes[&3].deltas.len();
    sim.withdraw(1, "/one/n777");
    sim.run(ms(500));
    assert_eq!(sim.objects - objects, 2, "one object over two links");
    let new = &sim.nodes[&3].deltas[deltas..];
    assert_eq!(
        new.iter().map(|delta| delta.prefixes.len()).sum::<usize>(),
        1
    );
}
