//! Clocks, lifetimes and silence.

use super::*;

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
fn a_clock_that_jumps_raises_an_alarm_and_nothing_expires() {
    let mut sim = line();
    sim.run(secs(700));
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
fn objects_of_a_dead_node_end_and_those_of_the_living_do_not() {
    let mut sim = line_with(|config| config.lifetime_s = 60);
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

fn holds(sim: &Sim, at: u32, origin: u32) -> bool {
    let entries = sim.engine(at).entries(sim.time(at));
    entries
        .iter()
        .any(|entry| entry.object.key.origin == NodeId(origin))
}

#[test]
fn no_router_on_the_way_ends_an_object_by_its_age() {
    let mut sim = line();
    sim.set_session_timeout(2, secs(9_000));
    let fresh = object(&sim, 4, 4, Kind(77), 1, HIGH, Bytes::from_static(b"x"));
    let mut aged = fresh.clone();
    aged.age_s = 3_600;
    say(&mut sim, Message::Flood(vec![aged.clone()]));
    assert_eq!(stored(&sim, 2, Kind(77), 4).age_s, 300);
    sim.run(secs(3_000));
    assert!(holds(&sim, 1, 4) && holds(&sim, 2, 4));
    // The same version by a better way: what its originator signed counts, and no more.
    say(&mut sim, Message::Flood(vec![fresh.clone()]));
    sim.run(secs(500));
    assert!(holds(&sim, 2, 4));
    say(&mut sim, Message::Flood(vec![aged]));
    sim.run(secs(50));
    assert!(holds(&sim, 2, 4));
    for _ in 0..5 {
        say(&mut sim, Message::Flood(vec![fresh.clone()]));
        sim.run(secs(100));
    }
    assert!(!holds(&sim, 2, 4));
}

/// Node 2 boots with a wrong clock, which is set after `after`.
fn boots_wrong(wrong: i64, after: std::time::Duration) -> Sim {
    let mut sim = line();
    sim.kill(2);
    sim.node(2).wall_skew = wrong;
    sim.start(2, false);
    sim.run(after);
    assert!(sim.members(2, "/three/a").is_empty(), "of another time");
    sim.node(2).wall_skew = 0;
    sim
}

const YEAR: i64 = 365 * 86_400;

#[test]
fn a_clock_that_is_wrong_at_boot_and_set_soon_is_believed_at_once() {
    for wrong in [-50 * YEAR, YEAR] {
        let mut sim = boots_wrong(wrong, secs(60));
        sim.run(secs(5));
        assert!(sim.nodes[&2].alarms.is_empty());
        assert!(sim.digests_equal(), "{wrong}: {}", sim.describe());
        assert_eq!(sim.members(1, "/three/a"), [3]);
        assert_eq!(sim.members(2, "/three/a"), [3]);
        let originated = stored(&sim, 3, Kind::ADJACENCY, 2).originated_at_ms / 1_000;
        assert!(sim.wall_s() - originated < 60, "says the right time");
    }
}

#[test]
fn a_clock_that_is_set_late_is_believed_when_most_others_show_that_time() {
    for wrong in [-50 * YEAR, YEAR] {
        let mut sim = boots_wrong(wrong, secs(1_000));
        sim.run(secs(60));
        assert!(sim.alarms(2).is_empty(), "{wrong}");
        assert!(sim.digests_equal(), "{wrong}: {}", sim.describe());
        assert_eq!(sim.members(1, "/three/a"), [3]);
    }
}

#[test]
fn a_jump_that_nobody_shows_too_is_not_believed() {
    let mut sim = line();
    sim.run(secs(700));
    sim.node(2).wall_skew = YEAR;
    sim.run(secs(3_000));
    assert_eq!(sim.alarms(2), [Alarm::ClockJump]);
    // One other is no majority.
    let mut sim = line();
    sim.run(secs(700));
    sim.set_link(2, 3, false);
    sim.kill(3);
    sim.run(secs(3_700));
    sim.node(2).wall_skew = 400;
    sim.run(secs(1_000));
    assert_eq!(sim.alarms(2), [Alarm::ClockJump]);
}

#[test]
fn an_age_that_is_always_0_keeps_nothing_alive() {
    let mut sim = line();
    sim.set_session_timeout(2, secs(9_000));
    let old = object(&sim, 4, 4, Kind(77), 1, HIGH, Bytes::from_static(b"x"));
    sim.run(secs(3_500));
    say(&mut sim, Message::Flood(vec![old.clone()]));
    sim.run(ms(100));
    assert!(holds(&sim, 1, 4) && holds(&sim, 2, 4));
    assert!(stored(&sim, 1, Kind(77), 4).age_s < 5, "passed on as told");
    // Again and again, at both.
    for _ in 0..8 {
        say(&mut sim, Message::Flood(vec![old.clone()]));
        let session = sim.session_between(1, 2).unwrap();
        let message = Message::Flood(vec![old.clone()]);
        sim.handle(1, Event::Received { session, message });
        sim.run(secs(50));
    }
    assert!(!holds(&sim, 1, 4) && !holds(&sim, 2, 4));
    assert!(sim.digests_equal());
}

#[test]
fn an_object_does_not_outlive_its_certificate() {
    let mut sim = line();
    sim.set_session_timeout(2, secs(9_000));
    let mut short = object(&sim, 4, 4, Kind(77), 1, HIGH, Bytes::from_static(b"x"));
    let signer = NodeSigner::until(4, 4, EPOCH_S, sim.wall_s() + 100);
    short.certificate = signer.certificate();
    say(&mut sim, Message::Flood(vec![short.clone()]));
    sim.run(secs(390));
    assert!(holds(&sim, 1, 4) && holds(&sim, 2, 4));
    say(&mut sim, Message::Flood(vec![short.clone()]));
    sim.run(secs(20));
    assert!(!holds(&sim, 1, 4) && !holds(&sim, 2, 4));
    // Nor does it come back.
    say(&mut sim, Message::Flood(vec![short]));
    sim.run(secs(1));
    assert!(!holds(&sim, 2, 4));
    assert!(sim.digests_equal());
}

#[test]
fn an_object_of_the_future_is_refused_and_a_frozen_clock_lets_it_live_once() {
    let mut sim = line_with(|config| config.session_timeout = secs(90_000));
    sim.run(secs(700));
    let mut future = object(&sim, 4, 4, Kind(77), 1, HIGH, Bytes::from_static(b"x"));
    future.originated_at_ms += 10 * 365 * 86_400_000;
    let future = resigned(future, 4);
    say(&mut sim, Message::Flood(vec![future.clone()]));
    assert!(!holds(&sim, 2, 4));
    sim.node(2).wall_skew = 86_400;
    sim.run(secs(1));
    say(&mut sim, Message::Flood(vec![future.clone()]));
    assert!(holds(&sim, 2, 4), "which of two times is right?");
    sim.node(2).wall_skew = 0;
    for _ in 0..37 {
        sim.run(secs(100));
        say(&mut sim, Message::Flood(vec![future.clone()]));
    }
    assert!(!holds(&sim, 2, 4));
    // Nothing of it outranks what its originator says now.
    let now = object(&sim, 4, 4, Kind(77), 1, 1, Bytes::from_static(b"y"));
    say(&mut sim, Message::Flood(vec![now]));
    sim.run(ms(100));
    assert!(holds(&sim, 2, 4));
}
