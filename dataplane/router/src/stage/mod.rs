//! The stages of forwarding, in the order of the walk: parse → admit → resolve → rewrite (design §2).
//!
//! Before them: [`express`] does what most packets between routers need in one look, and [`cross`] is a port that forwards unread.
//! A stage takes a batch, one generation of the tables and the worker's counters. It knows neither DPDK nor another stage.

pub mod admit;
pub mod cross;
pub mod express;
pub mod parse;
pub mod resolve;
pub mod rewrite;
pub mod stand_in;

#[cfg(test)]
mod by_delay;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;

use std::cell::Cell;

use dmsc_fib::Habit;

use crate::choose::Chooser;
use crate::class_rule::ClassRule;
use crate::clock::Clock;
use crate::counters::{Counters, EventKind};
use crate::traffic::Traffic;

/// What all stages read.
#[derive(Debug, Clone, Copy)]
pub struct Env<'a> {
    /// Tables, ports and the own node id.
    pub chooser: Chooser<'a>,
    /// Of this worker.
    pub counters: &'a Counters,
    /// What this worker counts of calls.
    pub traffic: &'a Traffic,
    /// What the last names that this worker looked up were like.
    pub habit: &'a Cell<Habit>,
    /// Which calls get another class than the pod gave them.
    pub class_rules: &'a [ClassRule],
    /// UDP port of DMSC.
    pub udp_port: u16,
    /// TSC now.
    pub now: u64,
    /// For residence times.
    pub clock: Clock,
    /// Reads the TSC again.
    pub tsc: fn() -> u64,
}

impl Env<'_> {
    /// Counts an event of a port.
    #[inline]
    pub fn event(&self, port: u8, event: EventKind) {
        if let Some(counters) = self.counters.ports.get(usize::from(port)) {
            counters.event(event);
        }
    }
}
