//! What a link is like: its delay by probes (FORMAT.md, section 7), which go with hellos of a link that is up, and its loss by the gaps between the peer's hellos.
//! No clock is compared with another: of a round trip the peer's own time is taken away.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use dmsc_wire::Probe;

use crate::clock::Clock;

/// Between two probes, ms; one goes with the first hello after that.
const PROBE_MS: u64 = 500;
/// Round trips that are remembered.
const KEPT: usize = 16;
/// The median of fewer says nothing.
const FEWEST: usize = 3;
/// So many that are not answered in a row, and the peer is taken for one that does not know probes (it drops and counts them): its delay is not known …
const SILENT: u64 = 8;
/// … and it is asked so many times more seldom.
const SELDOM: u64 = 64;
/// Probes of the peer are answered no faster than this, ms.
const ANSWER_MS: u64 = 5;

/// Of one link since it came up. Times are TSC cycles. Whoever sends hellos sends probes, and the worker that hears the peer writes the rest.
#[derive(Debug, Default)]
pub struct Quality {
    next_probe: AtomicU64,
    /// Number of the probe under way; 0: none.
    open: AtomicU64,
    /// When it left, ns.
    left: AtomicU64,
    sent: AtomicU64,
    /// In a row.
    unanswered: AtomicU64,
    /// When a probe of the peer was answered last.
    reflected: AtomicU64,
    /// The last round trips, ns; number `n` is at `n % KEPT`.
    trips: [AtomicU32; KEPT],
    answered: AtomicU64,
    hellos: AtomicU64,
    lost: AtomicU64,
}

/// The delay of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delay {
    /// Median of the last round trips, ns: what happens to one of them says nothing about the link.
    pub round_trip_ns: u64,
    /// Mean difference of consecutive ones, without sign, ns (RFC 5481, section 4.1).
    pub variation_ns: u64,
}

/// The number of a probe: whoever does not see the link cannot guess it, and so answers nothing.
fn number(secret: u64, count: u64) -> u64 {
    // splitmix64, which has no fixed points that matter here.
    let mut z = secret.wrapping_add(count.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)).max(1)
}

impl Quality {
    /// The link came up: what was before says nothing about it.
    pub fn begin(&self) {
        for counter in [
            &self.next_probe,
            &self.open,
            &self.unanswered,
            &self.answered,
            &self.hellos,
            &self.lost,
        ] {
            counter.store(0, Relaxed);
        }
    }

    /// A hello of the peer came, `missing` after the one before it.
    pub fn heard(&self, missing: u64) {
        self.hellos.fetch_add(1, Relaxed);
        self.lost.fetch_add(missing, Relaxed);
    }

    /// The probe that is due at `now`, if one is; `secret` is this router's.
    pub fn ask(&self, secret: u64, clock: Clock, now: u64) -> Option<Probe> {
        if now < self.next_probe.load(Relaxed) {
            return None;
        }
        if self.open.load(Relaxed) != 0 {
            self.unanswered.fetch_add(1, Relaxed);
        }
        let seldom = if self.is_silent() { SELDOM } else { 1 };
        self.next_probe
            .store(now + clock.from_ms(PROBE_MS * seldom), Relaxed);
        let id = number(secret, self.sent.fetch_add(1, Relaxed));
        let t1 = clock.to_ns(now);
        self.left.store(t1, Relaxed);
        self.open.store(id, Relaxed);
        Some(Probe {
            id,
            t1,
            ..Probe::default()
        })
    }

    /// The answer to a probe of the peer, which came at `arrived`; none if it asks too fast.
    pub fn reflect(&self, probe: Probe, clock: Clock, arrived: u64, now: u64) -> Option<Probe> {
        let last = self.reflected.load(Relaxed);
        if last != 0 && now.saturating_sub(last) < clock.from_ms(ANSWER_MS) {
            return None;
        }
        self.reflected.store(now.max(1), Relaxed);
        // 0 would say that it was not answered.
        let stamp = |cycles| clock.to_ns(cycles).max(1);
        Some(Probe {
            t2: stamp(arrived),
            t3: stamp(now),
            t4: 0,
            ..probe
        })
    }

    /// An answer of the peer, which came at `arrived`; false if it is to no probe under way, or its stamps make no sense.
    pub fn answer(&self, probe: Probe, clock: Clock, arrived: u64) -> bool {
        let open = self.open.load(Relaxed);
        if open == 0 || probe.id != open || probe.t1 != self.left.load(Relaxed) {
            return false;
        }
        let back = Probe {
            t4: clock.to_ns(arrived),
            ..probe
        };
        let Some(trip) = back.round_trip_ns() else {
            return false;
        };
        self.open.store(0, Relaxed);
        if self.unanswered.swap(0, Relaxed) >= SILENT {
            self.next_probe.store(0, Relaxed); // no longer seldom
        }
        let place = self.answered.load(Relaxed);
        let trip = u32::try_from(trip).unwrap_or(u32::MAX);
        self.trips[place as usize % KEPT].store(trip, Relaxed);
        self.answered.store(place + 1, Relaxed);
        true
    }

