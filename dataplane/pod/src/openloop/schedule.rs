//! When each call is due, and under which flow label.

use std::str::FromStr;

use dmsc_wire::FlowLabel;
use thiserror::Error;

/// Evenly spaced calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Monotonic clock of call 0, in ns.
    pub start_ns: u64,
    /// Calls per second.
    pub rate: u32,
    /// Number of calls.
    pub total: u64,
}

impl Schedule {
    /// When call `index` is due; no rounding error adds up.
    #[must_use]
    pub fn due(&self, index: u64) -> u64 {
        let offset = u128::from(index) * 1_000_000_000 / u128::from(self.rate.max(1));
        self.start_ns
            .saturating_add(u64::try_from(offset).unwrap_or(u64::MAX))
    }
}

/// Flow labels of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flows {
    /// One after another, from here.
    Sequential(u32),
    /// The same for all.
    Fixed(u32),
    /// Scattered over all values.
    Random(u32),
}

impl Flows {
    /// The label of call `index`.
    #[must_use]
    pub fn label(self, index: u64) -> FlowLabel {
        let low = index as u32;
        FlowLabel(match self {
            Self::Sequential(first) => first.wrapping_add(low),
            Self::Fixed(label) => label,
            Self::Random(seed) => {
                // The finaliser of MurmurHash3: a permutation, so no label comes twice in 2^32 calls.
                let mut mixed = low ^ seed;
                mixed = (mixed ^ mixed >> 16).wrapping_mul(0x85eb_ca6b);
                mixed = (mixed ^ mixed >> 13).wrapping_mul(0xc2b2_ae35);
                mixed ^ mixed >> 16
            }
        })
    }
}

/// A word that names no flows.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not known; write sequential, random or fixed:NUMBER")]
pub struct FlowsError(String);

impl FromStr for Flows {
    type Err = FlowsError;

    fn from_str(text: &str) -> Result<Self, FlowsError> {
        match text {
            "sequential" => Ok(Self::Sequential(rand::random())),
            "random" => Ok(Self::Random(rand::random())),
            _ => text
                .strip_prefix("fixed:")
                .and_then(|number| number.parse().ok())
                .map(Self::Fixed)
                .ok_or_else(|| FlowsError(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn due_times_do_not_drift() {
        let schedule = Schedule {
            start_ns: 5,
            rate: 3,
            total: 10,
        };
        assert_eq!(schedule.due(0), 5);
        assert_eq!(schedule.due(1), 333_333_338);
        assert_eq!(schedule.due(3), 1_000_000_005);
        assert_eq!(schedule.due(3_000_000), 1_000_000_000_000_005);
    }

    #[test]
    fn labels() {
        assert_eq!("fixed:7".parse::<Flows>().unwrap().label(9), FlowLabel(7));
        assert_eq!(Flows::Sequential(u32::MAX).label(1), FlowLabel(0));
        let random: HashSet<_> = (0..10_000)
            .map(|index| Flows::Random(3).label(index))
            .collect();
        assert_eq!(random.len(), 10_000);
        assert!("fixed:".parse::<Flows>().is_err() && "x".parse::<Flows>().is_err());
    }
}
