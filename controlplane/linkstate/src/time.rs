//! Time as the engine is told it: it has no clock of its own.

use std::time::Duration;

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic, since any fixed moment; never goes back.
    pub mono: Duration,
    /// Wall clock, since 1970; may jump.
    pub wall: Duration,
}
