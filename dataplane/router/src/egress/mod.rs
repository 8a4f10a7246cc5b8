//! What leaves by a port that has more to send than it may, or than its ring takes: a queue per class, strict priority for the top
//! classes, shares by weight below them, and marks of congestion (design §3 ECN, §8; RFC 2475, RFC 3168).
//!
//! A port without a rate whose ring takes everything never comes here: the worker asks one bit per burst. [`Scheduler`] knows neither
//! packets nor time, [`Shaper`] only time, [`Label`] only bytes; [`Exit`] puts them together for one worker and one port.

mod exit;
mod label;
mod scheduler;
mod shaper;

pub use exit::{Exit, Waiting};
pub use label::Label;
pub use scheduler::{Next, Pushed, Scheduler};
pub use shaper::Shaper;

/// Classes of the wire format: 3 bits.
pub const CLASSES: usize = 8;

/// How classes are served; the same on all ports of a dataplane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Discipline {
    /// This class and all above it go first, the highest of them before the others; [`CLASSES`]: none does.
    pub strict_from: u8,
    /// Shares of the classes below in what those leave, 1 to 1,000 by class.
    pub weights: [u32; CLASSES],
    /// Frames that may wait per class, port and worker.
    pub queue_frames: usize,
    /// Frames of its class that wait already when a frame is marked instead of let pass: congestion experienced (RFC 3168).
    pub mark_frames: usize,
}

impl Default for Discipline {
    /// What needs no thought: the classes of the delay topology go first, and below every class has twice the share of the one before.
    fn default() -> Self {
        Discipline {
            strict_from: 6,
            weights: [1, 2, 4, 8, 16, 32, 64, 64],
            queue_frames: 256,
            mark_frames: 64,
        }
    }
}
