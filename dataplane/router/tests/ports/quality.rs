//! What a link is like: a wire that takes its time and loses frames shows in what both ends measure.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use dmsc_proto::v1;

use crate::rig::pair::{join, on_veth, router_port, routers};
use crate::rig::{Dataplane, Netns, RawLink, need_ports, wait_until};

/// Each way.
const DELAY: Duration = Duration::from_millis(15);
/// Of the frames to router 2 one in so many is lost, once [`Wire::lossy`] says so.
const LOST: usize = 3;

/// Between two interfaces of a namespace.
struct Wire<'a> {
    ends: [&'a RawLink; 2],
    running: &'a AtomicBool,
    lossy: &'a AtomicBool,
}

impl Wire<'_> {
    /// Carries frames from one end to the other, until it is cut.
    fn carry(&self, from: usize) {
        let mut under_way: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
        let mut count = 0;
        while self.running.load(Relaxed) {
            let frame =
                self.ends[from].receive(Duration::from_millis(1), |frame| Some(frame.to_vec()));
            if let Some(frame) = frame {
                count += 1;
                if from == 1 || !self.lossy.load(Relaxed) || count % LOST != 0 {
                    under_way.push_back((Instant::now() + DELAY, frame));
                }
            }
            while under_way
                .front()
                .is_some_and(|(due, _)| *due <= Instant::now())
            {
                if let Some((_, frame)) = under_way.pop_front() {
                    self.ends[1 - from].send(&frame);
                }
            }
        }
    }
}

/// Cuts the wire also when the test fails.
struct Cut<'a>(&'a AtomicBool);

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        self.0.store(false, Relaxed);
    }
}

fn quality(dataplane: &Dataplane) -> v1::LinkQuality {
    let adjacencies = dataplane.agent.adjacencies();
    assert!(adjacencies[0].key.is_empty());
    adjacencies[0].quality.unwrap_or_default()
}

#[test]
fn delay_and_loss_of_a_wire_show_at_its_ends() {
    need_ports!();
    let (left, middle, right) = (Netns::new(), Netns::new(), Netns::new());
    middle.veth("l", &left, "link");
    middle.veth("r", &right, "link");
    let ends = [&RawLink::open(&middle, "l"), &RawLink::open(&middle, "r")];
    let (running, lossy) = (&AtomicBool::new(true), &AtomicBool::new(false));
    let wire = Wire {
        ends,
        running,
        lossy,
    };
    std::thread::scope(|scope| {
        let _cut = Cut(running);
        scope.spawn(|| wire.carry(0));
        scope.spawn(|| wire.carry(1));
        let (a, b) = routers(&left, &right);
        // The wire is a thread among others: on a busy machine it may not come to run for longer than usual hellos wait.
        let patient = |adjacency| v1::Adjacency {
            hello_interval_ms: 100,
            hello_multiplier: 20,
            ..adjacency
        };
        let (at_a, at_b) = on_veth();
        join(&a, &b, patient(at_a), patient(at_b));
        for dataplane in [&a, &b] {
            wait_until(
                "the delay there and back, and what the machine adds",
                || {
                    let trip = quality(dataplane).round_trip_ns.map(Duration::from_nanos);
                    trip.is_some_and(|trip| (2 * DELAY..20 * DELAY).contains(&trip))
                },
            );
            wait_until("hellos", || quality(dataplane).hellos > 10);
            assert_eq!(quality(dataplane).hellos_lost, 0);
        }
        lossy.store(true, Relaxed);
        wait_until("lost hellos are seen where they do not come", || {
            quality(&b).hellos_lost >= 3
        });
        assert_eq!(quality(&a).hellos_lost, 0);
        for dataplane in [&a, &b] {
            let drops = dataplane.agent.settled("link", 1).drops;
            for reason in ["bad-hello", "bad-probe", "kind-not-allowed", "late-answer"] {
                assert!(!drops.contains_key(reason), "{drops:?}");
            }
        }
    });
}

#[test]
fn a_port_says_what_its_link_carries() {
    need_ports!();
    let here = Netns::new();
    let other = Netns::new();
    here.veth("link", &other, "link");
    let what = "kind = \"af_packet\"\ninterface = \"link\"";
    let port = router_port(what, &["10.1.0.0/31"], "");
    let dataplane = Dataplane::start(&here, 1, "sr", &port);
    let agent = &dataplane.agent;
    assert_eq!(
        agent.port("link").capacity_mbps,
        0,
        "nobody knows what is behind a veth"
    );
    let text = agent.config("dump", "").expect("dump").text;
    for (capacity, rate, told) in [(400, 0, 400), (400, 100, 100), (0, 100, 100), (0, 0, 0)] {
        let text = text
            .replace("capacity_mbps = 0", &format!("capacity_mbps = {capacity}"))
            .replace("rate_mbps = 0", &format!("rate_mbps = {rate}"));
        agent.config("apply", &text).expect("apply");
        assert_eq!(agent.port("link").capacity_mbps, told);
    }
}
