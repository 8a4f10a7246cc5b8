//! By what a service group is judged, and how much of its traffic may move at once; for a group or a subtree of prefixes.

use std::collections::BTreeMap;

use dmsc_wire::{Domain, Name, NameBuf};

use crate::plan::WHOLE;
use crate::threshold::{ThresholdError, Thresholds};
use crate::timing::{Timing, TimingError};

/// What holds for a service group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// From where on it is bad.
    pub thresholds: Thresholds,
    /// When that is believed.
    pub timing: Timing,
    /// Of its traffic at most this much moves in a step, thousandths.
    pub step_permille: u16,
}

impl Default for Rules {
    /// Nothing is ever bad.
    fn default() -> Self {
        Self {
            thresholds: Thresholds::default(),
            timing: Timing::default(),
            step_permille: 250,
        }
    }
}

/// Rules that nobody can decide by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// They would never clear.
    #[error(transparent)]
    Thresholds(#[from] ThresholdError),
    /// Windows.
    #[error(transparent)]
    Timing(#[from] TimingError),
    /// Step.
    #[error("step of {0} thousandths: write 1 to 1000")]
    Step(u16),
}

impl Rules {
    /// Whether a center can decide by these.
    ///
    /// # Errors
    /// The first that is of no use.
    pub fn check(&self) -> Result<(), RulesError> {
        self.thresholds.check()?;
        self.timing.check()?;
        check_step(self.step_permille)
    }
}

pub(crate) fn check_step(permille: u16) -> Result<(), RulesError> {
    match (1..=WHOLE).contains(&permille) {
        true => Ok(()),
        false => Err(RulesError::Step(permille)),
    }
}

/// Rules by prefix: those of the longest that covers a name hold.
#[derive(Debug, Clone, Default)]
pub struct RulesTable {
    entries: BTreeMap<(Domain, NameBuf), Rules>,
    others: Rules,
}

impl RulesTable {
    /// These for every name that nothing else covers.
    ///
    /// # Errors
    /// When nobody can decide by them.
    pub fn new(others: Rules) -> Result<Self, RulesError> {
        others.check()?;
        Ok(Self {
            entries: BTreeMap::new(),
            others,
        })
    }

    /// These for `name` and what is below it.
    ///
    /// # Errors
    /// When nobody can decide by them; nothing changes then.
    pub fn set(&mut self, domain: Domain, name: NameBuf, rules: Rules) -> Result<(), RulesError> {
        rules.check()?;
        self.entries.insert((domain, name), rules);
        Ok(())
    }

    /// Those of a service group.
    #[must_use]
    pub fn of(&self, domain: Domain, name: Name<'_>) -> Rules {
        (1..=name.component_count())
            .rev()
            .find_map(|components| {
                self.entries
                    .get(&(domain, name.prefix(components).to_owned()))
            })
            .copied()
            .unwrap_or(self.others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threshold::Level;

    fn level(raise: u64, clear: u64) -> Option<Level> {
        Some(Level { raise, clear })
    }

    #[test]
    fn the_longest_prefix_decides() {
        let name = |text| NameBuf::parse(text).unwrap();
        let of = |delay| Rules {
            thresholds: Thresholds {
                delay_us: level(delay, delay / 2),
                ..Thresholds::default()
            },
            ..Rules::default()
        };
        let mut table = RulesTable::new(of(10)).unwrap();
        table.set(Domain(1), name("/shop"), of(20)).unwrap();
        table.set(Domain(1), name("/shop/cart"), of(30)).unwrap();
        for (domain, text, delay) in [
            (1, "/shop/cart/v1", 30),
            (1, "/shop/cartoon", 20),
            (2, "/shop/cart", 10),
        ] {
            assert_eq!(table.of(Domain(domain), name(text).as_name()), of(delay));
        }
        let mut wrong = Rules::default();
        wrong.thresholds.available_kbps = level(10, 5);
        let error = table.set(Domain(1), name("/x"), wrong).unwrap_err();
        assert!(error.to_string().contains("available bandwidth"), "{error}");
        let wrong = Rules {
            step_permille: 1_001,
            ..Rules::default()
        };
        let error = table.set(Domain(1), name("/x"), wrong).unwrap_err();
        assert!(error.to_string().contains("write 1 to 1000"), "{error}");
    }
}
