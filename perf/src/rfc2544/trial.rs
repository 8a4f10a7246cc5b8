//! One trial: frames into the first link at a constant rate, and what comes out of the second.

use std::time::{Duration, Instant};

use dmsc_dpdk::{BURST, Burst, Mbuf, Mempool, tsc, tsc_hz};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::prng::Prng;
use crate::transit::{Far, Mode, STAMP, Size, Template};

/// Most frames that a generator makes up for when it comes too late; what is beyond was never sent.
const MOST_BEHIND: u64 = 256;
/// Cycles between two looks at the clock for hellos, as a share of a second.
const HOUSEKEEPING: u64 = 1_000;
/// Turns of the generator per second that are the fewest with which it runs; between two that are further apart somebody else had its core.
const TURNS: u64 = 10_000;
/// Silence after which nothing more is expected.
const SILENCE: Duration = Duration::from_millis(30);
/// Longest wait for what is under way (RFC 2544 waits two seconds).
const LAST_FRAMES: Duration = Duration::from_secs(2);
/// Longest latency that is told apart, ns.
const LONGEST_NS: u64 = 60_000_000_000;
/// What the frames of a generator begin their payload with; a trial's number is mixed in.
const MARK: u32 = 0x4d53_4347;
/// Names drawn beforehand.
pub const NAMES: usize = 1 << 18;

/// What a trial shall be.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    /// Frames per second; none: as many as the link takes.
    pub rate: Option<f64>,
    /// How long.
    pub seconds: f64,
    /// Whether latency is recorded.
    pub latency: bool,
}

/// What came out of a trial.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Trial {
    /// How long frames were sent, s.
    pub seconds: f64,
    /// How long somebody else had the generator's core meanwhile, s: the schedule stood still. At most as long as the trial.
    pub stalled: f64,
    /// Frames that were to be sent.
    pub intended: u64,
    /// Frames that the link took.
    pub sent: u64,
    /// Not sent, because the link was full: the router did not keep up.
    pub refused: u64,
    /// Not sent, because the generator did not keep up.
    pub late: u64,
    /// Frames that came out at the other side.
    pub received: u64,
    /// Bytes of them.
    pub received_bytes: u64,
    /// Frames per burst that the generator sent.
    pub mean_burst_sent: f64,
    /// Frames per burst that the router received.
    pub mean_burst: Option<f64>,
    /// Share of the router's time in which it had something to do.
    pub router_busy: Option<f64>,
    /// What the router dropped, by reason.
    pub drops: Vec<(String, u64)>,
    /// Nanoseconds from the hand-over of a frame to the driver to its reception.
    #[serde(skip)]
    pub latency: Option<Histogram<u64>>,
}

impl Trial {
    /// Share of the intended that did not come out: what was never sent is lost, too.
    pub fn loss(&self) -> f64 {
        match self.intended {
            0 => 1.0,
            intended => intended.saturating_sub(self.received) as f64 / intended as f64,
        }
    }

    /// Share of the intended that the generator was too late with.
    pub fn late_ratio(&self) -> f64 {
        self.late as f64 / self.intended.max(1) as f64
    }

    /// Frames per second that came out.
    pub fn rate(&self) -> f64 {
        self.received as f64 / self.seconds
    }
}

/// Makes, sends and receives.
pub struct Generator {
    source: Far,
    sink: Far,
    pool: Mempool,
    templates: Vec<Template>,
    names: Vec<u32>,
    trial: u32,
    next_name: usize,
    next_template: usize,
}

/// What is counted while frames fly.
struct Flight {
    mark: u32,
    received: u64,
    received_bytes: u64,
    latency: Option<Histogram<u64>>,
    ns_per_cycle: f64,
    stamp_at: Template,
    last: Instant,
}

impl Generator {
    /// Frames of `mode` and `size` to `names` names drawn from `prefixes` prefixes, which must both be above 0.
    pub fn new(
        (source, sink): (Far, Far),
        pool: &Mempool,
        mode: Mode,
        size: Size,
        (names, prefixes): (usize, u32),
    ) -> Generator {
        let mut prng = Prng::new(2544, 0);
        let names = (0..names).map(|_| prng.below(prefixes as usize) as u32);
        Generator {
            source,
            sink,
            pool: pool.clone(),
            templates: templates(mode, size),
            names: names.collect(),
            trial: 0,
            next_name: 0,
            next_template: 0,
        }
    }

    /// Other frames from now on.
    pub fn set_frames(&mut self, mode: Mode, size: Size) {
        self.templates = templates(mode, size);
        self.next_template = 0;
    }

