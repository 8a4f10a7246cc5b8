//! The two halves of a queue pair: each is one worker's, and moves with it.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use dpdk_sys as sys;

use crate::burst::{BURST, Burst};
use crate::gate::Gate;
use crate::handle::PortHandle;
use crate::inner::PortInner;

/// A receive queue: one worker polls it.
pub struct RxQueue {
    port: Arc<PortInner>,
    id: u16,
    queue: u16,
    /// Of a port whose driver may pull its rings from under a burst.
    gate: Option<Arc<Gate>>,
    /// May be sent to another thread, never shared with one.
    _one_thread: PhantomData<Cell<()>>,
}

/// A transmit queue: one worker fills it.
pub struct TxQueue {
    port: Arc<PortInner>,
    id: u16,
    queue: u16,
    gate: Option<Arc<Gate>>,
    _one_thread: PhantomData<Cell<()>>,
}

impl RxQueue {
    pub(crate) fn new(port: Arc<PortInner>, queue: u16) -> Self {
        Self {
            id: port.id,
            gate: port.gate(),
            port,
            queue,
            _one_thread: PhantomData,
        }
    }

    /// Adds what was received, up to [`BURST`] packets and up to the room of the burst, to its end. Returns how many;
    /// never blocks.
    #[inline]
    pub fn burst(&mut self, burst: &mut Burst) -> usize {
        match &self.gate {
            None => self.poll(burst),
            Some(gate) => gate.pass(|| self.poll(burst)),
        }
    }

    #[inline(always)]
    fn poll(&self, burst: &mut Burst) -> usize {
        let want = burst.room().min(BURST);
        // SAFETY: the port runs as long as we hold it, this queue of it is polled here only (by `burst`, with &mut self, one per queue),
        // and the burst has room for so many pointers; what was received is ours alone.
        unsafe {
            let got = usize::from(sys::dmsc_rx_burst(
                self.id,
                self.queue,
                burst.spare(),
                want as u16,
            ));
            burst.grow(got);
            got
        }
    }

    /// Number of this queue in its port.
    pub fn queue(&self) -> u16 {
        self.queue
    }

    /// The port of this queue.
    pub fn port(&self) -> PortHandle {
        PortHandle(Arc::clone(&self.port))
    }
}

impl TxQueue {
    pub(crate) fn new(port: Arc<PortInner>, queue: u16) -> Self {
        Self {
            id: port.id,
            gate: port.gate(),
            port,
            queue,
            _one_thread: PhantomData,
        }
    }

    /// Transmits from the front of the burst. What the driver took is the driver's and is gone from the burst; what it did
    /// not take stays, in order: try again a bounded number of times, then clear and count. Returns how many were taken.
    #[inline]
    pub fn burst(&mut self, burst: &mut Burst) -> usize {
        if burst.is_empty() {
            return 0;
        }
        match &self.gate {
            None => self.hand_over(burst),
            Some(gate) => gate.pass(|| self.hand_over(burst)),
        }
    }

    #[inline(always)]
    fn hand_over(&self, burst: &mut Burst) -> usize {
        // SAFETY: the port runs as long as we hold it, this queue of it is used here only (by `burst`, with &mut self), and the first `len` are packets
        // of ours; those that were taken are forgotten here.
        unsafe {
            let sent = sys::dmsc_tx_burst(self.id, self.queue, burst.as_raw(), burst.len() as u16);
            burst.forget_front(usize::from(sent));
            usize::from(sent)
        }
    }

    /// Number of this queue in its port.
    pub fn queue(&self) -> u16 {
        self.queue
    }

    /// The port of this queue.
    pub fn port(&self) -> PortHandle {
        PortHandle(Arc::clone(&self.port))
    }
}

impl fmt::Debug for RxQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RxQueue")
            .field("port", &self.port.name)
            .field("queue", &self.queue)
            .finish()
    }
}

impl fmt::Debug for TxQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TxQueue")
            .field("port", &self.port.name)
            .field("queue", &self.queue)
            .finish()
    }
}
