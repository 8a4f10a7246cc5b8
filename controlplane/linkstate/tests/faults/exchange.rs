//! Two databases become equal, whatever is in them.

use std::collections::BTreeSet;

use super::*;

fn entries(sim: &Sim, at: u32) -> BTreeSet<(Key, Sequence, [u8; 64])> {
    sim.engine(at)
        .entries(sim.time(at))
        .iter()
        .map(|entry| {
            (
                entry.object.key,
                entry.object.sequence,
                entry.object.signature,
            )
        })
        .collect()
}

/// `to` hears this from `from`.
pub fn say_as(sim: &mut Sim, from: u32, to: u32, message: Message) {
    let session = sim.session_between(to, from).unwrap();
    sim.handle(to, Event::Received { session, message });
}

#[test]
fn of_two_versions_under_one_sequence_all_keep_the_same_one() {
    let mut sim = line();
    // Node 4 signs two versions; each gets to one end of the line, and what is flooded is lost.
    let lost = [(1, 2), (2, 1), (2, 3), (3, 2)];
    sim.dropped.extend(lost);
    let versions = [&b"one"[..], &b"other"[..]].map(|body| {
        let body = Bytes::copy_from_slice(body);
        object(&sim, 4, 4, Kind(77), 1, HIGH, body)
    });
    say_as(&mut sim, 2, 1, Message::Flood(vec![versions[0].clone()]));
    say_as(&mut sim, 2, 3, Message::Flood(vec![versions[1].clone()]));
    sim.run(ms(100));
    assert_eq!(stored(&sim, 1, Kind(77), 4).body, versions[0].body);
    assert_eq!(stored(&sim, 3, Kind(77), 4).body, versions[1].body);
    assert!(!sim.digests_equal());
    sim.dropped.clear();
    sim.run(secs(10));
    let best = versions.iter().max_by_key(|object| object.version());
    for at in 1..=3 {
        assert_eq!(stored(&sim, at, Kind(77), 4).body, best.unwrap().body);
    }
    assert!(sim.digests_equal());
}

const MOST: usize = 10;

/// What node 2 says to node 3 about all buckets when node 3 lies about its digest.
fn summaries(sim: &mut Sim) -> Vec<Message> {
    sim.node(3).stopped = true;
    let session = sim.session_between(2, 3).unwrap();
    let now = sim.time(2);
    while sim.engine_mut(2).next_message(now, session).is_some() {}
    let digest = Digest {
        count: 1,
        buckets: [1; 64],
    };
    say(
        sim,
        Message::Digest {
            digest,
            restoring: false,
        },
    );
    let mut messages = Vec::new();
    while let Some(message) = sim.engine_mut(2).next_message(now, session) {
        if matches!(message, Message::Summary { .. }) {
            messages.push(message);
        }
    }
    messages
}

#[test]
fn a_bucket_that_is_too_long_for_a_message_comes_in_parts() {
    let mut sim = line_with(|config| config.most_headers = MOST);
    let objects: Vec<Object> = (0..64 * 3 * MOST as u64)
        .map(|id| object(&sim, 4, 4, Kind(77), id, HIGH, Bytes::from_static(b"x")))
        .collect();
    say_as(&mut sim, 1, 2, Message::Flood(objects));
    sim.run(secs(10));
    assert!(sim.digests_equal());
    let messages = summaries(&mut sim);
    let mut told = BTreeSet::new();
    let mut parts = 0;
    for message in &messages {
        let Message::Summary {
            headers, from, to, ..
        } = message
        else {
            continue;
        };
        assert!(headers.len() <= MOST);
        parts += usize::from(from.is_some());
        let within =
            |key: Key| from.is_none_or(|from| from <= key) && to.is_none_or(|to| key <= to);
        assert!(headers.iter().all(|header| within(header.key)));
        told.extend(headers.iter().map(|header| header.key));
    }
    assert!(parts >= 2 * 64, "{parts} parts");
    let all: BTreeSet<Key> = entries(&sim, 2).iter().map(|(key, ..)| *key).collect();
    assert_eq!(told, all);

    // Who has none of them asks for all, and only for them; what it has itself and nobody told is sent once.
    let mut other = line_with(|config| config.most_headers = MOST);
    other.node(3).stopped = true;
    let mine = object(&other, 5, 5, Kind(77), 1, HIGH, Bytes::from_static(b"mine"));
    say_as(&mut other, 1, 2, Message::Flood(vec![mine.clone()]));
    let session = other.session_between(2, 3).unwrap();
    let now = other.time(2);
    while other.engine_mut(2).next_message(now, session).is_some() {}
    for message in messages {
        say(&mut other, message);
    }
    other.run(ms(100));
    let (mut asked, mut sent) = (BTreeSet::new(), Vec::new());
    let now = other.time(2);
    while let Some(message) = other.engine_mut(2).next_message(now, session) {
        match message {
            Message::Request(keys) => asked.extend(keys),
            Message::Flood(objects) => sent.extend(objects),
            _ => {}
        }
    }
    let lacks: BTreeSet<Key> = all
        .difference(&entries(&other, 2).iter().map(|(key, ..)| *key).collect())
        .copied()
        .collect();
    assert_eq!(asked, lacks);
    assert_eq!(
        sent.iter().map(|object| object.key).collect::<Vec<_>>(),
        [mine.key]
    );
}
