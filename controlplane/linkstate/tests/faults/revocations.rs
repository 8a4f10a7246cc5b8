//! What is revoked stays revoked, whoever is gone and whatever clocks show.

use super::*;

fn revoke_at(sim: &mut Sim, node: u32, until_s: u64) {
    let revocation = WireRevocation {
        serial: 1,
        name: "/one".into(),
        gateway: 0,
        issued_before_s: sim.wall_s(),
        until_s: sim.wall_s() + until_s,
        ..WireRevocation::default()
    };
    sim.handle(node, Event::Revocation(revocation.signed()));
    sim.run(ms(100));
    assert!(sim.members(2, "/one/a").is_empty());
}

fn carriers(sim: &Sim, at: u32) -> Vec<u32> {
    sim.engine(at)
        .entries(sim.time(at))
        .iter()
        .filter(|entry| entry.object.key.kind == Kind::REVOCATION && !entry.object.is_purge())
        .map(|entry| entry.object.key.origin.0)
        .collect()
}

#[test]
fn a_revocation_outlives_its_originator_once() {
    let mut sim = line_with(|config| config.lifetime_s = 120);
    revoke_at(&mut sim, 3, 86_400);
    sim.run(secs(300));
    assert_eq!(
        carriers(&sim, 2),
        [3],
        "nobody else says it as long as it does"
    );
    sim.set_link(2, 3, false);
    sim.kill(3);
    sim.run(secs(300));
    assert_eq!(carriers(&sim, 1), carriers(&sim, 2));
    assert_eq!(carriers(&sim, 2).len(), 1, "{:?}", carriers(&sim, 2));
    assert!(carriers(&sim, 2)[0] < 3);
    // Who comes later hears of it, and refuses what it ended.
    sim.add_node(4, "sg");
    sim.add_link([(4, 1), (2, 9)], 10, 10);
    sim.start(4, false);
    sim.set_link(4, 2, true);
    sim.run(secs(4));
    assert_eq!(sim.engine(4).revocations().len(), 1);
    assert!(sim.members(4, "/one/a").is_empty());
    assert_eq!(carriers(&sim, 4).len(), 1);
}

#[test]
fn what_another_carries_is_not_said_twice() {
    let mut sim = line();
    revoke_at(&mut sim, 3, 86_400);
    let body = sim.nodes[&2].kept[0].1.clone();
    // The authority tells another gateway too; and a third has it on its disk.
    sim.handle(2, Event::Revocation(body.clone()));
    sim.kill(1);
    sim.start(1, true);
    sim.handle(1, Event::Revocation(body));
    sim.run(secs(100));
    assert_eq!(carriers(&sim, 2), [3]);
    assert_eq!(sim.engine(1).revocations().len(), 1);
    // One that said it before its restart says it again.
    sim.kill(3);
    sim.start(3, true);
    sim.run(secs(100));
    assert_eq!(carriers(&sim, 2), [3]);
}

#[test]
fn a_revocation_outlives_an_originator_that_leaves() {
    let mut sim = line();
    revoke_at(&mut sim, 3, 86_400);
    sim.handle(3, Event::Leave);
    sim.run(secs(80));
    assert_eq!(carriers(&sim, 2).len(), 1);
    assert_ne!(carriers(&sim, 2), [3]);
}

#[test]
fn it_lasts_as_long_as_what_it_ended() {
    let mut sim = line();
    // Its own end comes long before that of the authorisation.
    revoke_at(&mut sim, 3, 60);
    sim.run(secs(600));
    assert_eq!(carriers(&sim, 1), [3]);
    assert!(sim.members(2, "/one/a").is_empty());
}

#[test]
fn a_clock_that_is_a_year_ahead_for_two_hours_erases_nothing() {
    let mut sim = line();
    revoke_at(&mut sim, 3, 86_400);
    sim.run(secs(700));
    sim.node(2).wall_skew = 365 * 86_400;
    sim.run(secs(7_200));
    sim.node(2).wall_skew = 0;
    sim.run(secs(3_700));
    assert!(sim.alarms(2).is_empty(), "{:?}", sim.alarms(2));
    assert_eq!(sim.engine(2).revocations().len(), 1);
    assert!(sim.members(2, "/one/a").is_empty());
}

/// Eight gateways in a ring.
fn ring() -> Sim {
    let mut sim = Sim::default();
    for id in 1..=8 {
        sim.add_node(id, "sg");
        sim.node(id).config.lifetime_s = 120;
    }
    for id in 1..=8 {
        sim.add_link([(id, 1), (id % 8 + 1, 2)], 10, 10);
    }
    for id in 1..=8 {
        sim.start(id, false);
    }
    for link in 0..8 {
        sim.set_link_at(link, true);
    }
    sim.run(secs(4));
    sim
}

fn many(sim: &Sim) -> Vec<Bytes> {
    let one = |n: u64| WireRevocation {
        serial: n,
        name: format!("/one/n{n}"),
        issued_before_s: sim.wall_s(),
        until_s: sim.wall_s() + 86_400,
        ..WireRevocation::default()
    };
    (0..50).map(|n| one(n).signed()).collect()
}

/// Who carries each revocation, as one node sees it.
fn copies(sim: &Sim, at: u32) -> std::collections::BTreeMap<u64, Vec<u32>> {
    let mut copies = std::collections::BTreeMap::<u64, Vec<u32>>::new();
    for entry in sim.engine(at).entries(sim.time(at)) {
        let key = entry.object.key;
        if key.kind == Kind::REVOCATION && !entry.object.is_purge() {
            copies.entry(key.id).or_default().push(key.origin.0);
        }
    }
    copies
}

