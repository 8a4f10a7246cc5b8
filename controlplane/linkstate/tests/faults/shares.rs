//! Who may take how much of the database, and that all keep the same part of what is too much.

use super::exchange::say_as;
use super::*;

fn keys(sim: &Sim, at: u32, origin: u32) -> Vec<Key> {
    let keys = sim.engine(at).entries(sim.time(at));
    keys.iter()
        .map(|entry| entry.object.key)
        .filter(|key| key.origin == NodeId(origin))
        .collect()
}

fn of_kind(sim: &Sim, at: u32, origin: u32, kind: Kind) -> usize {
    let keys = keys(sim, at, origin);
    keys.iter().filter(|key| key.kind == kind).count()
}

/// Revocations of names that nobody has.
fn revocations(sim: &Sim, count: u64) -> Vec<Bytes> {
    let one = |n: u64| WireRevocation {
        serial: n,
        name: format!("/none/n{n}"),
        issued_before_s: sim.wall_s(),
        until_s: sim.wall_s() + 86_400,
        ..WireRevocation::default()
    };
    (0..count).map(|n| one(n).signed()).collect()
}

#[test]
fn of_what_is_too_much_all_keep_the_same_whatever_comes_first() {
    let mut sim = line_with(|config| config.objects = 400);
    let lost = [(1, 2), (2, 1), (2, 3), (3, 2)];
    sim.dropped.extend(lost);
    // A quarter of 400 objects and 204,800 bytes: 150 objects of up to 5,000 bytes are too many and too large.
    let objects: Vec<Object> = (0..150u64)
        .map(|n| {
            let kind = Kind(77 + u8::try_from(n % 3).unwrap());
            let size = usize::try_from(n * 7_919 % 5_000).unwrap();
            object(&sim, 4, 4, kind, n * 31 % 150, HIGH, vec![7; size].into())
        })
        .collect();
    for object in &objects {
        say_as(&mut sim, 2, 1, Message::Flood(vec![object.clone()]));
    }
    for object in objects.iter().rev() {
        say_as(&mut sim, 2, 3, Message::Flood(vec![object.clone()]));
    }
    sim.run(ms(100));
    sim.dropped.clear();
    sim.run(secs(60));
    assert!(sim.digests_equal(), "{}", sim.describe());
    let kept = keys(&sim, 2, 4);
    assert!((30..=100).contains(&kept.len()), "{} kept", kept.len());
    // Those that are first in the order, not those that came first.
    let mut first: Vec<Key> = objects.iter().map(|object| object.key).collect();
    first.sort();
    assert_eq!(kept[..30], first[..30]);
    // Who has all of it and says so for ever causes ever fewer summaries: 2, 4, 8, 16, then 30 s apart.
    let (messages, flooded) = (sim.messages, sim.objects);
    sim.run(secs(120));
    assert_eq!(sim.objects - flooded, 0);
    let said = sim.messages - messages;
    assert!(
        said <= 4 * 60 + 4,
        "{said} messages: more than a digest every 2 s"
    );
    assert!(sim.alarms(1).is_empty(), "60 s without a refusal");
}

#[test]
fn statements_have_a_share_of_their_own() {
    let mut sim = line_with(|config| config.objects = 400);
    for body in revocations(&sim, 80) {
        let id = dmsc_linkstate::engine::body_id(&body);
        let object = object(&sim, 4, 4, Kind::REVOCATION, id, HIGH, body);
        say(&mut sim, Message::Flood(vec![object]));
    }
    assert_eq!(of_kind(&sim, 2, 4, Kind::REVOCATION), 50);
    assert!(sim.alarms(2).contains(&Alarm::DatabaseFull));
    assert!(
        sim.engine(2).revocations().len() >= 50,
        "what gave way stays in force"
    );
    // What it says of itself fits as before, …
    for id in 0..120 {
        let object = object(&sim, 4, 4, Kind(77), id, HIGH, Bytes::from_static(b"x"));
        say(&mut sim, Message::Flood(vec![object]));
    }
    assert_eq!(of_kind(&sim, 2, 4, Kind(77)), 100);
    // … and its adjacency object, whatever else it said.
    let links = object(&sim, 4, 4, Kind::ADJACENCY, 1, HIGH, Bytes::new());
    say(&mut sim, Message::Flood(vec![links]));
    assert_eq!(of_kind(&sim, 2, 4, Kind::ADJACENCY), 1);
    // It admits prefixes before it says what nobody knows.
    let links = object(&sim, 4, 4, Kind(70), 1, HIGH, Bytes::from_static(b"x"));
    say(&mut sim, Message::Flood(vec![links]));
    assert_eq!(of_kind(&sim, 2, 4, Kind(70)), 1);
    assert_eq!(of_kind(&sim, 2, 4, Kind(77)), 99);
}

#[test]
fn who_is_told_too_many_statements_still_says_its_prefixes() {
    let mut sim = line_with(|config| config.objects = 400);
    let bodies = revocations(&sim, 60);
    for body in &bodies {
        sim.handle(1, Event::Revocation(body.clone()));
    }
    sim.run(secs(80));
    // Half of its share of 100, and an eighth of that is left free.
    assert_eq!(of_kind(&sim, 3, 1, Kind::REVOCATION), 44);
    assert_eq!(sim.engine(1).revocations().len(), 60);
    assert!(sim.alarms(1).contains(&Alarm::DatabaseFull));
    sim.announce(1, &["/one/more"]);
    sim.run(secs(1));
    assert_eq!(sim.members(3, "/one/more"), [1]);
    // The authority tells others too: they carry the rest, in their turns.
    for body in &bodies {
        sim.handle(2, Event::Revocation(body.clone()));
    }
    sim.run(secs(80));
    assert_eq!(sim.engine(3).revocations().len(), 60);
    assert_eq!(of_kind(&sim, 3, 1, Kind::REVOCATION), 44);
    assert_eq!(of_kind(&sim, 3, 2, Kind::REVOCATION), 16);
    assert!(sim.digests_equal());
    sim.run(secs(80));
    assert!(sim.alarms(1).is_empty(), "{:?}", sim.alarms(1));
}

#[test]
fn a_database_that_is_full_still_takes_the_links_of_a_node() {
    let mut sim = line_with(|config| config.objects = 400);
    for origin in 4..=8 {
        for id in 0..100 {
            let object = object(
                &sim,
                origin,
                origin,
                Kind(77),
                id,
                HIGH,
                Bytes::from_static(b"x"),
            );
            say(&mut sim, Message::Flood(vec![object]));
        }
    }
    assert_eq!(sim.engine(2).sizes().objects, 400);
    for origin in [4, 9] {
        let links = object(&sim, origin, origin, Kind::ADJACENCY, 1, HIGH, Bytes::new());
        say(&mut sim, Message::Flood(vec![links]));
        assert_eq!(of_kind(&sim, 2, origin, Kind::ADJACENCY), 1);
    }
    // Nor does that push out or keep out what this node says itself.
    sim.authorise(2, &["/two"], 3_600, 60);
    sim.announce(2, &["/two/a"]);
    sim.run(secs(1));
    assert_eq!(sim.members(2, "/two/a"), [2]);
}
