//! The wall clock, watched against the monotonic one: when it jumps, nothing expires because of that (design §7).

use std::time::Duration;

use crate::time::Now;

/// A change of the offset between two calls that is a jump.
const JUMP_US: i128 = 5_000_000;
/// A change of the offset in all that is one.
const DRIFT_US: i128 = 60_000_000;
/// After this the new time is believed.
const ADOPT: Duration = Duration::from_secs(3_600);

/// What a look at the clocks brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It jumped: the old offset is used from now on.
    Jumped,
    /// It is back, or the new time was adopted.
    Over,
}

/// The offset of the wall clock from the monotonic one, in µs.
#[derive(Debug)]
pub struct Clock {
    base: i128,
    last: i128,
    frozen: Option<Frozen>,
}

#[derive(Debug, Clone, Copy)]
struct Frozen {
    reference: i128,
    since: Duration,
}

fn offset(now: Now) -> i128 {
    let us = |time: Duration| i128::try_from(time.as_micros()).unwrap_or(i128::MAX / 4);
    us(now.wall) - us(now.mono)
}

impl Clock {
    /// Believes the clocks as they are.
    pub fn new(now: Now) -> Self {
        Self {
            base: offset(now),
            last: offset(now),
            frozen: None,
        }
    }

    /// Looks at both.
    pub fn observe(&mut self, now: Now) -> Option<Change> {
        let current = offset(now);
        if let Some(frozen) = self.frozen {
            let back = (current - frozen.reference).abs() <= JUMP_US;
            let adopted = now.mono.saturating_sub(frozen.since) >= ADOPT;
            self.last = current;
            if !back && !adopted {
                return None;
            }
            if adopted {
                self.base = current;
            }
            self.frozen = None;
            return Some(Change::Over);
        }
        let reference = if (current - self.last).abs() > JUMP_US {
            Some(self.last)
        } else if (current - self.base).abs() > DRIFT_US {
            Some(self.base)
        } else {
            None
        };
        self.last = current;
        self.frozen = reference.map(|reference| Frozen {
            reference,
            since: now.mono,
        });
        self.frozen.map(|_| Change::Jumped)
    }

    /// Whether the wall clock is not believed at present.
    pub fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    /// When the next decision is due.
    pub fn deadline(&self) -> Option<Duration> {
        self.frozen.map(|frozen| frozen.since + ADOPT)
    }

    fn trusted(&self) -> i128 {
        self.frozen.map_or(self.last, |frozen| frozen.reference)
    }

    /// Wall clock that is believed.
    pub fn wall(&self, mono: Duration) -> Duration {
        let mono = i128::try_from(mono.as_micros()).unwrap_or(i128::MAX / 4);
        let us = u64::try_from((mono + self.trusted()).max(0)).unwrap_or(u64::MAX);
        Duration::from_micros(us)
    }

    /// The moment on the monotonic clock when the believed wall clock shows `wall_s`.
    pub fn mono(&self, wall_s: u64) -> Duration {
        let us = i128::from(wall_s) * 1_000_000 - self.trusted();
        Duration::from_micros(u64::try_from(us.max(0)).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono_s: u64, wall_s: u64) -> Now {
        Now {
            mono: Duration::from_secs(mono_s),
            wall: Duration::from_secs(wall_s),
        }
    }

    #[test]
    fn a_jump_freezes_until_it_is_back() {
        let mut clock = Clock::new(at(0, 1_000));
        assert_eq!(clock.observe(at(10, 1_012)), None, "slewed");
        assert_eq!(clock.observe(at(20, 9_000)), Some(Change::Jumped));
        assert_eq!(
            clock.wall(Duration::from_secs(30)),
            Duration::from_secs(1_032)
        );
        assert_eq!(clock.observe(at(40, 1_042)), Some(Change::Over));
        assert!(!clock.is_frozen());
    }

    #[test]
    fn the_new_time_is_adopted_after_an_hour() {
        let mut clock = Clock::new(at(0, 1_000));
        assert_eq!(clock.observe(at(1, 100)), Some(Change::Jumped));
        assert_eq!(clock.observe(at(3_600, 3_699)), None);
        assert_eq!(clock.observe(at(3_601, 3_700)), Some(Change::Over));
        assert_eq!(clock.wall(Duration::from_secs(3_601)).as_secs(), 3_700);
        assert_eq!(clock.observe(at(3_602, 3_701)), None);
    }

    #[test]
    fn slow_drift_adds_up() {
        let mut clock = Clock::new(at(0, 1_000));
        for step in 1..=15 {
            assert_eq!(clock.observe(at(step, 1_000 + 5 * step)), None);
        }
        assert_eq!(clock.observe(at(16, 1_000 + 80)), Some(Change::Jumped));
        assert_eq!(clock.wall(Duration::from_secs(16)).as_secs(), 1_016);
    }
}
