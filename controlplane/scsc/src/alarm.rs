//! Whether a choice is to be avoided: a state machine that waits before it believes, and longer each time that it had to change its mind.

use std::time::Duration;

use crate::timing::Timing;

/// After so many good reports in a row, one that is beyond the threshold comes from across both: that is no noise, by however little it is beyond.
const JUMP: u8 = 4;

/// What one report says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// On the good side of every clear threshold.
    Good,
    /// Between the thresholds: no reason to change anything.
    Between,
    /// Beyond a raise threshold, but by so little that it may be noise.
    Doubtful,
    /// Clearly beyond a raise threshold.
    Bad,
}

/// What a report changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// From now on to be avoided.
    Raised,
    /// From now on as good as any.
    Cleared,
}

/// The state of one choice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Alarm {
    /// Bit i: the report i before the last was bad.
    bad: u32,
    /// The same of bad and doubtful ones.
    beyond: u32,
    /// The first of those in the window came after [`JUMP`] good ones.
    jumped: bool,
    /// Good reports in a row.
    good: u8,
    raised: Option<Duration>,
    /// When it was cleared last.
    cleared: Duration,
    /// Raises without quiet between them.
    raises: u32,
}

impl Alarm {
    /// Takes the next report's verdict at `now`, which never goes back.
    pub fn observe(&mut self, now: Duration, verdict: Verdict, timing: &Timing) -> Option<Change> {
        let window = u32::MAX >> (32 - u32::from(timing.raise_n.clamp(1, 32)));
        if verdict >= Verdict::Doubtful && self.beyond & window == 0 {
            self.jumped = self.good >= JUMP;
        }
        let is_bad = verdict == Verdict::Bad || verdict == Verdict::Doubtful && self.jumped;
        self.bad = self.bad << 1 | u32::from(is_bad);
        self.beyond = self.beyond << 1 | u32::from(verdict >= Verdict::Doubtful);
        self.good = match verdict {
            Verdict::Good => self.good.saturating_add(1),
            _ => 0,
        };
        match self.raised {
            None => {
                let enough =
                    |of: u32| (of & window).count_ones() >= u32::from(timing.raise_k.max(1));
                let lasts = self.beyond.count_ones() >= u32::from(timing.doubt_k);
                // An old bad report must not raise together with a good one.
                let raise = is_bad && enough(self.bad)
                    || verdict >= Verdict::Doubtful && enough(self.beyond) && lasts;
                raise.then(|| self.raise(now, timing))
            }
            Some(since) => {
                let held = now.saturating_sub(since) >= timing.hold_after(self.raises);
                let calm = self.good >= timing.clear_n;
                (held && calm).then(|| self.clear(now))
            }
        }
    }

    /// Whether the choice is to be avoided.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.raised.is_some()
    }

    /// Since when, if it is raised.
    #[must_use]
    pub fn since(&self) -> Option<Duration> {
        self.raised
    }

    /// How many of the last `n` reports were bad or doubtful.
    #[must_use]
    pub fn bad_of_last(&self, n: u8) -> u32 {
        let window = u32::MAX >> (32 - u32::from(n.clamp(1, 32)));
        (self.beyond & window).count_ones()
    }

    fn raise(&mut self, now: Duration, timing: &Timing) -> Change {
        let quiet = now.saturating_sub(self.cleared) >= timing.forget;
        self.raises = if quiet { 1 } else { self.raises + 1 };
        self.raised = Some(now);
        self.good = 0;
        Change::Raised
    }

    fn clear(&mut self, now: Duration) -> Change {
        self.raised = None;
        self.cleared = now;
        (self.bad, self.beyond) = (0, 0);
        Change::Cleared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    #[test]
    fn a_hold_gets_longer_until_it_is_quiet() {
        let timing = Timing {
            clear_n: 2,
            ..Timing::default()
        };
        let mut alarm = Alarm::default();
        let mut now = 0;
        let mut episode = |alarm: &mut Alarm, pause: u64| {
            now += pause;
            let mut lasted = 0;
            while !alarm.is_raised() {
                now += 1;
                alarm.observe(at(now), Verdict::Bad, &timing);
            }
            while alarm.is_raised() {
                (now, lasted) = (now + 1, lasted + 1);
                alarm.observe(at(now), Verdict::Good, &timing);
            }
            lasted
        };
        let lasted: Vec<u64> = (0..5).map(|_| episode(&mut alarm, 0)).collect();
        assert_eq!(lasted, [10, 600, 3_600, 3_600, 3_600]);
        assert_eq!(episode(&mut alarm, 3_600), 10);
    }

    #[test]
    fn doubt_must_last() {
        let timing = Timing::default();
        let mut alarm = Alarm::default();
        // Noise around the threshold: every second report is beyond it, and one in ten clearly.
        for second in 0..10_000 {
            let verdict = match second {
                _ if second % 10 == 0 => Verdict::Bad,
                _ if second % 2 == 0 => Verdict::Doubtful,
                _ => Verdict::Between,
            };
            assert_eq!(alarm.observe(at(second), verdict, &timing), None);
        }
        let raised_after = |alarm: &mut Alarm, verdict, timing: &Timing| {
            let changes = (1..50).map(|more| (more, at(20_000 + more)));
            changes
                .map(|(more, now)| (more, alarm.observe(now, verdict, timing)))
                .find_map(|(more, change)| change.map(|_| more))
        };
        let bad = raised_after(&mut alarm.clone(), Verdict::Bad, &timing);
        assert_eq!(bad, Some(2));
        let doubtful = raised_after(&mut Alarm::default(), Verdict::Doubtful, &timing);
        assert_eq!(doubtful, Some(32));
        let mut jumps = Alarm::default();
        for second in 0..4 {
            jumps.observe(at(second), Verdict::Good, &timing);
        }
        let jump = raised_after(&mut jumps, Verdict::Doubtful, &timing);
        assert_eq!(jump, Some(2), "from the good side of both thresholds");
        let none = Timing {
            doubt_k: 0,
            ..timing
        };
        let doubtful = raised_after(&mut Alarm::default(), Verdict::Doubtful, &none);
        assert_eq!(doubtful, Some(2));
    }

    #[test]
    fn between_the_thresholds_nothing_changes() {
        let timing = Timing::default();
        let mut alarm = Alarm::default();
        for second in 0..100 {
            assert_eq!(alarm.observe(at(second), Verdict::Between, &timing), None);
        }
        alarm.observe(at(100), Verdict::Bad, &timing);
        let change = alarm.observe(at(101), Verdict::Bad, &timing);
        assert_eq!(
            (change, alarm.since()),
            (Some(Change::Raised), Some(at(101)))
        );
        for second in 102..10_000 {
            assert_eq!(alarm.observe(at(second), Verdict::Between, &timing), None);
        }
    }
}
