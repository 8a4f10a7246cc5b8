//! A worker's queue pair on a port, what waits to leave by it, and the budget of its pods (design §4.6).

use dmsc_dpdk::{Burst, Mbuf, RxQueue, TxQueue, WaitFd};

use crate::bucket::Bucket;
use crate::config;
use crate::egress::{Discipline, Exit};
use crate::port::PortState;

/// A worker's queue pair on one port.
pub struct Queue {
    pub(super) rx: RxQueue,
    pub(super) tx: TxQueue,
    /// Frames that leave with the next flush.
    pub(super) pending: Burst,
    /// What waits because the port has a rate or its ring was full.
    pub(super) exit: Exit<Mbuf>,
    /// Out of `exit`, and no room for it in the ring yet.
    pub(super) staged: Burst,
    /// Descriptors to block on.
    pub(crate) waits: Vec<WaitFd>,
    pub(super) budget: Option<Budget>,
    /// TSC until which the port is left alone because its budget is used up.
    pub(crate) paused_until: u64,
}

/// Packet and byte budget of a pod port (design §4.6).
pub(super) struct Budget {
    of: config::Budget,
    pub(super) packets: Bucket,
    pub(super) bytes: Bucket,
}

impl Queue {
    /// Of a pair and its descriptors.
    pub fn new(rx: RxQueue, tx: TxQueue, waits: Vec<WaitFd>) -> Queue {
        Queue {
            rx,
            tx,
            pending: Burst::new(),
            exit: Exit::new(&Discipline::default(), 0),
            staged: Burst::new(),
            waits,
            budget: None,
            paused_until: 0,
        }
    }

    /// Takes up the port's rate and budget where they are others now.
    pub(super) fn tune(&mut self, port: &PortState, workers: u64, hz: u64, now: u64) {
        let share = |rate: u64| (rate / workers).max(1);
        let rate = port.tuning.rate_bytes_per_s();
        self.exit
            .set_rate(if rate == 0 { 0 } else { share(rate) }, hz, now);
        let of = port.tuning.budget();
        if !port.is_pod() || self.budget.as_ref().is_some_and(|budget| budget.of == of) {
            return;
        }
        let (packets, bytes) = (share(of.packets_per_s), share(of.bytes_per_s));
        self.budget = Some(Budget {
            of,
            packets: Bucket::new(packets, (packets / 50).max(64), hz, now),
            bytes: Bucket::new(bytes, (bytes / 50).max(64_000), hz, now),
        });
    }
}
