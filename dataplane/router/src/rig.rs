//! What a measurement adds to a running dataplane: frames of its own, a hand on received ones, cross-connected ports.
//!
//! No configuration leads here. `dmsc-perf` runs a dataplane as a process of its own through [`crate::start::run_with_rig`]; the
//! workers, stages and tables that it measures are the ones that every router has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use dmsc_dpdk::{Burst, Mempool};

use crate::publisher::Publishing;
use crate::shared::Shared;

/// One worker's part of a rig.
pub trait Gear: Send {
    /// Sees every burst that a port received, before the first stage, while [`Rig::is_on`]. Frames may be changed or freed.
    fn received(&mut self, port: usize, burst: &mut Burst);

    /// Adds frames that shall leave by `port`, at most as many as fit; asked in rounds in which nothing came in.
    fn feed(&mut self, port: usize, pool: &Mempool, burst: &mut Burst);
}

/// All of a rig.
pub struct Rig {
    /// One per worker, in their order.
    pub gears: Vec<Box<dyn Gear>>,
    /// Whether [`Gear::received`] is called.
    pub is_on: Arc<AtomicBool>,
    /// Runs on a thread of its own once packets flow. The dataplane stops when the future that it was started with resolves.
    pub control: Box<dyn FnOnce(Arc<Shared>, Publishing) + Send>,
}

/// A worker's hold on its gear.
pub(crate) struct Mounted {
    pub(crate) gear: Box<dyn Gear>,
    is_on: Arc<AtomicBool>,
}

impl Mounted {
    pub(crate) fn new(gear: Box<dyn Gear>, is_on: Arc<AtomicBool>) -> Mounted {
        Mounted { gear, is_on }
    }

    #[inline]
    pub(crate) fn received(&mut self, port: usize, burst: &mut Burst) {
        if self.is_on.load(Relaxed) {
            self.gear.received(port, burst);
        }
    }
}