    fn is_silent(&self) -> bool {
        self.unanswered.load(Relaxed) >= SILENT
    }

    /// The delay; `None` before the third answer, and of a peer that stopped answering.
    pub fn delay(&self) -> Option<Delay> {
        let answered = self.answered.load(Relaxed) as usize;
        if answered < FEWEST || self.is_silent() {
            return None;
        }
        let mut trips: Vec<u64> = (answered.saturating_sub(KEPT)..answered)
            .map(|place| u64::from(self.trips[place % KEPT].load(Relaxed)))
            .collect();
        let steps = trips.windows(2).map(|pair| pair[0].abs_diff(pair[1]));
        let variation_ns = steps.sum::<u64>() / (trips.len() as u64 - 1).max(1);
        trips.sort_unstable();
        Some(Delay {
            round_trip_ns: trips[trips.len() / 2],
            variation_ns,
        })
    }

    /// Hellos of the peer that came, and that are missing between them.
    pub fn hellos(&self) -> (u64, u64) {
        (self.hellos.load(Relaxed), self.lost.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: Clock = Clock::ONE_GHZ;
    const SECOND: u64 = 1_000_000_000;

    /// One probe there and back, over a link of `delay` each way, to a peer that takes its `time` and whose clock is another.
    fn trip(quality: &Quality, peer: &Quality, now: u64, delay: u64, time: u64) -> bool {
        let probe = quality.ask(7, CLOCK, now).expect("due");
        let there = 99 * SECOND + now + delay;
        let back = peer.reflect(probe, CLOCK, there, there + time);
        quality.answer(back.expect("answered"), CLOCK, now + 2 * delay + time)
    }

    #[test]
    fn the_median_of_round_trips_without_the_peers_time() {
        let (quality, peer) = (Quality::default(), Quality::default());
        assert_eq!(quality.delay(), None);
        for n in 0..40 {
            // One in four is disturbed.
            let delay = if n % 4 == 0 { 90_000 } else { 5_000 };
            assert!(trip(&quality, &peer, n * SECOND, delay, 300_000));
        }
        let delay = quality.delay().expect("known");
        assert_eq!(delay.round_trip_ns, 10_000);
        assert!((75_000..85_000).contains(&delay.variation_ns), "{delay:?}");
        // The link is another from now on.
        for n in 40..50 {
            assert!(trip(&quality, &peer, n * SECOND, 50_000, 0));
        }
        assert_eq!(quality.delay().expect("known").round_trip_ns, 100_000);
        quality.begin();
        assert_eq!(quality.delay(), None);
    }

    #[test]
    fn only_the_answer_that_is_waited_for_counts_once() {
        let (quality, peer) = (Quality::default(), Quality::default());
        let first = quality.ask(7, CLOCK, SECOND).expect("due");
        assert_eq!(quality.ask(7, CLOCK, SECOND + 1), None, "not due yet");
        let answer = peer.reflect(first, CLOCK, 10, 20).expect("answered");
        assert_eq!(peer.reflect(first, CLOCK, 30, 40), None, "too fast");
        let false_ones = [
            Probe { id: 1, ..answer },
            Probe { t1: 1, ..answer },
            Probe {
                t3: 10 + SECOND,
                ..answer
            },
        ];
        for one in false_ones {
            assert!(!quality.answer(one, CLOCK, SECOND + 100), "{one:?}");
        }
        assert!(quality.answer(answer, CLOCK, SECOND + 100));
        assert!(!quality.answer(answer, CLOCK, SECOND + 100));
        let late = quality.ask(7, CLOCK, 2 * SECOND).expect("due");
        let answer = peer.reflect(late, CLOCK, SECOND, SECOND).expect("answered");
        quality.ask(7, CLOCK, 3 * SECOND).expect("due");
        assert!(!quality.answer(answer, CLOCK, 3 * SECOND));
    }

    #[test]
    fn a_peer_that_knows_no_probes_is_asked_seldom() {
        let quality = Quality::default();
        assert!(trip(&quality, &Quality::default(), 0, 5, 5));
        let asked = (1..1_000).filter(|n| quality.ask(7, CLOCK, n * SECOND).is_some());
        assert!((20..60).contains(&asked.count()));
        assert_eq!(quality.delay(), None);
        for n in 2_000..2_003 {
            assert!(trip(&quality, &Quality::default(), n * SECOND, 5, 5));
        }
        assert!(
            quality.delay().is_some(),
            "it was replaced by one that does"
        );
    }
}
