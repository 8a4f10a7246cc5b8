//! Authorisations that expired while no authority answers, and those that are not of this time.

use super::*;

const HOUR: u64 = 3_600;

/// Node 1 serves `/old/a`, whose authorisation expires after 30 s and may be stale for a day.
fn expired() -> Sim {
    let mut sim = line();
    sim.authorise(1, &["/old"], 30, 86_400);
    sim.announce(1, &["/old/a"]);
    sim.run(secs(1));
    assert_eq!(sim.members(3, "/old/a"), [1]);
    sim.run(secs(60));
    assert_eq!(sim.engine(3).sizes().stale, 1);
    sim
}

/// Node 1 says that it serves this prefix, announced then.
fn claim(sim: &Sim, id: u64, text: &str, announced_at_ms: u64) -> Object {
    let prefix = AnnouncedPrefix {
        domain: 1,
        name: Bytes::copy_from_slice(name(text).as_bytes()),
        announced_at_ms,
        ..AnnouncedPrefix::default()
    };
    let prefixes = vec![prefix];
    let body = Bytes::from(PrefixBody { prefixes }.encode_to_vec());
    object(sim, 1, 1, Kind::PREFIX, id, HIGH, body)
}

#[test]
fn what_expired_crosses_a_router_that_starts_with_nothing() {
    let mut sim = expired();
    sim.kill(2);
    sim.start(2, false);
    for _ in 0..5 {
        sim.run(secs(HOUR / 2));
        assert!(sim.digests_equal(), "{}", sim.describe());
        for at in [2, 3] {
            assert_eq!(sim.members(at, "/old/a"), [1], "at {at}");
            assert_eq!(sim.engine(at).sizes().waiting, 0);
            assert!(sim.alarms(at).contains(&Alarm::StalePrefixes));
        }
    }
    // Its time as stale is over everywhere at once, and a revocation would have ended it sooner.
    sim.run(secs(86_400));
    for at in 1..=3 {
        assert!(sim.members(at, "/old/a").is_empty());
    }
    assert!(sim.digests_equal(), "{}", sim.describe());
}

#[test]
fn what_was_announced_after_the_expiry_is_passed_on_and_installed_by_nobody() {
    let mut sim = expired();
    sim.dropped.insert((2, 1)); // or node 1 would take it back
    let now_ms = sim.wall_s() * 1_000;
    for (id, announced_at_ms) in [(71, now_ms), (72, 0), (73, u64::MAX)] {
        let object = claim(&sim, id, &format!("/old/new{id}"), announced_at_ms);
        say(&mut sim, Message::Flood(vec![object.clone()]));
        sim.run(ms(100));
        for at in [2, 3] {
            let entries = sim.engine(at).entries(sim.time(at));
            let mut same = entries.iter().filter(|e| e.object.body == object.body);
            assert!(same.next().is_some_and(|entry| entry.accepted), "{id}");
            assert!(sim.members(at, &format!("/old/new{id}")).is_empty());
        }
    }
    // A new authorisation admits it where it is.
    sim.authorise(1, &["/old"], 600, 60);
    sim.run(ms(100));
    assert_eq!(sim.members(2, "/old/new71"), [1]);
    assert_eq!(sim.members(3, "/old/new71"), [1]);
}

#[test]
fn what_expired_and_was_revoked_stays_away_whenever_it_was_announced() {
    let mut sim = expired();
    let revocation = WireRevocation {
        serial: 1,
        name: "/old".into(),
        issued_before_s: sim.wall_s(),
        until_s: sim.wall_s() + 60,
        ..WireRevocation::default()
    };
    sim.handle(3, Event::Revocation(revocation.signed()));
    sim.run(secs(1));
    sim.kill(2);
    sim.start(2, false);
    sim.run(secs(5));
    sim.dropped.insert((2, 1));
    let old = claim(&sim, 70, "/old/a", sim.wall_s() * 1_000 - 80_000);
    say(&mut sim, Message::Flood(vec![old]));
    sim.run(secs(1));
    assert_eq!(sim.engine(2).sizes().waiting, 1);
    for at in 1..=3 {
        assert!(sim.members(at, "/old/a").is_empty(), "at {at}");
    }
}

#[test]
fn an_authorisation_of_the_future_covers_nothing_until_then() {
    let mut sim = line_with(|config| config.session_timeout = secs(9_000));
    let body = WireAuthorisation {
        serial: 9,
        domain: 1,
        gateway: 1,
        issued_at_s: sim.wall_s() + 1_000,
        not_after_s: sim.wall_s() + 9_000,
        names: vec!["/soon".into()],
        ..WireAuthorisation::default()
    }
    .signed();
    sim.node(1).authorisations.push(body.clone());
    let all = sim.nodes[&1].authorisations.clone();
    sim.handle(1, Event::Authorisations(all));
    sim.announce(1, &["/soon/a"]);
    sim.dropped.insert((2, 1));
    sim.run(secs(1));
    let claim = claim(&sim, 71, "/soon/b", sim.wall_s() * 1_000);
    say(&mut sim, Message::Flood(vec![claim.clone()]));
    for at in [2, 3] {
        let entries = sim.engine(at).entries(sim.time(at));
        assert!(entries.iter().any(|entry| entry.object.body == body));
    }
    assert_eq!(sim.engine(2).sizes().waiting, 1);
    sim.run(secs(660));
    say(&mut sim, Message::Flood(vec![claim]));
    for at in 1..=3 {
        assert!(sim.members(at, "/soon/a").is_empty());
    }
    // By a clock that is as wrong as clocks may be, it was issued.
    sim.run(secs(45));
    for at in 1..=3 {
        assert_eq!(sim.members(at, "/soon/a"), [1], "at {at}");
    }
    assert_eq!(sim.members(3, "/soon/b"), [1], "it waited at 2");
}
