//! Probes of one pair at the one who sends them: numbers, round trips, what is overdue (design §3; `dmsc_wire::Probe`).
//!
//! Clock-free between nodes: only differences of one node's own clock are used, as TWAMP (RFC 5357) and STAMP (RFC 8762) do.

use std::collections::VecDeque;
use std::time::Duration;

use dmsc_wire::Probe;

use crate::report::Report;

/// Most probes under way; more are overdue before they are answered.
const MAX_OPEN: usize = 64;
/// Further probes after one that is unusual, and how far apart they are sent.
pub const BURST: u8 = 9;
/// Distance of the further probes.
pub const BURST_GAP: Duration = Duration::from_millis(20);

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Counted: two-way delay, µs.
    Counted(u32),
    /// Nobody waits for it: overdue and counted as lost, twice, or of somebody else.
    Unknown,
    /// Its stamps contradict each other; counted as lost when it is overdue.
    Nonsense,
}

/// One pair's probes.
#[derive(Debug)]
pub struct Meter {
    next: u64,
    overdue: Duration,
    /// Number and when it was sent, oldest first.
    open: VecDeque<(u64, Duration)>,
    before_us: Option<u32>,
    /// What is usual, µs: a moving average, slow.
    usual_us: Option<f64>,
    unusual: bool,
    report: Report,
    since: Duration,
}

impl Meter {
    /// Begins at `now`; an answer counts within `overdue`. Numbers go up from `first`, which should be random: answers to a process of before
    /// must not fit.
    #[must_use]
    pub fn new(now: Duration, overdue: Duration, first: u64) -> Self {
        Self {
            next: first,
            overdue,
            open: VecDeque::new(),
            before_us: None,
            usual_us: None,
            unusual: false,
            report: Report::default(),
            since: now,
        }
    }

    /// The probe to send at `now`.
    pub fn send(&mut self, now: Duration) -> Probe {
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        if self.open.len() >= MAX_OPEN {
            self.open.pop_front();
            self.lose();
        }
        self.open.push_back((id, now));
        Probe {
            id,
            t1: nanos(now),
            ..Probe::default()
        }
    }

    /// An answer, with `t4` stamped. The reflector's residence (t3 − t2) does not count.
    pub fn answer(&mut self, now: Duration, probe: &Probe) -> Answer {
        self.expire(now);
        let Some(at) = self.open.iter().position(|(id, _)| *id == probe.id) else {
            return Answer::Unknown;
        };
        // Only what was sent is believed: t1 must be as it went out.
        let (true, Some(round_trip)) = (nanos(self.open[at].1) == probe.t1, probe.round_trip_ns())
        else {
            return Answer::Nonsense;
        };
        self.open.remove(at);
        let micros = u32::try_from(round_trip / 1_000).unwrap_or(u32::MAX);
        self.report.answer(micros, self.before_us.replace(micros));
        let delay = f64::from(micros);
        let usual = *self.usual_us.get_or_insert(delay);
        self.unusual |= (delay - usual).abs() > (usual * 0.2).max(1_000.0);
        self.usual_us = Some(usual + (delay - usual) / 16.0);
        Answer::Counted(micros)
    }

    /// Counts what is overdue as lost.
    pub fn expire(&mut self, now: Duration) {
        while let Some((_, sent)) = self.open.front()
            && now.saturating_sub(*sent) > self.overdue
        {
            self.open.pop_front();
            self.lose();
        }
    }

    /// Whether something unusual was seen since the last time that this was asked: [`BURST`] further probes, [`BURST_GAP`] apart, tell what it is
    /// before the next second.
    pub fn take_unusual(&mut self) -> bool {
        std::mem::take(&mut self.unusual)
    }

    /// What was measured since the last report; bytes, bandwidth, load and health are the caller's to add.
    pub fn report(&mut self, now: Duration) -> Report {
        self.expire(now);
        let span = now.saturating_sub(self.since).as_millis();
        self.since = now;
        let mut report = std::mem::take(&mut self.report);
        report.span_ms = u32::try_from(span).unwrap_or(u32::MAX);
        report
    }

    fn lose(&mut self) {
        self.report.lost();
        self.unusual = true;
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn reflected(mut probe: Probe, delay: Duration, residence: Duration) -> Probe {
        // The reflector's clock shows something else altogether.
        probe.t2 = 77 + nanos(delay) / 2;
        probe.t3 = probe.t2 + nanos(residence);
        probe.t4 = probe.t1 + nanos(delay) + nanos(residence);
        probe
    }

    #[test]
    fn residence_does_not_count_and_silence_is_loss() {
        let mut meter = Meter::new(Duration::ZERO, 300 * MS, u64::MAX);
        let probe = meter.send(10 * MS);
        let back = reflected(probe, 20 * MS, 5 * MS);
        assert_eq!(meter.answer(35 * MS, &back), Answer::Counted(20_000));
        assert_eq!(meter.answer(36 * MS, &back), Answer::Unknown);
        assert!(!meter.take_unusual());
        let probe = meter.send(1_000 * MS);
        let back = reflected(probe, 50 * MS, MS);
        let forged = Probe { t1: 1, ..back };
        assert_eq!(meter.answer(1_051 * MS, &forged), Answer::Nonsense);
        assert_eq!(meter.answer(1_051 * MS, &back), Answer::Counted(50_000));
        assert!(meter.take_unusual());
        let late = meter.send(2_000 * MS);
        let back = reflected(late, 400 * MS, MS);
        assert_eq!(meter.answer(2_401 * MS, &back), Answer::Unknown);
        let report = meter.report(3_000 * MS);
        assert_eq!(
            (report.sent, report.answered, report.span_ms),
            (3, 2, 3_000)
        );
        assert_eq!(report.variation.count(), 1);
        assert!(meter.take_unusual());
    }

    #[test]
    fn what_is_under_way_is_bounded() {
        let mut meter = Meter::new(Duration::ZERO, 300 * MS, 1);
        for _ in 0..100 {
            meter.send(MS);
        }
        assert_eq!(meter.report(2 * MS).sent, 36);
    }
}
