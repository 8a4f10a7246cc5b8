//! The calling end: a load, and what came of it.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::echo::{ACKNOWLEDGED, ANSWER, MARK, unpack};
use super::link::{Link, Message, id_of};
use super::order::{Load, Pace, Seen};

/// Fills the payload of a call that wants its answer.
pub const CALL: u8 = 1;
/// Fills the payload of a message that is only counted.
pub const BULK: u8 = 2;
/// Calls whose time of sending is remembered: more than are ever under way.
const REMEMBERED: usize = 1 << 14;
/// An answer that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(1);
/// Longest sleep.
const STEP: Duration = Duration::from_millis(20);

/// What it sent so far. The way keeps the order: what comes back tells that all before it came back, or was lost.
pub struct Caller {
    sent_at: Vec<Instant>,
    next: u64,
    bulk: Bulk,
}

/// Messages that are only acknowledged.
#[derive(Default)]
struct Bulk {
    sent: u64,
    /// Of these, those up to the last that the server has, or that were given up.
    settled: u64,
    /// Of these, those that the server has.
    counted: u64,
}

impl Bulk {
    /// Takes an acknowledgement; false: it says nothing new.
    fn acknowledge(&mut self, (last, counted): (u32, u32)) -> bool {
        let behind = (self.sent as u32).wrapping_sub(last.wrapping_add(1));
        let settled = self.sent.saturating_sub(u64::from(behind));
        if settled <= self.settled {
            return false;
        }
        self.settled = settled;
        self.counted += u64::from(counted.wrapping_sub(self.counted as u32));
        true
    }

    /// Hears what is still under way when a load is over. Nobody listens between loads: the next one would take it for under way, and wait for it with a full window.
    fn drain(&mut self, link: &mut dyn Link) {
        let mut last = Instant::now();
        while self.sent - self.settled >= ACKNOWLEDGED {
            if last.elapsed() > PATIENCE {
                self.settled = self.sent;
                return;
            }
            let received = link.receive(&mut |packet| {
                let acknowledged = answered(packet, MARK).map(unpack);
                if acknowledged.is_some_and(|a| self.acknowledge(a)) {
                    last = Instant::now();
                }
            });
            if received == 0 {
                link.wait(STEP);
            }
        }
    }
}

impl Caller {
    /// None yet.
    pub fn new() -> Caller {
        Caller {
            sent_at: vec![Instant::now(); REMEMBERED],
            next: 0,
            bulk: Bulk::default(),
        }
    }

    /// Does what the load says.
    ///
    /// # Errors
    /// When there is no such message.
    pub fn run(&mut self, link: &mut dyn Link, load: &Load) -> anyhow::Result<Seen> {
        let mark = if matches!(load.pace, Pace::Bulk(_)) {
            BULK
        } else {
            CALL
        };
        let message = Message::request(load.size, mark)?;
        Ok(match load.pace {
            Pace::Rate(rate) => self.call(link, &message, load.time, usize::MAX, Some(rate)),
            Pace::Window(window) => self.call(link, &message, load.time, window, None),
            Pace::Bulk(window) => self.bulk(link, &message, load.time, window as u64),
        })
    }

    fn call(
        &mut self,
        link: &mut dyn Link,
        message: &Message,
        time: Duration,
        window: usize,
        rate: Option<u64>,
    ) -> Seen {
        let mut latency =
            Histogram::<u64>::new_with_bounds(1, 10_000_000_000, 3).expect("bounds are good");
        let start = Instant::now();
        let (end, first) = (start + time, self.next);
        let mut expected = first;
        let (mut done, mut lost, mut last) = (0_u64, 0_u64, start);
        let due_at =
            |n: u64| rate.map_or(start, |rate| start + Duration::from_secs(n) / rate as u32);
        loop {
            let now = Instant::now();
            let under_way = self.next - expected;
            if now >= end && under_way == 0 {
                break;
            }
            if under_way > 0 && now.duration_since(last) > PATIENCE {
                lost += under_way;
                expected = self.next;
                continue;
            }
            let mut room = window.min(REMEMBERED) as u64;
            room = room.saturating_sub(under_way);
            let mut pushed = false;
            while now < end && room > 0 && due_at(self.next - first) <= now {
                self.sent_at[self.next as usize % REMEMBERED] = now;
                link.push(message, self.next);
                self.next += 1;
                room -= 1;
                pushed = true;
            }
            if pushed {
                link.flush();
                if under_way == 0 {
                    last = now;
                }
            }
            let next = self.next;
            let sent_at = &self.sent_at;
            let received = link.receive(&mut |packet| {
                let Some(id) = answered(packet, ANSWER).filter(|id| (expected..next).contains(id))
                else {
                    return; // of a load before, or too late
                };
                let now = Instant::now();
                let took = now.duration_since(sent_at[id as usize % REMEMBERED]);
                latency.saturating_record(took.as_nanos() as u64);
                lost += id - expected;
                expected = id + 1;
                done += 1;
                last = now;
            });
            if received == 0 {
                let due = due_at(self.next - first);
                let limit = match rate {
                    Some(_) if now < end => due.saturating_duration_since(Instant::now()),
                    _ => STEP,
                };
                if !limit.is_zero() {
                    link.wait(limit.min(STEP));
                }
            }
        }
        let us = |quantile| latency.value_at_quantile(quantile) as f64 / 1_000.0;
        Seen {
            done,
            lost,
            seconds: last.duration_since(start).as_secs_f64(),
            p50_us: us(0.5),
            p99_us: us(0.99),
        }
    }

    fn bulk(
        &mut self,
        link: &mut dyn Link,
        message: &Message,
        time: Duration,
        window: u64,
    ) -> Seen {
        let start = Instant::now();
        let bulk = &mut self.bulk;
        let (end, settled_before, counted_before) = (start + time, bulk.settled, bulk.counted);
        let mut last = start;
        loop {
            let now = Instant::now();
            // On a machine that others have for a while, until something came.
            let any = bulk.counted > counted_before;
            if now >= end && (any || now >= end + PATIENCE) {
                break;
            }
            if bulk.sent - bulk.settled >= window && now.duration_since(last) > PATIENCE {
                bulk.settled = bulk.sent;
                last = now;
            }
            let room = window.saturating_sub(bulk.sent - bulk.settled);
            for _ in 0..room {
                link.push(message, bulk.sent);
                bulk.sent += 1;
            }
            if room > 0 {
                link.flush();
            }
            let received = link.receive(&mut |packet| {
                let acknowledged = answered(packet, MARK).map(unpack);
                if acknowledged.is_some_and(|a| bulk.acknowledge(a)) {
                    last = Instant::now();
                }
            });
            if received == 0 {
                link.wait(STEP);
            }
        }
        let done = bulk.counted - counted_before;
        let seen = Seen {
            done,
            lost: (bulk.settled - settled_before).saturating_sub(done),
            seconds: last.duration_since(start).as_secs_f64(),
            ..Seen::default()
        };
        bulk.drain(link);
        seen
    }
}

/// The number in an answer whose payload is of this mark.
fn answered(packet: &[u8], mark: u8) -> Option<u64> {
    (packet.last() == Some(&mark)).then(|| id_of(packet))?
}
