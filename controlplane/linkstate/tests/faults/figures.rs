//! What links are like: told to all, seldom, and no way is computed for it.

use dmsc_linkstate::AdjacencyId;
use dmsc_linkstate::action::Topology;
use dmsc_linkstate::engine::Narrowest;
use dmsc_linkstate::engine::body::{AdjacencyBody, Link};
use dmsc_linkstate::engine::figures::Figures;

use super::*;

fn measured(sim: &mut Sim, node: u32, link: u16, used_kbps: u64) {
    let figures = Figures {
        delay_us: Some(700),
        variation_us: Some(20),
        loss_ppm: Some(0),
        capacity_kbps: 100_000,
        used_kbps,
    };
    let event = Event::LinksMeasured(vec![(AdjacencyId(link), figures)]);
    sim.handle(node, event);
}

fn links(sim: &Sim, at: u32, of: u32) -> Vec<Link> {
    let body = stored(sim, at, Kind::ADJACENCY, of).body;
    AdjacencyBody::decode(body).unwrap().links
}

#[test]
fn figures_reach_all_and_compute_nothing() {
    let mut sim = line();
    sim.run(secs(2));
    let computations = |sim: &Sim| (1..=3).map(|id| sim.engine(id).computations()).sum::<u64>();
    let before = computations(&sim);
    let to_3 = |sim: &Sim| {
        let found = sim.engine(1).narrowest(Topology::Metric);
        found.get(&NodeId(3)).copied()
    };
    assert_eq!(to_3(&sim), None, "nobody says anything");
    measured(&mut sim, 1, 1, 10_000);
    measured(&mut sim, 2, 2, 70_000);
    sim.run(secs(1));
    let link = links(&sim, 3, 1)[0];
    assert_eq!(
        (link.measured_delay_us, link.loss_ppm),
        (Some(700), Some(0))
    );
    assert_eq!(
        (link.capacity_kbps, link.available_kbps),
        (100_000, Some(90_000))
    );
    let narrow = Narrowest {
        available_kbps: 30_000,
        node: NodeId(2),
        link: 2,
    };
    assert_eq!(to_3(&sim), Some(narrow));
    assert_eq!(computations(&sim), before);
    assert!(sim.digests_equal());
    // A link that went down and came back is not what it was.
    sim.set_link(2, 3, false);
    sim.run(secs(1));
    sim.set_link(2, 3, true);
    sim.run(secs(2));
    assert_eq!(links(&sim, 1, 2)[1].available_kbps, None);
}

#[test]
fn noise_floods_nothing_and_a_storm_one_object_a_second() {
    let mut sim = line();
    measured(&mut sim, 1, 1, 10_000);
    sim.run(secs(2));
    let sequence = |sim: &Sim| stored(sim, 3, Kind::ADJACENCY, 1).sequence.0;
    let first = sequence(&sim);
    for second in 0..60 {
        measured(&mut sim, 1, 1, 10_000 + second % 7 * 1_000);
        sim.run(secs(1));
    }
    assert_eq!(sequence(&sim), first);
    for step in 0..100 {
        measured(&mut sim, 1, 1, step % 2 * 90_000);
        sim.run(ms(100));
    }
    let told = sequence(&sim) - first;
    assert!((5..=10).contains(&told), "{told}");
    // And what was held back is told.
    sim.run(secs(1));
    measured(&mut sim, 1, 1, 45_000);
    sim.run(secs(1));
    assert_eq!(links(&sim, 3, 1)[0].available_kbps, Some(55_000));
}

#[test]
fn figures_that_cannot_be_are_refused() {
    let mut sim = line();
    sim.run(secs(2));
    sim.dropped.insert((2, 3));
    let told = stored(&sim, 2, Kind::ADJACENCY, 3);
    let body = AdjacencyBody::decode(told.body.clone()).unwrap();
    let wrong: [&dyn Fn(&mut Link); 3] = [
        &|link| link.measured_delay_us = Some(u32::MAX),
        &|link| link.loss_ppm = Some(1_000_001),
        &|link| link.available_kbps = Some(link.capacity_kbps + 1),
    ];
    for (sequence, change) in (HIGH..).zip(wrong) {
        let mut body = body.clone();
        change(&mut body.links[0]);
        let body = Bytes::from(body.encode_to_vec());
        let object = object(&sim, 3, 3, Kind::ADJACENCY, 1, sequence, body);
        say(&mut sim, Message::Flood(vec![object]));
        sim.run(secs(1));
        assert_eq!(stored(&sim, 2, Kind::ADJACENCY, 3).sequence, told.sequence);
    }
}