    /// Runs one trial.
    pub fn run(&mut self, order: Order) -> Trial {
        self.trial += 1;
        let hz = tsc_hz() as f64;
        let mut flight = Flight {
            mark: MARK ^ self.trial,
            received: 0,
            received_bytes: 0,
            latency: order.latency.then(histogram),
            ns_per_cycle: 1e9 / hz,
            stamp_at: self.templates[0].clone(),
            last: Instant::now(),
        };
        let mut trial = Trial::default();
        let (mut pending, mut scheduled, mut bursts) = (Burst::new(), 0_u64, 0_u64);
        let mut blocked = false;
        let per_cycle = order.rate.map(|rate| rate / hz);
        let start = tsc();
        let cycles = (order.seconds * hz) as u64;
        let longest_turn = tsc_hz() / TURNS;
        let (mut previous, mut stalled) = (start, 0);
        let mut next_housekeeping = start;
        loop {
            let now = tsc();
            let turn = now - previous;
            previous = now;
            // The load is constant while it lasts; what a stalled sender did not send is nobody's loss.
            if turn > longest_turn && stalled + turn < cycles {
                stalled += turn;
            }
            let elapsed = now - start - stalled;
            self.receive(&mut flight);
            if now >= next_housekeeping {
                next_housekeeping = now + tsc_hz() / HOUSEKEEPING;
                self.keep_house();
            }
            if elapsed >= cycles {
                trial.seconds = elapsed as f64 / hz;
                trial.stalled = stalled as f64 / hz;
                break;
            }
            if pending.is_empty() {
                let wanted = match per_cycle {
                    None => BURST as u64,
                    Some(per_cycle) => {
                        let due = (elapsed as f64 * per_cycle) as u64;
                        let behind = due.saturating_sub(scheduled);
                        if behind > MOST_BEHIND {
                            let skipped = behind - MOST_BEHIND;
                            scheduled += skipped;
                            if blocked {
                                trial.refused += skipped;
                            } else {
                                trial.late += skipped;
                            }
                        }
                        blocked = false;
                        due.saturating_sub(scheduled).min(BURST as u64)
                    }
                };
                let made = self.make(&mut pending, wanted as usize, flight.mark);
                scheduled += made;
            }
            if !pending.is_empty() {
                let taken = self.source.tx.burst(&mut pending) as u64;
                trial.sent += taken;
                bursts += u64::from(taken > 0);
                blocked |= !pending.is_empty();
            }
        }
        // What the schedule still wanted when time was up is less than what it may be behind.
        trial.refused += pending.len() as u64;
        pending.clear();
        self.wait_for_last(&mut flight, trial.sent);
        trial.intended = trial.sent + trial.refused + trial.late;
        trial.received = flight.received;
        trial.received_bytes = flight.received_bytes;
        trial.mean_burst_sent = trial.sent as f64 / bursts.max(1) as f64;
        trial.latency = flight.latency;
        trial
    }

    /// Fills `burst` with `wanted` frames; fewer if buffers are short, because the link holds them.
    fn make(&mut self, burst: &mut Burst, wanted: usize, mark: u32) -> u64 {
        if wanted == 0 || !self.pool.alloc_bulk(burst, wanted) {
            return 0;
        }
        let time = tsc().to_be_bytes();
        for mbuf in burst.iter_mut() {
            let template = &self.templates[self.next_template];
            self.next_template = (self.next_template + 1) % self.templates.len();
            let number = self.names[self.next_name];
            self.next_name += 1;
            if self.next_name == self.names.len() {
                self.next_name = 0;
            }
            let mut stamp = [0; STAMP];
            stamp[..4].copy_from_slice(&mark.to_be_bytes());
            stamp[8..].copy_from_slice(&time);
            if let Some(bytes) = mbuf.append(template.bytes.len()) {
                let head = template.head();
                bytes[..head.len()].copy_from_slice(head);
                template.write(bytes, number, &stamp);
            }
        }
        wanted as u64
    }

    #[inline]
    fn receive(&mut self, flight: &mut Flight) {
        let mut burst = Burst::new();
        if self.sink.rx.burst(&mut burst) == 0 {
            return;
        }
        let now = tsc();
        for mbuf in burst.iter() {
            if !flight.count(mbuf, now) && mbuf.is_contiguous() {
                self.sink.hear(mbuf.data());
            }
        }
    }

    /// Keeps both links up: the source's side receives nothing but hellos.
    fn keep_house(&mut self) {
        self.source.turn();
        self.sink.say_what_is_due(Instant::now());
    }

    fn wait_for_last(&mut self, flight: &mut Flight, sent: u64) {
        let start = Instant::now();
        flight.last = start;
        let mut received = flight.received;
        while flight.received < sent
            && flight.last.elapsed() < SILENCE
            && start.elapsed() < LAST_FRAMES
        {
            self.receive(flight);
            self.keep_house();
            if flight.received != received {
                received = flight.received;
                flight.last = Instant::now();
            }
        }
    }
}

impl Flight {
    /// Counts a frame of this trial; false if it is none.
    #[inline]
    fn count(&mut self, mbuf: &Mbuf, now: u64) -> bool {
        let Some(stamp) = self.stamp_at.stamp(mbuf.data()) else {
            return false;
        };
        let [m0, m1, m2, m3, _, _, _, _, time @ ..] = stamp;
        if u32::from_be_bytes([*m0, *m1, *m2, *m3]) != self.mark {
            return false;
        }
        self.received += 1;
        self.received_bytes += mbuf.len() as u64;
        if let Some(latency) = &mut self.latency {
            let cycles = now.saturating_sub(u64::from_be_bytes(*time));
            latency.saturating_record((cycles as f64 * self.ns_per_cycle) as u64);
        }
        true
    }
}

fn templates(mode: Mode, size: Size) -> Vec<Template> {
    let lengths = size.cycle();
    lengths
        .into_iter()
        .map(|length| Template::new(mode, length))
        .collect()
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("these bounds are good")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_sent_is_lost() {
        let trial = Trial {
            seconds: 2.0,
            intended: 1_000,
            sent: 900,
            refused: 60,
            late: 40,
            received: 900,
            ..Trial::default()
        };
        assert!((trial.loss() - 0.1).abs() < 1e-12);
        assert!((trial.late_ratio() - 0.04).abs() < 1e-12);
        assert_eq!(trial.rate(), 450.0);
        assert_eq!(Trial::default().loss(), 1.0);
    }
}
