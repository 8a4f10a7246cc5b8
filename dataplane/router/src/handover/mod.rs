//! A new process of the same router takes over from the old one while packets flow (`dmsc-dataplane --takeover`).
//!
//! ```text
//! new: EAL, pools, ports that two processes may have open at once
//! new ── Handover ──▶ old      old: transactions wait; state, tables, resting ids
//! new: tables made from it
//! new ── Handover, release ──▶ old: workers stop, each neighbour is told to have patience
//!     ◀── stopped ──           new: workers start, under the same hello identity and generation
//!     ◀── released ──          old: ports and taps closed, ends; new: other ports, taps, agent
//! ```
//!
//! Until the workers of the old process stop, nothing has happened to it: if the new one fails before, it goes on.
//! At most once: what both processes have received around that moment is dropped by the new one, never forwarded twice.

mod offer;
mod state;
mod takeover;

pub use offer::{Offer, Order};
pub(crate) use state::settings;
pub use state::{State, resume, stopped};
pub use takeover::{Takeover, TakeoverError};

/// Neighbours are asked to wait this long for the next hello when the workers of a process stop for another, ms.
pub const PATIENCE_MS: u64 = 500;
