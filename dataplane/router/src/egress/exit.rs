//! The class queues of one worker on one port: what waits, what may go now, and what became of the rest.

use super::{Discipline, Label, Pushed, Scheduler, Shaper};
use crate::counters::ClassCounters;
use crate::frame::Frame;
use crate::port::PortState;

/// Queues and rate. A worker has one per port and asks it only where something waits or the port has a rate.
#[derive(Debug)]
pub struct Exit<F> {
    scheduler: Scheduler<F>,
    shaper: Option<Shaper>,
    mark_frames: usize,
}

/// When what waits may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Nothing waits.
    Nothing,
    /// As soon as the driver has room.
    ForTheRing,
    /// Not before this cycle of the TSC.
    Until(u64),
}

impl<F: Frame> Exit<F> {
    /// Without a rate; at most `hold` frames wait in all.
    pub fn new(discipline: &Discipline, hold: usize) -> Exit<F> {
        Exit {
            scheduler: Scheduler::new(discipline, hold),
            shaper: None,
            mark_frames: discipline.mark_frames,
        }
    }

    /// Sets the rate; 0: as fast as the driver takes it.
    pub fn set_rate(&mut self, bytes_per_s: u64, hz: u64, now: u64) {
        let had = self.shaper.as_ref().map_or(0, Shaper::bytes_per_s);
        if had != bytes_per_s {
            self.shaper = (bytes_per_s > 0).then(|| Shaper::new(bytes_per_s, hz, now));
        }
    }

    /// Whether the port has a rate, and every frame comes here.
    pub fn is_shaped(&self) -> bool {
        self.shaper.is_some()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.scheduler.is_empty()
    }

    /// Takes in a frame of `bytes` that leaves by `port`, marked where its class has a queue already. What finds no room comes back:
    /// it, or the newest of a lower class.
    pub fn push(
        &mut self,
        port: &PortState,
        udp_port: u16,
        mut frame: F,
        bytes: u32,
        counters: &[ClassCounters],
    ) -> Option<F> {
        let label = Label::of(frame.bytes(), port, udp_port);
        let waiting = self.scheduler.len_of(label.class);
        // Drops come before marks: what is not carried needs none.
        let marked = waiting >= self.mark_frames
            && !self.scheduler.is_full_for(label.class)
            && label.mark(frame.bytes_mut());
        let count = |class: u8, one: fn(&ClassCounters)| {
            if let Some(counters) = counters.get(usize::from(class)) {
                one(counters);
            }
        };
        count(label.class, |c| c.came.add(1));
        if marked {
            count(label.class, |c| c.marked.add(1));
        }
        match self.scheduler.push(label.class, frame, bytes) {
            Pushed::Kept => None,
            Pushed::InsteadOf(lower, evicted) => {
                count(lower, |c| c.dropped.add(1));
                Some(evicted)
            }
            Pushed::Refused(frame) => {
                count(label.class, |c| c.dropped.add(1));
                Some(frame)
            }
        }
    }

    /// The frame that goes next, if one may at cycle `now`.
    #[inline]
    pub fn pop(&mut self, now: u64, counters: &[ClassCounters]) -> Option<F> {
        if self.scheduler.is_empty() {
            return None;
        }
        if let Some(shaper) = &mut self.shaper
            && !shaper.refill(now)
        {
            return None;
        }
        let next = self.scheduler.pop()?;
        if let Some(shaper) = &mut self.shaper {
            shaper.spend(u64::from(next.bytes));
        }
        if let Some(counters) = counters.get(usize::from(next.class)) {
            counters.sent.add(1);
            counters.sent_bytes.add(u64::from(next.bytes));
        }
        Some(next.frame)
    }

    /// When what waits may go.
    pub fn waiting(&self) -> Waiting {
        match (&self.shaper, self.scheduler.is_empty()) {
            (_, true) => Waiting::Nothing,
            (None, _) => Waiting::ForTheRing,
            (Some(shaper), _) => Waiting::Until(shaper.ready_at()),
        }
    }

