//! One direction of a wire without sockets and clock: frames go in with the time, and come out when they are due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::decide::Decider;
use super::settings::{Counters, Settings};

/// Bytes that a frame occupies on an Ethernet cable besides itself: preamble, checksum, gap.
const ON_CABLE: u64 = 24;

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    due_ns: u64,
    // Frames due at the same time leave in the order in which they came.
    order: u64,
    frame: Vec<u8>,
}

/// Frames on their way in one direction.
#[derive(Debug)]
pub struct Direction {
    decider: Decider,
    waiting: BinaryHeap<Reverse<Waiting>>,
    order: u64,
    last_due_ns: u64,
    cable_free_ns: u64,
    spare: Vec<Vec<u8>>,
    /// What became of the frames.
    pub counters: Counters,
}

impl Direction {
    /// An empty cable whose decisions follow `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            decider: Decider::new(seed),
            waiting: BinaryHeap::new(),
            order: 0,
            last_due_ns: 0,
            cable_free_ns: 0,
            spare: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// Takes a frame at `now_ns`. True: it is due at once and nothing is before it, so the caller sends it, without a copy.
    pub fn offer(&mut self, now_ns: u64, frame: &[u8], settings: &Settings) -> bool {
        self.counters.received += 1;
        let decision = self.decider.next(settings);
        if settings.cut {
            self.counters.cut += 1;
            return false;
        }
        if decision.lose {
            self.counters.lost += 1;
            return false;
        }
        if self.waiting.len() >= settings.queue_frames as usize {
            self.counters.overflow += 1;
            return false;
        }
        let sent_ns = if settings.rate_bps == 0 {
            now_ns
        } else {
            let bits = (frame.len() as u64 + ON_CABLE) * 8;
            let on_cable_ns = (u128::from(bits) * 1_000_000_000 / u128::from(settings.rate_bps))
                .min(u128::from(u64::MAX / 4)) as u64;
            self.cable_free_ns = self.cable_free_ns.max(now_ns) + on_cable_ns;
            self.cable_free_ns
        };
        let arrival_ns = sent_ns + settings.delay_ns + decision.jitter_ns;
        let due_ns = if decision.reorder {
            self.counters.reordered += 1;
            arrival_ns + settings.reorder_hold_ns
        } else {
            // Jitter stretches and squeezes, as a queue does; it does not reorder.
            self.last_due_ns = self.last_due_ns.max(arrival_ns);
            self.last_due_ns
        };
        if decision.duplicate {
            self.counters.duplicated += 1;
            self.wait(due_ns, frame);
        } else if due_ns <= now_ns
            && self
                .waiting
                .peek()
                .is_none_or(|Reverse(w)| w.due_ns > now_ns)
        {
            return true;
        }
        self.wait(due_ns, frame);
        false
    }

    fn wait(&mut self, due_ns: u64, frame: &[u8]) {
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(frame);
        self.waiting.push(Reverse(Waiting {
            due_ns,
            order: self.order,
            frame: copy,
        }));
        self.order += 1;
    }

    /// Hands every frame that is due at `now_ns` to `send`, in order. Frames on a cut cable are lost.
    pub fn release(&mut self, now_ns: u64, settings: &Settings, mut send: impl FnMut(&[u8])) {
        while self
            .waiting
            .peek()
            .is_some_and(|Reverse(w)| w.due_ns <= now_ns)
        {
            let Some(Reverse(waiting)) = self.waiting.pop() else {
                return;
            };
            if settings.cut {
                self.counters.cut += 1;
            } else {
                send(&waiting.frame);
            }
            if self.spare.len() < 1_024 {
                self.spare.push(waiting.frame);
            }
        }
    }

    /// When the next frame is due, ns; none if nothing waits.
    #[must_use]
    pub fn next_due_ns(&self) -> Option<u64> {
        self.waiting.peek().map(|Reverse(w)| w.due_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn drain(direction: &mut Direction, now: u64, settings: &Settings) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        direction.release(now, settings, |frame| out.push(frame.to_vec()));
        out
    }

    #[test]
    fn a_perfect_cable_passes_at_once() {
        let mut direction = Direction::new(1);
        assert!(direction.offer(5, b"frame", &Settings::default()));
        assert_eq!(direction.next_due_ns(), None);
    }

    #[test]
    fn delay_is_exact_and_keeps_order() {
        let settings = Settings {
            delay_ns: 30 * MS,
            jitter_ns: 10 * MS,
            ..Settings::default()
        };
        let mut direction = Direction::new(1);
        for n in 0..100u8 {
            assert!(!direction.offer(u64::from(n) * MS, &[n], &settings));
        }
        assert!(drain(&mut direction, 30 * MS - 1, &settings).is_empty());
        let all = drain(&mut direction, 200 * MS, &settings);
        assert_eq!(all, (0..100u8).map(|n| vec![n]).collect::<Vec<_>>());
    }

    #[test]
    fn the_rate_is_that_of_the_cable() {
        // 101 frames of 1,226 + 24 bytes = 10,000 bit at 10 Mbit/s: one per ms.
        let settings = Settings {
            rate_bps: 10_000_000,
            ..Settings::default()
        };
        let mut direction = Direction::new(1);
        for _ in 0..101 {
            assert!(!direction.offer(0, &[0; 1226], &settings));
        }
        assert_eq!(drain(&mut direction, 50 * MS, &settings).len(), 50);
        assert_eq!(drain(&mut direction, 101 * MS, &settings).len(), 51);
    }

    #[test]
    fn the_queue_ends() {
        let settings = Settings {
            delay_ns: MS,
            queue_frames: 10,
            ..Settings::default()
        };
        let mut direction = Direction::new(1);
        for _ in 0..15 {
            direction.offer(0, b"x", &settings);
        }
        assert_eq!(direction.counters.overflow, 5);
    }

    #[test]
    fn a_reordered_frame_is_overtaken_and_a_duplicate_comes_twice() {
        let late = Settings {
            reorder: 1.0,
            ..Settings::default()
        };
        let mut direction = Direction::new(1);
        assert!(!direction.offer(0, b"late", &late));
        assert!(direction.offer(1, b"next", &Settings::default()));
        assert_eq!(drain(&mut direction, 3 * MS, &late), vec![b"late".to_vec()]);
        let twice = Settings {
            duplicate: 1.0,
            ..Settings::default()
        };
        assert!(!direction.offer(4 * MS, b"twin", &twice));
        assert_eq!(drain(&mut direction, 4 * MS, &twice).len(), 2);
    }

    #[test]
    fn a_cut_loses_what_comes_and_what_is_on_its_way() {
        let settings = Settings {
            delay_ns: MS,
            ..Settings::default()
        };
        let cut = Settings {
            cut: true,
            ..settings
        };
        let mut direction = Direction::new(1);
        direction.offer(0, b"under way", &settings);
        direction.offer(1, b"later", &cut);
        assert!(drain(&mut direction, 2 * MS, &cut).is_empty());
        assert_eq!(direction.counters.cut, 2);
    }
}
