//! Too much of everything.

use super::*;

#[test]
fn a_flood_of_objects_costs_a_bounded_number_of_verifications() {
    let mut sim = line_with(|config| config.objects_per_second = 200);
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

#[test]
fn another_stream_does_not_renew_what_a_neighbour_may_send() {
    let mut sim = line_with(|config| config.objects_per_second = 200);
    let before = tables(&sim);
    let verifications = sim.nodes[&2].verifications.clone();
    let counted = verifications.load(Ordering::Relaxed);
    let template = object(&sim, 3, 3, Kind::PREFIX, 1, HIGH, prefixes(&["/three/x"]));
    let link = dmsc_linkstate::AdjacencyId(2);
    let start = sim.now;
    for step in 0..100u64 {
        let session = SessionId(10_000 + step);
        let event = Event::SessionUp {
            session,
            link,
            peer: NodeId(3),
            peer_link: dmsc_linkstate::AdjacencyId(1),
        };
        sim.handle(2, event);
        let forged = |n| {
            let mut object = template.clone();
            object.key.id = 1_000 + step * 1_000 + n;
            object
        };
        let message = Message::Flood((0..1_000).map(forged).collect());
        sim.handle(2, Event::Received { session, message });
        sim.handle(2, Event::SessionDown(session));
        sim.run(ms(10));
    }
    let spent = verifications.load(Ordering::Relaxed) - counted;
    let most = 2_000 + 200 * ((sim.now - start).as_secs() + 1);
    assert!(spent <= most, "{spent} verifications");
    assert_eq!(tables(&sim), before);
}

#[test]
fn no_originator_takes_more_than_its_share() {
    // By number: a quarter of all, whatever is allowed to one.
    let mut sim = line_with(|config| {
        config.objects = 400;
        config.prefixes_per_origin = 100;
    });
    for id in 0..200 {
        let object = object(&sim, 4, 4, Kind(77), id, HIGH, Bytes::from_static(b"x"));
        say(&mut sim, Message::Flood(vec![object]));
    }
    let of = |sim: &Sim, at, origin| {
        let entries = sim.engine(at).entries(sim.time(at));
        let its = entries
            .iter()
            .filter(|entry| entry.object.key.origin == NodeId(origin));
        its.count()
    };
    assert_eq!(of(&sim, 2, 4), 100);
    assert!(sim.alarms(2).contains(&Alarm::DatabaseFull));
    // By bytes.
    let large = Bytes::from(vec![0; 60_000]);
    for id in 0..20 {
        let object = object(&sim, 5, 5, Kind(77), id, HIGH, large.clone());
        say(&mut sim, Message::Flood(vec![object]));
    }
    assert_eq!(of(&sim, 2, 5), 400 * 2_048 / 4 / 60_000);
    // By prefixes: two objects of 60 are too many, one that is replaced by as many is not.
    let names: Vec<String> = (0..60).map(|n| format!("/three/n{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    sim.dropped.extend([(2, 3), (2, 1)]); // or node 3 would take them back
    for (id, sequence) in [(7, HIGH), (8, HIGH), (7, HIGH + 1)] {
        let object = object(&sim, 3, 3, Kind::PREFIX, id, sequence, prefixes(&names));
        say(&mut sim, Message::Flood(vec![object]));
        sim.run(ms(30));
    }
    assert_eq!(sim.engine(2).prefix_count(), 2 + 60);
    assert!(sim.engine(2).sizes().deferred == 0);
    // Others are heard as before.
    sim.announce(1, &["/one/later"]);
    sim.run(secs(1));
    assert_eq!(sim.members(2, "/one/later"), [1]);
}

#[test]
fn who_is_sent_objects_without_end_still_learns_the_digest() {
    let mut sim = line();
    sim.node(3).stopped = true;
    sim.set_session_timeout(2, secs(3_600));
    let session = sim.session_between(2, 3).unwrap();
    let all: Vec<Key> = sim
        .engine(2)
        .entries(sim.time(2))
        .iter()
        .map(|entry| entry.object.key)
        .collect();
    let (mut digests, mut summaries) = (0, 0);
    for step in 0..300u64 {
        say(&mut sim, Message::Request(all.clone()));
        let lie = Digest {
            count: 1_000,
            buckets: [step; 64],
        };
        say(
            &mut sim,
            Message::Digest {
                digest: lie,
                restoring: false,
            },
        );
        sim.run(ms(100));
        let now = sim.time(2);
        match sim.engine_mut(2).next_message(now, session) {
            Some(Message::Digest { .. }) => digests += 1,
            Some(Message::Summary { .. }) => summaries += 1,
            Some(Message::Flood(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!((3..=6).contains(&digests), "{digests} digests in 30 s");
    assert!(
        (1..=5).contains(&summaries),
        "{summaries} summaries in 30 s"
    );
}

#[test]
fn objects_under_the_own_id_are_bounded_too() {
    let mut sim = line_with(|config| config.objects_per_origin = 50);
    sim.kill(2);
    sim.start(2, true);
    sim.run(ms(3));
    for id in 0..200 {
        let object = object(&sim, 2, 2, Kind(77), id, HIGH, Bytes::from_static(b"x"));
        say(&mut sim, Message::Flood(vec![object]));
    }
    let sizes = sim.engine(2).sizes();
    assert!(sizes.objects <= 50 + 20, "{sizes:?}");
    sim.run(secs(5));
    assert_eq!(sim.members(2, "/one/a"), [1]);
}