    /// Frames that wait, of all classes.
    pub fn len(&self) -> usize {
        self.scheduler.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::PortCounters;
    use crate::egress::CLASSES;
    use crate::frame::PlainFrame;
    use crate::stage::testing;

    const UDP: u16 = dmsc_wire::UDP_PORT;
    const HZ: u64 = 1_000_000_000;

    /// A bare Ethernet frame of 1,000 bytes; `ecn` as in the header.
    fn frame(class: u8, ecn: u8) -> PlainFrame {
        let mut bytes = vec![2; 1000];
        bytes[12..14].copy_from_slice(&dmsc_wire::ETHERTYPE.to_be_bytes());
        bytes[14] = dmsc_wire::VERSION << 4;
        bytes[17] = class << 5 | ecn << 3;
        PlainFrame::new(&bytes)
    }

    /// One and a half times what the link carries of class 0, and a little of class 5, in virtual time.
    #[test]
    fn an_overload_of_class_0_costs_class_5_nothing() {
        let port = testing::port(0, &[]);
        let counters = PortCounters::default();
        let mut exit = Exit::new(&Discipline::default(), 1024);
        exit.set_rate(6_250_000, HZ, 0); // 50 Mbit/s
        let step = 1000 * HZ / 9_375_000; // 75 Mbit/s
        let mut waits = std::collections::VecDeque::new();
        let mut worst = 0;
        for turn in 0..20_000u64 {
            let now = turn * step;
            exit.push(&port, UDP, frame(0, 2), 1000, &counters.classes);
            if turn % 90 == 0 {
                assert!(
                    exit.push(&port, UDP, frame(5, 2), 1000, &counters.classes)
                        .is_none()
                );
                waits.push_back(now);
            }
            while let Some(frame) = exit.pop(now, &counters.classes) {
                if frame.bytes()[17] >> 5 == 5 {
                    let came = waits.pop_front().expect("it came");
                    worst = worst.max(now - came);
                }
            }
            assert!(exit.len() <= 256 + 2);
        }
        let (low, high) = (&counters.classes[0], &counters.classes[5]);
        assert_eq!((high.dropped.get(), high.marked.get()), (0, 0));
        // The frame under way and its own, 160 us each.
        assert!(worst < 330_000, "class 5 waited {worst} ns");
        let (came, sent, dropped) = (low.came.get(), low.sent.get(), low.dropped.get());
        assert_eq!(came, 20_000);
        assert_eq!(came - sent - dropped, exit.scheduler.len_of(0) as u64);
        assert!((6_000..7_000).contains(&dropped), "{dropped}");
        assert!(low.marked.get() > 10_000);
        let bytes: u64 = counters.classes.iter().map(|c| c.sent_bytes.get()).sum();
        let due = 20_000 * step * 625 / 100_000;
        assert!(bytes.abs_diff(due) < due / 100, "{bytes} of {due}");
    }

    #[test]
    fn it_says_how_long_to_wait() {
        let port = testing::port(0, &[]);
        let counters = PortCounters::default();
        let mut exit = Exit::new(&Discipline::default(), 8 * CLASSES);
        assert_eq!(exit.waiting(), Waiting::Nothing);
        exit.push(&port, UDP, frame(0, 0), 1000, &counters.classes);
        assert_eq!(exit.waiting(), Waiting::ForTheRing);
        exit.set_rate(1_000_000, HZ, 0);
        for _ in 0..10 {
            exit.push(&port, UDP, frame(0, 0), 1000, &counters.classes);
        }
        // A burst of 2,000 bytes goes at once, the third frame a millisecond later.
        let go = |exit: &mut Exit<PlainFrame>, now| {
            std::iter::from_fn(|| exit.pop(now, &counters.classes)).count()
        };
        assert_eq!(go(&mut exit, 0), 2);
        let Waiting::Until(at) = exit.waiting() else {
            panic!("something waits")
        };
        assert!(at <= 2_000, "{at}");
        assert_eq!(go(&mut exit, at), 1);
        assert!(
            matches!(exit.waiting(), Waiting::Until(later) if later.abs_diff(at + 1_000_000) < 2_000)
        );
        exit.set_rate(0, HZ, 0);
        assert_eq!(go(&mut exit, at), 8);
        assert_eq!(exit.waiting(), Waiting::Nothing);
    }

    #[test]
    fn marks_go_to_what_understands_them_and_is_carried() {
        let port = testing::port(0, &[]);
        let counters = PortCounters::default();
        let discipline = Discipline {
            queue_frames: 4,
            mark_frames: 2,
            ..Discipline::default()
        };
        let mut exit = Exit::new(&discipline, 100);
        for ecn in [2, 2, 2, 0, 2] {
            exit.push(&port, UDP, frame(3, ecn), 1000, &counters.classes);
        }
        let class = &counters.classes[3];
        assert_eq!(
            (class.came.get(), class.marked.get(), class.dropped.get()),
            (5, 1, 1)
        );
        let marks: Vec<_> = std::iter::from_fn(|| exit.pop(0, &counters.classes))
            .map(|frame| frame.bytes()[17] >> 3 & 3)
            .collect();
        assert_eq!(marks, [2, 2, 3, 0]);
    }
}
