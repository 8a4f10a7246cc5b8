//! When to compute shortest paths: at once after quiet, soon while a change arrives in pieces, seldom while the network churns (after
//! RFC 8405, but counting computations instead of time, so that a failure soon after a start is not taken for churn).

use std::time::Duration;

/// So many computations of one burst wait for the short delay, further ones for the long one.
const SOON: u32 = 20;
/// Without changes for so many short delays it is quiet again.
const QUIET: u32 = 10;

/// The three delays and where in them we are.
#[derive(Debug)]
pub struct Backoff {
    initial: Duration,
    short: Duration,
    long: Duration,
    last: Option<Duration>,
    computed: u32,
    due: Option<Duration>,
}

impl Backoff {
    /// Quiet.
    pub fn new(initial: Duration, short: Duration, long: Duration) -> Self {
        Self {
            initial,
            short,
            long,
            last: None,
            computed: 0,
            due: None,
        }
    }

    /// The graph changed.
    pub fn trigger(&mut self, now: Duration) {
        let quiet = self
            .last
            .is_none_or(|last| now.saturating_sub(last) > self.short * QUIET);
        self.last = Some(now);
        if quiet {
            self.computed = 0;
        }
        let delay = match self.computed {
            0 => self.initial,
            1..SOON => self.short,
            _ => self.long,
        };
        self.due.get_or_insert(now + delay);
    }

    /// When to compute.
    pub fn deadline(&self) -> Option<Duration> {
        self.due
    }

    /// Whether to compute now; asked once.
    pub fn take(&mut self, now: Duration) -> bool {
        let due = self.due.is_some_and(|due| due <= now);
        if due {
            self.due = None;
            self.computed = self.computed.saturating_add(1);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_once_then_soon_then_seldom_then_at_once() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(5), ms(50), ms(2_000));
        backoff.trigger(ms(100));
        assert_eq!(backoff.deadline(), Some(ms(105)));
        assert!(backoff.take(ms(105)) && !backoff.take(ms(106)));
        backoff.trigger(ms(110));
        backoff.trigger(ms(130));
        assert_eq!(backoff.deadline(), Some(ms(160)));
        assert!(backoff.take(ms(160)));
        let mut runs = 0;
        for step in 17..1_017 {
            backoff.trigger(ms(step * 10));
            runs += u32::from(backoff.take(ms(step * 10)));
        }
        assert!((20..=26).contains(&runs), "10 s of churn: {runs} runs");
        while !backoff.take(ms(20_000)) {}
        backoff.trigger(ms(20_000));
        assert_eq!(backoff.deadline(), Some(ms(20_005)));
    }
}
