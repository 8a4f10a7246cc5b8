//! What the threads of one dataplane share.

use std::sync::atomic::{
    AtomicBool,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Arc, Mutex};

use dmsc_dpdk::Mbuf;
use dmsc_wire::NodeId;

use crate::clock::Clock;
use crate::config::Config;
use crate::counters::{Counters, EventKind, PortCounters};
use crate::hello::Speaker;
use crate::lane::{Bell, Lane};
use crate::port::Ports;
use crate::trace::Tracer;
use crate::traffic::Exchange;

/// The way to and from one worker.
#[derive(Debug)]
pub struct WorkerLink {
    /// Whole frames to send on a port: from the kernel.
    pub raw: Lane,
    /// DMSC packets to resolve and send: from the agent, under this router's own name.
    pub inject: Lane,
    /// Wakes the worker.
    pub bell: Bell,
    /// Its counters.
    pub counters: Arc<Counters>,
    /// Through which its counts of calls are read.
    pub tallies: Exchange,
    /// Core that it is pinned to.
    pub core: Option<usize>,
    /// Timers are to be looked at now: a port or the tables changed.
    pub hurry: AtomicBool,
}

impl WorkerLink {
    /// Whether another thread has something to send.
    #[inline]
    pub fn has_parcels(&self) -> bool {
        !self.raw.is_empty() || !self.inject.is_empty()
    }

    /// Has the worker look at its timers at once, also if it sleeps.
    pub fn hurry(&self) {
        self.hurry.store(true, Relaxed);
        self.bell.ring();
    }
}

/// Everything that workers, agent and exception path have in common.
#[derive(Debug)]
pub struct Shared {
    /// As configured at the start.
    pub config: Config,
    /// With what was changed since; for the agent.
    pub current: Mutex<Config>,
    /// Whether workers never sleep; they read, the agent writes.
    pub polls: AtomicBool,
    /// Running ports.
    pub ports: Ports,
    /// One per worker.
    pub workers: Vec<WorkerLink>,
    /// Frames for the kernel, per port: a pod that floods its own fills no other's.
    pub to_kernel: Vec<Lane>,
    /// Wakes the exception path.
    pub kernel_bell: Bell,
    /// Packets for this router's own name: answers to its echoes.
    pub own: Lane,
    /// Copies of frames, for captures.
    pub captured: Lane,
    /// Wakes the herald: something in `own` or `captured`, or a state changed.
    pub herald_bell: Bell,
    /// Set with `herald_bell` when an adjacency, a port or an attachment changed.
    pub changed: AtomicBool,
    /// Wakes the link monitor.
    pub link_bell: Bell,
    /// Packet trace.
    pub tracer: Tracer,
    /// Who says hello.
    pub speaker: Speaker,
    /// TSC.
    pub clock: Clock,
    /// False: everybody goes home.
    pub running: AtomicBool,
    /// Set before `running` is cleared: another process goes on from here, so neighbours are not told farewell and taps stay.
    pub handing_over: AtomicBool,
}

impl Shared {
    /// Copies a frame for a capture.
    pub(crate) fn capture(
        &self,
        mbuf: &Mbuf,
        port: usize,
        outgoing: bool,
        now: u64,
        counters: &PortCounters,
    ) {
        if !self
            .captured
            .offer(port as u8, outgoing, now, mbuf.data(), usize::MAX)
        {
            counters.event(EventKind::CaptureMissed);
        }
    }

    /// This node's id.
    pub fn node(&self) -> NodeId {
        self.config.node
    }

    /// Whether the process goes on.
    #[inline]
    pub fn is_running(&self) -> bool {
        self.running.load(Relaxed)
    }

    /// Whether another process goes on; to be asked after the end of [`Shared::is_running`].
    pub fn is_handing_over(&self) -> bool {
        self.handing_over.load(Relaxed)
    }

    /// Tells watchers that a state changed.
    pub fn announce(&self) {
        self.changed.store(true, Relaxed);
        self.herald_bell.ring();
    }

    /// The worker that runs hellos and address resolution of a port.
    pub fn owner(&self, port: usize) -> usize {
        port % self.workers.len().max(1)
    }

    /// Ends all threads, for another process that goes on.
    pub fn hand_over(&self) {
        self.handing_over.store(true, SeqCst);
        self.stop();
    }

    /// Ends all threads.
    pub fn stop(&self) {
        self.running.store(false, SeqCst);
        for worker in &self.workers {
            worker.bell.ring();
        }
        for bell in [&self.kernel_bell, &self.herald_bell, &self.link_bell] {
            bell.ring();
        }
    }
}