fn assert_carried(sim: &Sim, at: u32) {
    let copies = copies(sim, at);
    assert_eq!(copies.len(), 50);
    assert!(
        copies.values().all(|carriers| carriers.len() <= 2),
        "{copies:?}"
    );
    assert_eq!(sim.engine(at).revocations().len(), 50);
}

#[test]
fn what_every_gateway_is_told_is_carried_by_two_at_most() {
    let mut sim = ring();
    let bodies = many(&sim);
    let before = sim.objects;
    for body in &bodies {
        for id in 1..=8 {
            sim.handle(id, Event::Revocation(body.clone()));
        }
    }
    sim.run(secs(30));
    for id in 1..=8 {
        assert_carried(&sim, id);
    }
    // Ten are said by all eight at once and taken back by six, of forty at most three copies are on their way at the same time: each over eight
    // links, both ways at worst; own adjacencies are never refreshed within 30 s.
    let most = 16 * (10 * (8 + 6) + 40 * 5);
    let said = sim.objects - before;
    assert!(said <= most, "{said} objects, at most {most}");
    // Then all is quiet: nothing but refreshes, after a third of 120 s (between 30 and 40 s), of at most 100 copies and 8 adjacencies.
    let refreshed = sim.objects;
    sim.run(secs(300));
    let said = sim.objects - refreshed;
    let most = 16 * 108 * 300 / 30;
    assert!(said <= most, "{said} objects, at most {most}");
    let purges = sim.engine(1).entries(sim.time(1));
    assert_eq!(
        purges.iter().filter(|e| e.object.is_purge()).count(),
        0,
        "nothing is taken back any more"
    );
    // Who carries some of them dies: they stay in force, and are carried again.
    let dead = copies(&sim, 1).values().next().unwrap().clone();
    for id in &dead {
        sim.kill(*id);
    }
    let alive = (1..=8).find(|id| !dead.contains(id)).unwrap();
    for _ in 0..20 {
        sim.run(secs(10));
        assert_eq!(sim.engine(alive).revocations().len(), 50);
    }
    assert_carried(&sim, alive);
    let left = copies(&sim, alive);
    assert!(left.values().flatten().all(|id| !dead.contains(id)));
}

#[test]
fn what_is_on_every_disk_is_said_by_some_after_all_restart() {
    let mut sim = ring();
    let bodies = many(&sim);
    for id in 1..=8 {
        sim.kill(id);
    }
    for id in 1..=8 {
        sim.start(id, true);
        for body in &bodies {
            sim.handle(id, Event::Revocation(body.clone()));
        }
    }
    let before = sim.objects;
    sim.run(secs(100));
    for id in 1..=8 {
        assert_carried(&sim, id);
    }
    // In turns over 60 s most are said once; each over eight links, both ways at worst, and refreshed twice; adjacencies too.
    let said = sim.objects - before;
    assert!(said <= 16 * (60 * 3 + 8 * 6), "{said} objects");
}

#[test]
fn what_an_authority_says_too_much_is_told_to_people_and_applied_when_there_is_room() {
    // A day in as few steps as possible.
    let mut sim = line_with(|config| {
        config.revocations = 40;
        config.digest_interval = secs(600);
        config.session_timeout = secs(3_600);
        config.lifetime_s = 7_200;
    });
    for n in 0..12u64 {
        let revocation = WireRevocation {
            serial: n,
            name: format!("/none/n{n}"),
            issued_before_s: sim.wall_s(),
            until_s: sim.wall_s() + if n < 10 { 60 } else { 300_000 },
            ..WireRevocation::default()
        };
        sim.handle(1, Event::Revocation(revocation.signed()));
    }
    sim.run(secs(10));
    let refused = std::collections::BTreeMap::from([("test".to_owned(), 2)]);
    for id in 1..=3 {
        assert_eq!(sim.engine(id).revocations().len(), 10, "a quarter of 40");
        assert_eq!(sim.engine(id).refused_revocations(), refused);
        assert_eq!(sim.alarms(id), [Alarm::RevocationsFull]);
        assert_eq!(copies(&sim, id).len(), 12, "all know all of them");
    }
    // The root's are not in this number.
    let root = WireRevocation {
        gateway: 9,
        issued_before_s: sim.wall_s(),
        until_s: sim.wall_s() + 300_000,
        ..WireRevocation::default()
    };
    sim.handle(1, Event::RootRevocation(root.signed_by_root()));
    sim.run(secs(1));
    assert_eq!(
        sim.nodes[&3].kept.iter().filter(|(root, _)| *root).count(),
        1
    );
    // The ten are over, and a day later forgotten.
    sim.run(secs(86_400 + 200));
    for id in 1..=3 {
        let left = sim.engine(id).revocations();
        assert!((2..=12).contains(&left.len()), "{left:?}");
        assert!(sim.engine(id).refused_revocations().is_empty());
        assert!(sim.alarms(id).is_empty(), "{:?}", sim.alarms(id));
    }
    let left: Vec<u64> = sim
        .engine(1)
        .revocations()
        .iter()
        .map(|one| one.serial)
        .collect();
    assert_eq!(left.len(), 2);
    assert!(left.contains(&10) && left.contains(&11));
}
