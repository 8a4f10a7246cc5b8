//! Caller and server without a gateway: what one pushes, the other receives.

use std::collections::VecDeque;
use std::time::Duration;

use super::caller::Caller;
use super::echo::Echo;
use super::link::{Link, Message, number};
use super::order::{Load, Pace, Seen};
use super::site::{LARGEST, SMALLEST};

/// One direction each.
#[derive(Default)]
struct Queues {
    out: VecDeque<Vec<u8>>,
    back: VecDeque<Vec<u8>>,
}

/// The server's view.
struct Far<'a>(&'a mut Queues);

fn packet(message: &Message, id: u64) -> Vec<u8> {
    let mut bytes = message.bytes.clone();
    number(&mut bytes, id);
    bytes
}

impl Link for Far<'_> {
    fn push(&mut self, message: &Message, id: u64) {
        self.0.back.push_back(packet(message, id));
    }

    fn flush(&mut self) {}

    fn receive(&mut self, each: &mut dyn FnMut(&[u8])) -> usize {
        let packets: Vec<Vec<u8>> = self.0.out.drain(..).collect();
        packets.iter().for_each(|packet| each(packet));
        packets.len()
    }

    fn wait(&mut self, _limit: Duration) {}
}

/// The caller's view; loses every so many-th packet.
#[derive(Default)]
struct Near {
    queues: Queues,
    echo: Echo,
    pushed: u64,
    lose_each: Option<u64>,
    longest: usize,
    /// Looks at what came that find nothing before one that does.
    late: u32,
    looks: u32,
    /// Waits in a row, with nothing sent and nothing received between them, and the most of them.
    waits: u64,
    most_waits: u64,
}

impl Link for Near {
    fn push(&mut self, message: &Message, id: u64) {
        self.pushed += 1;
        self.waits = 0;
        if self
            .lose_each
            .is_none_or(|n| !self.pushed.is_multiple_of(n))
        {
            self.queues.out.push_back(packet(message, id));
        }
    }

    fn flush(&mut self) {
        self.echo.turn(&mut Far(&mut self.queues));
    }

    fn receive(&mut self, each: &mut dyn FnMut(&[u8])) -> usize {
        self.looks += 1;
        if !self.looks.is_multiple_of(self.late + 1) {
            return 0;
        }
        let packets: Vec<Vec<u8>> = self.queues.back.drain(..).collect();
        for packet in &packets {
            self.longest = self.longest.max(packet.len());
            self.waits = 0;
            each(packet);
        }
        packets.len()
    }

    fn wait(&mut self, _limit: Duration) {
        self.waits += 1;
        self.most_waits = self.most_waits.max(self.waits);
        std::thread::yield_now();
    }
}

fn run(link: &mut Near, caller: &mut Caller, pace: Pace, size: u16) -> Seen {
    let time = Duration::from_millis(150);
    let load = Load { pace, size, time };
    caller.run(link, &load).expect("a message of this size")
}

#[test]
fn messages_are_as_long_as_asked_for() {
    for size in [SMALLEST, 1_200, LARGEST] {
        let message = Message::request(size, 1).expect("built");
        assert_eq!(message.bytes.len(), usize::from(size));
    }
}

#[test]
fn calls_are_echoed_and_bulk_is_acknowledged() {
    let (mut link, mut caller) = (Near::default(), Caller::new());
    for pace in [Pace::Rate(1_000), Pace::Window(64), Pace::Bulk(128)] {
        link.longest = 0;
        let seen = run(&mut link, &mut caller, pace, 1_200);
        assert!(seen.done > 50 && seen.lost == 0, "{pace:?}: {seen:?}");
        assert!(seen.seconds > 0.05, "{pace:?}: {seen:?}");
        match pace {
            Pace::Bulk(_) => assert!(link.longest < 200, "acknowledgements are short"),
            _ => assert_eq!(link.longest, 1_200, "answers are as long as calls"),
        }
        if let Pace::Rate(rate) = pace {
            assert!(seen.done <= rate * 150 / 1_000 + 1, "{seen:?}");
        }
    }
}

#[test]
fn what_is_lost_stops_nothing_and_is_counted() {
    let (mut link, mut caller) = (Near::default(), Caller::new());
    link.lose_each = Some(100);
    for pace in [Pace::Window(8), Pace::Bulk(32)] {
        let time = Duration::from_millis(300);
        let load = Load {
            pace,
            size: 500,
            time,
        };
        let seen = caller
            .run(&mut link, &load)
            .expect("a message of this size");
        assert!(seen.done > 100 && seen.lost > 0, "{pace:?}: {seen:?}");
    }
    link.lose_each = None;
    let seen = run(&mut link, &mut caller, Pace::Window(8), 500);
    assert_eq!(seen.lost, 0, "the next load begins anew: {seen:?}");
}

#[test]
fn what_is_under_way_when_bulk_ends_does_not_stop_the_next() {
    let (mut link, mut caller) = (Near::default(), Caller::new());
    link.late = 3;
    for _ in 0..3 {
        let seen = run(&mut link, &mut caller, Pace::Bulk(128), 1_200);
        assert!(seen.done > 0 && seen.lost == 0, "{seen:?}");
        // One that stands still waits in vain until it gives up, thousands of times.
        assert!(link.most_waits < 16, "{} waits in vain", link.most_waits);
        // As the process does while it waits for its next order.
        link.late = 0;
        while link.receive(&mut |_| {}) > 0 {}
        link.late = 3;
    }
}
