//! How long something must be so before it counts.

use std::time::Duration;

/// Windows, hold and damping of an [`crate::Alarm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Raised when this many …
    pub raise_k: u8,
    /// … of this many reports are beyond the threshold; at most 32.
    pub raise_n: u8,
    /// Reports that are beyond the threshold by little ([`crate::threshold::Level`]), and came there slowly, raise only if so many of the last 32 were beyond
    /// it; 0: as all others.
    pub doubt_k: u8,
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
    /// For one report a second: raised by 2 of 3, in doubt by 32 in a row, cleared by 10 in a row, held 10 s, then 10 min, then an hour.
    fn default() -> Self {
        Self {
            raise_k: 2,
            raise_n: 3,
            doubt_k: 32,
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
    /// In doubt.
    #[error("in doubt raise by {0} of 32: write 0 (no doubt) to 32")]
    Doubt(u8),
    /// Reports in a row.
    #[error("clear after {0} in a row: write 1 to 32")]
    Clear(u8),
    /// A factor that makes every further hold nothing.
    #[error("damping 0: write how many times longer each further hold is, 1: as long as the first")]
    Damping,
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
        self.mistakes().next().map_or(Ok(()), Err)
    }

    /// All that is wrong with these.
    pub fn mistakes(&self) -> impl Iterator<Item = TimingError> {
        let (k, n, max) = (self.raise_k, self.raise_n, self.hold_max);
        let raise = k == 0 || k > n || n > 32;
        let clear = !(1..=32).contains(&self.clear_n);
        let hold = self.hold;
        let all = [
            raise.then_some(TimingError::Raise { k, n }),
            (self.doubt_k > 32).then_some(TimingError::Doubt(self.doubt_k)),
            clear.then_some(TimingError::Clear(self.clear_n)),
            (self.damping == 0).then_some(TimingError::Damping),
            (hold > max).then_some(TimingError::Hold { hold, max }),
        ];
        all.into_iter().flatten()
    }

    /// The hold after `raises` raises without quiet between them.
    pub(crate) fn hold_after(&self, raises: u32) -> Duration {
        let mut hold = self.hold;
        for _ in 1..raises.min(32) {
            hold = hold.saturating_mul(self.damping).min(self.hold_max);
        }
        hold
    }
}
