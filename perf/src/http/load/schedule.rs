//! When requests of an open loop are due. The schedule does not wait for answers: a request that could not be sent in time is as late as it is.

/// Requests at a steady rate.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// Requests per second.
    rate: u64,
    /// How many there are.
    total: u64,
    /// How many were taken.
    taken: u64,
}

impl Schedule {
    /// `rate` requests per second for `seconds`.
    pub fn new(rate: u64, seconds: f64) -> Self {
        Self {
            rate: rate.max(1),
            total: (rate as f64 * seconds).round() as u64,
            taken: 0,
        }
    }

    /// When request `number` is due, ns after the start.
    pub fn at(&self, number: u64) -> u64 {
        (u128::from(number) * 1_000_000_000 / u128::from(self.rate)) as u64
    }

    /// Time between two requests, ns.
    pub fn interval_ns(&self) -> u64 {
        (1_000_000_000 / self.rate).max(1)
    }

    /// Takes the next request that is due at `now_ns` after the start: the time it was scheduled for. Call until there is none.
    pub fn take(&mut self, now_ns: u64) -> Option<u64> {
        let at = self.at(self.taken);
        if self.taken == self.total || at > now_ns {
            return None;
        }
        self.taken += 1;
        Some(at)
    }

    /// Whether all were taken.
    pub fn done(&self) -> bool {
        self.taken == self.total
    }
}

/// Latency as a user sees it who wanted the answer at `scheduled_ns`, however late the request was sent.
pub fn latency(scheduled_ns: u64, answered_ns: u64) -> u64 {
    answered_ns.saturating_sub(scheduled_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_at_a_steady_rate_without_drift() {
        let mut schedule = Schedule::new(3, 2.0);
        assert_eq!(schedule.take(0), Some(0));
        assert_eq!(schedule.take(0), None);
        assert_eq!(schedule.take(333_333_332), None);
        assert_eq!(schedule.take(333_333_333), Some(333_333_333));
        assert_eq!(Schedule::new(3, 1e6).at(3_000_000), 1_000_000_000_000_000);
        assert_eq!(Schedule::new(1_000, 1.0).interval_ns(), 1_000_000);
    }

    #[test]
    fn what_was_missed_is_due_at_once_and_keeps_its_time() {
        let mut schedule = Schedule::new(1_000, 0.01);
        let late = 7_500_000;
        let taken: Vec<u64> = std::iter::from_fn(|| schedule.take(late)).collect();
        assert_eq!(taken, (0..8).map(|n| n * 1_000_000).collect::<Vec<_>>());
        assert!(!schedule.done());
        assert_eq!(std::iter::from_fn(|| schedule.take(u64::MAX)).count(), 2);
        assert!(schedule.done());
        assert_eq!(schedule.take(u64::MAX), None);
    }

    // The omission that is corrected: a stall of 100 ms at 1,000/s is seen by 100 requests, not by the one that was under way.
    #[test]
    fn a_stall_is_seen_by_every_request_that_was_due_in_it() {
        let mut schedule = Schedule::new(1_000, 0.2);
        let stall = 50_000_000..150_000_000;
        let (mut now, mut slow) = (0, 0);
        while !schedule.done() {
            while let Some(scheduled) = schedule.take(now) {
                let answered = if stall.contains(&now) { stall.end } else { now };
                now = answered;
                slow += u64::from(latency(scheduled, answered) > 1_000_000);
            }
            now += 100_000;
        }
        assert!((98..=100).contains(&slow), "{slow}");
    }
}
