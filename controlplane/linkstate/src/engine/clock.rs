//! The wall clock, watched against the monotonic one: when it jumps, nothing expires because of that (design §7). The new time is believed at
//! once where that is safe: soon after the start, when a clock is set for the first time, and when most other nodes show it too.

use std::time::Duration;

use crate::time::Now;

/// A change of the offset between two calls that is a jump.
const JUMP_US: i128 = 5_000_000;
/// A change of the offset in all that is one.
const DRIFT_US: i128 = 60_000_000;
/// After this the new time is believed.
const ADOPT: Duration = Duration::from_secs(3_600);

/// A process younger than this believes every jump: until then a machine that booted with a wrong clock is told the time.
const YOUNG: Duration = Duration::from_secs(600);
/// Between two looks at what others show, while the clock is not believed.
const ASK: Duration = Duration::from_secs(1);

/// What a look at the clocks brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It jumped: the old offset is used from now on.
    Jumped,
    /// It is back: the time is as it was.
    Over,
    /// The new time is believed from now on.
    Adopted,
}

/// The offset of the wall clock from the monotonic one, in µs.
#[derive(Debug)]
pub struct Clock {
    base: i128,
    last: i128,
    frozen: Option<Frozen>,
    started: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Frozen {
    reference: i128,
    since: Duration,
    asked: Duration,
}

fn offset(now: Now) -> i128 {
    let us = |time: Duration| i128::try_from(time.as_micros()).unwrap_or(i128::MAX / 4);
    us(now.wall) - us(now.mono)
}

fn wall(mono: Duration, offset: i128) -> Duration {
    let mono = i128::try_from(mono.as_micros()).unwrap_or(i128::MAX / 4);
    let us = u64::try_from((mono + offset).max(0)).unwrap_or(u64::MAX);
    Duration::from_micros(us)
}

impl Clock {
    /// Believes the clocks as they are.
    pub fn new(now: Now) -> Self {
        Self {
            base: offset(now),
            last: offset(now),
            frozen: None,
            started: now.mono,
        }
    }

    /// Looks at both; `agree`: whether most others show this time too, asked only about one that is in doubt.
    pub fn observe(&mut self, now: Now, agree: impl FnOnce(Duration) -> bool) -> Option<Change> {
        let current = offset(now);
        if let Some(mut frozen) = self.frozen {
            self.last = current;
            if (current - frozen.reference).abs() <= JUMP_US {
                self.frozen = None;
                return Some(Change::Over);
            }
            let ask = now.mono.saturating_sub(frozen.asked) >= ASK;
            if now.mono.saturating_sub(frozen.since) >= ADOPT || (ask && agree(now.wall)) {
                return Some(self.adopt());
            }
            if ask {
                frozen.asked = now.mono;
                self.frozen = Some(frozen);
            }
            return None;
        }
        let reference = if (current - self.last).abs() > JUMP_US {
            Some(self.last)
        } else if (current - self.base).abs() > DRIFT_US {
            Some(self.base)
        } else {
            None
        };
        self.last = current;
        let reference = reference?;
        if now.mono.saturating_sub(self.started) < YOUNG || agree(now.wall) {
            return Some(self.adopt());
        }
        self.frozen = Some(Frozen {
            reference,
            since: now.mono,
            asked: now.mono,
        });
        Some(Change::Jumped)
    }

    fn adopt(&mut self) -> Change {
        self.base = self.last;
        self.frozen = None;
        Change::Adopted
    }

    /// What the wall clock shows, believed or not.
    pub fn shown(&self, mono: Duration) -> Duration {
        wall(mono, self.last)
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
        wall(mono, self.trusted())
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

    fn nobody(_: Duration) -> bool {
        false
    }

    /// No longer young.
    fn old() -> Clock {
        let mut clock = Clock::new(at(0, 1_000));
        assert_eq!(clock.observe(at(600, 1_600), nobody), None);
        clock
    }

    #[test]
    fn a_jump_freezes_until_it_is_back() {
        let mut clock = old();
        assert_eq!(clock.observe(at(610, 1_612), nobody), None, "slewed");
        let jumped = clock.observe(at(620, 9_000), nobody);
        assert_eq!(jumped, Some(Change::Jumped));
        let at_630 = Duration::from_secs(630);
        assert_eq!(clock.wall(at_630), Duration::from_secs(1_632));
        assert_eq!(clock.shown(at_630), Duration::from_secs(9_010));
        let back = clock.observe(at(640, 1_642), nobody);
        assert_eq!(back, Some(Change::Over));
        assert!(!clock.is_frozen());
    }

    #[test]
    fn the_new_time_is_adopted_after_an_hour() {
        let mut clock = old();
        let jumped = clock.observe(at(601, 100), nobody);
        assert_eq!(jumped, Some(Change::Jumped));
        assert_eq!(clock.observe(at(4_200, 3_699), nobody), None);
        let adopted = clock.observe(at(4_201, 3_700), nobody);
        assert_eq!(adopted, Some(Change::Adopted));
        assert_eq!(clock.wall(Duration::from_secs(4_201)).as_secs(), 3_700);
        assert_eq!(clock.observe(at(4_202, 3_701), nobody), None);
    }

    #[test]
    fn slow_drift_adds_up() {
        let mut clock = old();
        for step in 1..=15 {
            let drifted = at(600 + step, 1_600 + 5 * step);
            assert_eq!(clock.observe(drifted, nobody), None);
        }
        let jumped = clock.observe(at(616, 1_600 + 80), nobody);
        assert_eq!(jumped, Some(Change::Jumped));
        assert_eq!(clock.wall(Duration::from_secs(616)).as_secs(), 1_616);
    }

    #[test]
    fn soon_after_the_start_every_jump_is_believed() {
        for wall in [10, 1_800_000_000] {
            let mut clock = Clock::new(at(0, 1_000));
            let adopted = clock.observe(at(599, wall), nobody);
            assert_eq!(adopted, Some(Change::Adopted));
            assert_eq!(clock.wall(Duration::from_secs(600)).as_secs(), wall + 1);
        }
    }

    #[test]
    fn what_others_show_is_believed_as_soon_as_they_do() {
        let mut clock = old();
        let jumped = clock.observe(at(601, 9_000), nobody);
        assert_eq!(jumped, Some(Change::Jumped));
        let soon = Now {
            mono: Duration::from_millis(601_500),
            wall: Duration::from_millis(9_000_500),
        };
        let asked = clock.observe(soon, |_| panic!("asked too often"));
        assert_eq!(asked, None);
        let shown = |wall: Duration| wall.as_secs() == 9_001;
        assert_eq!(clock.observe(at(602, 9_001), shown), Some(Change::Adopted));
        let at_once = clock.observe(at(603, 5_000), |_| true);
        assert_eq!(at_once, Some(Change::Adopted));
    }
}
