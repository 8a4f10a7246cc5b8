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
