//! TSC cycles and what they are in nanoseconds.

/// Converts cycles; made once from the frequency.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    hz: u64,
}

impl Clock {
    /// One cycle is one nanosecond, for tests.
    pub const ONE_GHZ: Clock = Clock { hz: 1_000_000_000 };

    /// Of a TSC with this frequency, at least 1 MHz.
    pub fn new(hz: u64) -> Clock {
        Clock {
            hz: hz.max(1_000_000),
        }
    }

    /// Cycles per second.
    pub fn hz(self) -> u64 {
        self.hz
    }

    /// Cycles of a number of milliseconds.
    pub fn from_ms(self, ms: u64) -> u64 {
        self.hz / 1000 * ms
    }

    /// Cycles of a number of microseconds.
    pub fn from_us(self, us: u64) -> u64 {
        self.hz / 1_000_000 * us
    }

    /// Nanoseconds of a number of cycles.
    #[inline]
    pub fn to_ns(self, cycles: u64) -> u64 {
        (u128::from(cycles) * 1_000_000_000 / u128::from(self.hz)) as u64
    }
}
