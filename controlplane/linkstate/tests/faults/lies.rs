//! Messages that do not say the truth.

use super::*;

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
        say(
            &mut sim,
            Message::Digest {
                digest,
                restoring: false,
            },
        );
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
        say(
            &mut sim,
            Message::Digest {
                digest,
                restoring: false,
            },
        );
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
                Header {
                    key,
                    sequence: Sequence(HIGH),
                    tag: u128::from(n),
                }
            })
            .collect();
        let bucket_mask = u64::MAX;
        say(
            &mut sim,
            Message::Summary {
                bucket_mask,
                headers,
                from: None,
                to: None,
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
