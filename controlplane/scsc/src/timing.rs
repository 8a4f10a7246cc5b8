//! How long something must be so before it counts.

use std::time::Duration;

/// Windows, hold and damping of an [`crate::Alarm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Raised when this many …
    pub raise_k: u8,
    /// … of this many reports are beyond the threshold; at most 32.
    pub raise_n: u8,
    /// Cleared when this many reports in a row are on the good side of the clear threshold; at most 32.
    pub clear_n: u8,
    /// Least time between raised and cleared.
    pub hold: Duration,
    /// Each further raise multiplies the hold by this, until it is quiet again; 1: never.
    pub damping: u32,
    /// The hold at most.
    pub hold_max: Duration,
    /// Without a raise for this long after clearing, damping is forgotten.
    pub forget: Duration,
}

impl Default for Timing {
    /// For one report a second: raised by 2 of 3, cleared by 10 in a row, held 10 s, then 10 min, then an hour.
    fn default() -> Self {
        Self {
            raise_k: 2,
            raise_n: 3,
            clear_n: 10,
            hold: Duration::from_secs(10),
            damping: 60,
            hold_max: Duration::from_secs(3_600),
            forget: Duration::from_secs(3_600),
        }
    }
}

/// Numbers that make no window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// k of n.
    #[error("raise {k} of {n}: write 1 ≤ k ≤ n ≤ 32")]
    Raise {
        /// As given.
        k: u8,
        /// As given.
        n: u8,
    },
    /// Reports in a row.
    #[error("clear after {0} in a row: write 1 to 32")]
    Clear(u8),
    /// A hold that is longer than the longest.
    #[error("hold {hold:?} is longer than hold_max {max:?}: raise hold_max")]
    Hold {
        /// As given.
        hold: Duration,
        /// As given.
        max: Duration,
    },
}

impl Timing {
    /// Whether an alarm can work with these.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn check(&self) -> Result<(), TimingError> {
        if self.raise_k == 0 || self.raise_k > self.raise_n || self.raise_n > 32 {
            return Err(TimingError::Raise {
                k: self.raise_k,
                n: self.raise_n,
            });
        }
        if !(1..=32).contains(&self.clear_n) {
            return Err(TimingError::Clear(self.clear_n));
        }
        if self.hold > self.hold_max {
            return Err(TimingError::Hold {
                hold: self.hold,
                max: self.hold_max,
            });
        }
        Ok(())
    }

    /// The hold after `raises` raises without quiet between them.
    pub(crate) fn hold_after(&self, raises: u32) -> Duration {
        let mut hold = self.hold;
        for _ in 1..raises.min(32) {
            hold = hold.saturating_mul(self.damping.max(1)).min(self.hold_max);
        }
        hold
    }
}
