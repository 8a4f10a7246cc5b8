//! When to compute shortest paths: soon after quiet, less often while the network churns (after RFC 8405).

use std::time::Duration;

/// How long a first delay, then the short one, are enough for an event to have arrived everywhere.
const LEARN: Duration = Duration::from_secs(2);
/// Without changes for this long it is quiet again (and never less than twice the long delay).
const HOLD_DOWN: Duration = Duration::from_secs(4);

/// The three delays and where in them we are.
#[derive(Debug)]
pub struct Backoff {
    initial: Duration,
    short: Duration,
    long: Duration,
    first: Option<Duration>,
    last: Duration,
    due: Option<Duration>,
}

impl Backoff {
    /// Quiet.
    pub fn new(initial: Duration, short: Duration, long: Duration) -> Self {
        Self {
            initial,
            short,
            long,
            first: None,
            last: Duration::ZERO,
            due: None,
        }
    }

    /// The graph changed.
    pub fn trigger(&mut self, now: Duration) {
        let quiet = now.saturating_sub(self.last) > HOLD_DOWN.max(self.long * 2);
        let first = match self.first {
            Some(first) if !quiet => first,
            _ => {
                self.first = Some(now);
                self.last = now;
                self.due = Some(self.due.unwrap_or(now + self.initial));
                return;
            }
        };
        self.last = now;
        let delay = if now.saturating_sub(first) < LEARN {
            self.short
        } else {
            self.long
        };
        self.due = Some(self.due.unwrap_or(now + delay));
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
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soon_then_short_then_long_then_soon() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(5), ms(50), ms(2_000));
        backoff.trigger(ms(100));
        assert_eq!(backoff.deadline(), Some(ms(105)));
        assert!(backoff.take(ms(105)) && !backoff.take(ms(106)));
        backoff.trigger(ms(110));
        backoff.trigger(ms(130));
        assert_eq!(backoff.deadline(), Some(ms(160)));
        assert!(backoff.take(ms(160)));
        backoff.trigger(ms(2_200));
        assert_eq!(backoff.deadline(), Some(ms(4_200)));
        assert!(backoff.take(ms(4_200)));
        backoff.trigger(ms(9_000));
        assert_eq!(backoff.deadline(), Some(ms(9_005)));
    }
}
