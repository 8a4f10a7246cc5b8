//! How long a worker left its ports alone: long rounds, counted by their length.

use crate::clock::Clock;
use crate::counters::Counter;

/// Rounds of fewer cycles than 2^`LEAST` are not counted: they are what bursts take, and cost nothing here.
const LEAST: u32 = 14;
/// 2^`MOST` cycles and more, several seconds, are one class.
const MOST: u32 = 34;
/// Classes of one doubling, as bits: the length is known to an eighth.
const PARTS: u32 = 3;
const CLASSES: usize = ((MOST - LEAST) << PARTS) as usize + 1;

/// Counts of one worker, written by it alone.
#[derive(Debug)]
pub struct Gaps([Counter; CLASSES]);

/// Rounds that took between `from_ns` and `to_ns`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// At least so long, ns.
    pub from_ns: u64,
    /// Less than so long, ns; `u64::MAX`: any length.
    pub to_ns: u64,
    /// How many.
    pub count: u64,
}

impl Default for Gaps {
    fn default() -> Self {
        Gaps(std::array::from_fn(|_| Counter::default()))
    }
}

impl Gaps {
    /// Counts a round of this many cycles.
    #[inline(always)]
    pub fn add(&self, cycles: u64) {
        if cycles >> LEAST != 0 {
            self.count(cycles);
        }
    }

    #[cold]
    fn count(&self, cycles: u64) {
        if let Some(counter) = self.0.get(class(cycles)) {
            counter.add(1);
        }
    }

    /// All classes that are not empty, by length.
    pub fn read(&self, clock: Clock) -> Vec<Gap> {
        let bound = |class: usize| match class {
            CLASSES => u64::MAX,
            class => clock.to_ns(least(class)),
        };
        let counts = self.0.iter().map(Counter::get).enumerate();
        counts
            .filter(|(_, count)| *count > 0)
            .map(|(class, count)| Gap {
                from_ns: bound(class),
                to_ns: bound(class + 1),
                count,
            })
            .collect()
    }
}

/// The class of a round of at least 2^`LEAST` cycles.
fn class(cycles: u64) -> usize {
    let doubling = cycles.ilog2().min(MOST);
    if doubling == MOST {
        return CLASSES - 1;
    }
    let part = cycles >> (doubling - PARTS) & ((1 << PARTS) - 1);
    ((doubling - LEAST) << PARTS) as usize + part as usize
}

/// Least cycles of a class.
fn least(class: usize) -> u64 {
    let (doubling, part) = (class as u32 >> PARTS, class as u64 & ((1 << PARTS) - 1));
    ((1 << PARTS) + part) << (LEAST + doubling - PARTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_in_the_class_that_says_so() {
        for cycles in [16_384, 16_385, 18_432, 100_000, 1 << 20, 9_999_999_999] {
            let gaps = Gaps::default();
            gaps.add(cycles);
            let read = gaps.read(Clock::ONE_GHZ);
            let [gap] = read[..] else { panic!("{read:?}") };
            assert!(
                (gap.from_ns..gap.to_ns).contains(&cycles),
                "{cycles}: {gap:?}"
            );
            assert!(gap.to_ns - gap.from_ns <= gap.from_ns / 8 + 1);
        }
    }

    #[test]
    fn short_rounds_are_not_counted_and_endless_ones_are() {
        let gaps = Gaps::default();
        gaps.add(16_383);
        assert_eq!(gaps.read(Clock::ONE_GHZ), []);
        gaps.add(u64::MAX);
        let read = gaps.read(Clock::ONE_GHZ);
        assert_eq!((read[0].to_ns, read[0].count), (u64::MAX, 1));
    }
}
