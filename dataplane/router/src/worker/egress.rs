//! Ports that cannot or may not send all at once: their frames wait in queues of classes (`src/egress/`) from round to round.

use dmsc_dpdk::{Burst, Mbuf, tsc};

use super::Floor;
use super::transmit::Outgoing;
use crate::counters::DropReason;
use crate::egress::Waiting;
use crate::shared::Shared;
use crate::stage::Env;

/// Frames taken out of the queues at a time: what the driver has no room for stays first, whatever comes.
const AT_A_TIME: usize = 16;
/// How soon a worker looks again for room in a transmit ring; nothing tells it.
const RING_US: u64 = 50;
/// How long a worker that ends tries to send what waits.
const DRAIN_MS: u64 = 50;

/// Most frames that wait on one port of one worker: half of the pool for all of them, so that the other half receives and what waits
/// of a low class never keeps a higher one out.
pub(super) fn hold(shared: &Shared, buffers: u32) -> usize {
    let shares = shared.ports.len().max(1) * shared.workers.len().max(1);
    (buffers as usize / 2 / shares).max(32)
}

impl Floor {
    /// Whether frames of `port` go through the queues of their classes now.
    #[inline(always)]
    pub(super) fn is_scheduled(&self, port: usize) -> bool {
        self.scheduled >> port & 1 == 1
    }

    /// Puts the pending frames of a port into their queues, and sends what may go.
    #[inline(never)]
    pub(super) fn schedule(&mut self, env: &Env<'_>, port: usize) {
        let Floor {
            queues,
            counters,
            shared,
            ..
        } = self;
        let queue = &mut queues[port];
        let reason = if queue.exit.is_shaped() {
            DropReason::OverRate
        } else {
            DropReason::TxRingFull
        };
        let state = &shared.ports[port];
        let classes = &counters.ports[port].classes;
        let mut came = std::mem::take(&mut queue.pending);
        for mbuf in came.drain() {
            let bytes = mbuf.len() as u32;
            let lost = queue.exit.push(state, env.udp_port, mbuf, bytes, classes);
            if let Some(lost) = lost {
                counters.ports[origin(&lost)].drop(reason);
            }
        }
        self.serve(env, port);
    }

    /// Sends what may go of what waits on all ports.
    #[inline(never)]
    pub(super) fn serve_waiting(&mut self, env: &Env<'_>) {
        let mut left = self.waiting;
        while left != 0 {
            let port = left.trailing_zeros() as usize;
            left &= left - 1;
            self.serve(env, port);
        }
    }

    /// Sends what may go of what waits on a port, in the order of its classes.
    fn serve(&mut self, env: &Env<'_>, port: usize) {
        let now = (env.tsc)();
        loop {
            let queue = &mut self.queues[port];
            let classes = &self.counters.ports[port].classes;
            while queue.staged.len() < AT_A_TIME {
                let Some(mbuf) = queue.exit.pop(now, classes) else {
                    break;
                };
                // A burst has room for more than are taken at a time.
                let _ = queue.staged.push(mbuf);
            }
            if queue.staged.is_empty() {
                break;
            }
            self.put_out(port, now, Outgoing::Staged);
            if !self.queues[port].staged.is_empty() {
                break;
            }
        }
        self.note_waiting(port);
    }

    /// Brings the bits of a port up to what waits there.
    pub(super) fn note_waiting(&mut self, port: usize) {
        let queue = &self.queues[port];
        let bit = 1u64 << port;
        let waits = !queue.staged.is_empty() || !queue.exit.is_empty();
        let set = |bits: u64, on: bool| if on { bits | bit } else { bits & !bit };
        self.waiting = set(self.waiting, waits);
        self.scheduled = set(self.scheduled, waits || queue.exit.is_shaped());
    }

    /// The TSC at which something that waits may go; `None` where nothing waits.
    pub(crate) fn next_departure(&self, now: u64) -> Option<u64> {
        let mut left = self.waiting;
        let mut next = None;
        while left != 0 {
            let port = left.trailing_zeros() as usize;
            left &= left - 1;
            let queue = &self.queues[port];
            let at = match queue.exit.waiting() {
                Waiting::Until(at) if queue.staged.is_empty() => at,
                _ => now + self.shared.clock.from_us(RING_US),
            };
            next = Some(next.map_or(at, |next: u64| next.min(at)));
        }
        next
    }

    /// Before a worker ends: what waits goes now, whatever the rate, as far as the rings take it in a short time; the rest is dropped and
    /// counted.
    pub(crate) fn drain(&mut self, env: &Env<'_>) {
        let end = tsc() + env.clock.from_ms(DRAIN_MS);
        for queue in &mut self.queues {
            queue.exit.set_rate(0, env.clock.hz(), env.now);
        }
        while self.waiting != 0 && tsc() < end {
            self.serve_waiting(env);
        }
        let counters = self.counters.clone();
        for queue in &mut self.queues {
            let mut rest = std::mem::take(&mut queue.staged);
            count_lost(&mut rest, &counters);
            while let Some(mbuf) = queue.exit.pop(u64::MAX, &[]) {
                counters.ports[origin(&mbuf)].drop(DropReason::TxRingFull);
            }
        }
        self.waiting = 0;
    }
}

fn count_lost(burst: &mut Burst, counters: &crate::counters::Counters) {
    for mbuf in burst.drain() {
        counters.ports[origin(&mbuf)].drop(DropReason::TxRingFull);
    }
}

/// The port that a frame is attributed to, as [`Floor::enqueue`] noted it.
#[inline]
pub(super) fn origin(mbuf: &Mbuf) -> usize {
    usize::from(mbuf.user() as u8)
}
