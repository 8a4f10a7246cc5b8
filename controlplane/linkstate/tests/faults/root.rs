//! What the root takes back.

use super::sim::crypto::AUTHORITY_KEY;
use super::*;
use ring::signature::KeyPair as _;

fn by_root(sim: &Sim, change: impl Fn(&mut WireRevocation)) -> Event {
    let mut revocation = WireRevocation {
        issued_before_s: sim.wall_s(),
        until_s: sim.wall_s() + 86_400,
        ..WireRevocation::default()
    };
    change(&mut revocation);
    Event::RootRevocation(revocation.signed_by_root())
}

#[test]
fn what_a_revoked_authority_allowed_is_gone_at_once_and_stays_gone() {
    let by: [fn(&mut WireRevocation); 2] = [
        |revocation| revocation.name = "test".into(),
        |revocation| revocation.keys = vec![AUTHORITY_KEY.to_vec()],
    ];
    for change in by {
        let mut sim = line();
        let taken_back = WireRevocation {
            name: "/three/other".into(),
            issued_before_s: sim.wall_s(),
            until_s: sim.wall_s() + 86_400,
            ..WireRevocation::default()
        };
        sim.handle(2, Event::Revocation(taken_back.signed()));
        let event = by_root(&sim, change);
        sim.handle(2, event);
        sim.run(ms(50));
        for at in 1..=3 {
            assert!(sim.members(at, "/one/a").is_empty());
            assert!(sim.members(at, "/three/a").is_empty());
            // What it took back stays so.
            assert_eq!(sim.engine(at).revocations().len(), 1);
            let authorisations = sim.engine(at).authorisations(sim.time(at));
            assert!(authorisations.iter().all(|(.., revoked)| *revoked));
        }
        // What it signs now, or signed before, counts no more; nodes are what they were.
        sim.authorise(3, &["/three"], 7_200, 60);
        sim.announce(3, &["/three/b"]);
        sim.run(secs(5));
        assert!(sim.members(1, "/three/b").is_empty());
        assert!(sim.nodes[&2].closes.is_empty());
        assert!(sim.digests_equal());
    }
}

#[test]
fn an_authority_with_a_later_certificate_is_another() {
    let mut sim = line();
    let event = by_root(&sim, |revocation| {
        revocation.name = "test".into();
        revocation.issued_before_s = EPOCH_S;
    });
    sim.handle(2, event);
    let event = by_root(&sim, |revocation| revocation.name = "somebody".into());
    sim.handle(2, event);
    sim.run(ms(50));
    assert_eq!(sim.members(3, "/one/a"), [1]);
}

#[test]
fn objects_with_a_revoked_key_are_gone_whoever_has_it() {
    let mut sim = line();
    let unknown = object(&sim, 4, 4, Kind(77), 1, HIGH, Bytes::from_static(b"x"));
    say(&mut sim, Message::Flood(vec![unknown.clone()]));
    sim.run(ms(100));
    let before = sim.engine(1).sizes().objects;
    // The keys of nodes 3 and 4, whenever they were certified.
    let keys = [3, 4].map(|seed| sim::crypto::key(seed).public_key().as_ref().to_vec());
    let event = by_root(&sim, |revocation| revocation.keys = keys.to_vec());
    sim.handle(1, event);
    sim.run(ms(100));
    for at in 1..=2 {
        assert!(sim.members(at, "/three/a").is_empty());
        let entries = sim.engine(at).entries(sim.time(at));
        let mut origins = entries.iter().map(|entry| entry.object.key.origin.0);
        assert!(origins.all(|origin| origin <= 2));
    }
    assert!(sim.engine(1).sizes().objects < before);
    assert_eq!(sim.nodes[&2].closes.len(), 1, "the stream to node 3");
    assert_eq!(sim.members(2, "/one/a"), [1]);
    // They do not come back with it.
    sim.run(secs(3));
    say(&mut sim, Message::Flood(vec![unknown]));
    sim.run(ms(100));
    let entries = sim.engine(2).entries(sim.time(2));
    assert!(entries.iter().all(|entry| entry.object.key.origin.0 <= 2));
    // Node 3 gets another key.
    sim.kill(3);
    sim.node(3).seed = 33;
    sim.start(3, true);
    sim.run(secs(10));
    assert_eq!(sim.members(1, "/three/a"), [3]);
}

#[test]
fn what_was_put_off_is_not_taken_when_its_key_is_revoked_meanwhile() {
    let mut sim = line();
    let first = object(&sim, 4, 4, Kind(77), 1, HIGH, Bytes::from_static(b"first"));
    // By another key of the same node.
    let second = object(&sim, 4, 44, Kind(77), 1, HIGH + 1, Bytes::from_static(b"2"));
    say(&mut sim, Message::Flood(vec![first.clone()]));
    sim.run(ms(1));
    say(&mut sim, Message::Flood(vec![second]));
    sim.run(ms(1));
    assert_eq!(sim.engine(2).sizes().deferred, 1);
    let key = sim::crypto::key(44).public_key().as_ref().to_vec();
    let event = by_root(&sim, |revocation| revocation.keys = vec![key.clone()]);
    sim.handle(2, event);
    sim.run(ms(100));
    assert_eq!(sim.engine(2).sizes().deferred, 0);
    assert_eq!(stored(&sim, 2, Kind(77), 4).body, first.body);
    let refused: u64 = sim.engine(2).sessions().iter().map(|s| s.refused).sum();
    assert_eq!(refused, 1);
}
