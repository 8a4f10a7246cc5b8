//! Neighbours that say too much or read nothing, over real streams between real processes: what they cost in memory, and what goes on meanwhile.

mod model;
mod net;

use std::time::{Duration, Instant};

use bytes::Bytes;
use dmsc_proto::v1;
use net::neighbour::{Neighbour, flood, hello, read_on};
use net::{Logged, Net};
use nix::sys::signal::Signal;

/// Beyond what the objects that are kept take. The allocator and TLS have their share, too.
const BOUND: usize = 24 << 20;

/// Node 1 is the test, nodes 2 and 3 are processes, in a line.
struct Line {
    net: Net,
    two: model::Dataplane,
    three: model::Dataplane,
    second: Logged,
    third: Logged,
    neighbour: Neighbour,
}

impl Line {
    async fn new(number: u8, timing: &str) -> Self {
        let net = Net::new(number);
        for (id, links) in [(1, &[2][..]), (2, &[1, 3]), (3, &[2])] {
            net.write(id, "sr", links, "");
            net.rewrite(id, "digest_interval_ms = 300", timing);
        }
        let two = net.dataplane(2, "sr", 2).await;
        let three = net.dataplane(3, "sr", 1).await;
        let (second, third) = (net.start_logged(2, "sr"), net.start_logged(3, "sr"));
        two.until(|tables| tables.gateways.len() == 2).await;
        three.until(|tables| tables.gateways.len() == 2).await;
        let neighbour = Neighbour::dial(&net, 2, hello(1, 2)).await.unwrap();
        Self {
            net,
            two,
            three,
            second,
            third,
            neighbour,
        }
    }
}

/// Up to 100,000 objects a second are offered for three seconds; the stream takes what the receiver can read. Forged ones, versions of one
/// object that come too fast, and replays. The rate that was taken is printed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_objects_costs_bounded_memory_and_no_route() {
    let line = Line::new(19, "digest_interval_ms = 300").await;
    let good = |id, sequence| {
        line.neighbour
            .object(id, sequence, Bytes::from_static(b"x"))
    };
    let replayed = good(1, 1);
    let mut messages = Vec::<v1::NeighbourMessage>::new();
    for batch in 0..100u64 {
        let object = |number: u64| {
            let number = batch * 1_000 + number;
            match number % 4 {
                0 => good(2, number + 1),
                1 => replayed.clone(),
                _ => {
                    let mut forged = replayed.clone();
                    forged.key.id = 1_000 + number;
                    forged
                }
            }
        };
        messages.push(flood((0..1_000).map(object).collect()));
    }
    let Line {
        net,
        two,
        three,
        second,
        third,
        neighbour,
    } = line;
    let closed = read_on(neighbour.inbound);
    let (before, tables) = (second.process.memory(), two.tables());
    let (start, mut offered, mut most) = (Instant::now(), 0_u32, before);
    let mut told = false;
    for round in 0..300 {
        let due = start + Duration::from_millis(10 * round as u64);
        tokio::time::sleep_until(due.into()).await;
        if start.elapsed() > Duration::from_secs(3) {
            break;
        }
        let message = messages[round % messages.len()].clone();
        neighbour
            .outbound
            .send(message)
            .await
            .expect("the stream holds");
        offered += 1_000;
        most = most.max(second.process.memory());
        if !told && start.elapsed() > Duration::from_secs(1) {
            // In the midst of it, what others say counts.
            told = true;
            net.rewrite(3, "peer = 2\n", "peer = 2\nmetric = 70\n");
            third.process.signal(Signal::SIGHUP);
        }
    }
    let rate = f64::from(offered) / start.elapsed().as_secs_f64();
    eprintln!("{rate:.0} objects/s, {} KiB more", (most - before) >> 10);
    assert!(told);
    three
        .until(|tables| tables.gateways[&(0, 2)].metric == 70)
        .await;
    assert!(most - before < BOUND, "{} bytes more", most - before);
    assert_eq!(
        two.tables().transactions,
        tables.transactions,
        "no route was touched"
    );
    assert!(!closed.is_finished(), "a neighbour is not cut off for it");
    net.agree(&[2, 3]).await;
}

/// Node 3 is stopped, while every object that is flooded to it changes all the time.
async fn stopped(number: u8, how_long: Duration, timing: &str) {
    let line = Line::new(number, timing).await;
    let Line {
        net,
        two,
        three,
        second,
        third,
        neighbour,
    } = line;
    let version = |number: u64| {
        let body = Bytes::from(vec![number as u8; 16_384]);
        let objects = (0..200).map(|id| neighbour.object(id, number, body.clone()));
        objects.collect::<Vec<_>>()
    };
    let say = async |number: u64| {
        for objects in version(number).chunks(50) {
            let message = flood(objects.to_vec());
            neighbour
                .outbound
                .send(message)
                .await
                .expect("the stream holds");
        }
    };
    // The database is as large as it gets before anything is measured.
    say(1).await;
    net.agree(&[2, 3]).await;
    let (before, start) = (second.process.memory(), Instant::now());
    third.process.signal(Signal::SIGSTOP);
    let (mut most, mut number) = (before, 1);
    let said = |number: u64| number as usize * 200 * 16_384;
    // A busy machine says less in that time than proves something; the session holds for longer.
    while start.elapsed() < how_long
        || (said(number) <= 2 * BOUND && start.elapsed() < 8 * how_long)
    {
        number += 1;
        say(number).await;
        most = most.max(second.process.memory());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let said = said(number);
    eprintln!(
        "{} MiB of versions, {} KiB more",
        said >> 20,
        (most - before) >> 10
    );
    assert!(most - before < BOUND, "{} bytes more", most - before);
    assert!(said > 2 * BOUND, "{said} bytes prove nothing");
    // Hellos go on, so no route was taken away; and it hears of the last version, not of all.
    assert_eq!(two.tables().gateways.len(), 2);
    third.process.signal(Signal::SIGCONT);
    net.agree(&[2, 3]).await;
    assert_eq!(three.tables().gateways.len(), 2);
}

/// Five seconds, with a session that is kept for longer, for the minute of the real thing, which is
/// [`a_neighbour_that_does_not_read_for_a_minute_costs_no_memory`].
#[tokio::test]
async fn a_neighbour_that_does_not_read_costs_no_memory() {
    let timing = "digest_interval_ms = 300\nsession_timeout_ms = 60000";
    stopped(20, Duration::from_secs(5), timing).await;
}

/// With the time-outs that everybody has.
#[tokio::test]
#[ignore = "takes a minute; run by `make unit-long`, part of `make deep`"]
async fn a_neighbour_that_does_not_read_for_a_minute_costs_no_memory() {
    stopped(21, Duration::from_secs(60), "").await;
}
