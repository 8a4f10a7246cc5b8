//! What goes out: the end of the walk, and bursts to the ports.

use std::sync::atomic::Ordering::Relaxed;

use dmsc_dpdk::{Burst, Mbuf};

use super::{Floor, Queue};
use crate::counters::DropReason;
use crate::meter::Station;
use crate::packet::Verdict;
use crate::stage::Env;
use crate::trace::Stage;

/// Attempts to hand a frame to a full transmit ring before it waits.
const TX_ATTEMPTS: usize = 4;
/// A burst of which so many leave by one port goes there as it is; fewer wait for what other ports add in the round.
const WHOLE: usize = 16;

/// Beside the port that a frame is attributed to: captures have it already.
const CAPTURED: u32 = 1 << 31;

/// The frames of a port that go out.
#[derive(Clone, Copy)]
pub(super) enum Outgoing {
    /// Of this round.
    Pending,
    /// Taken out of the queues of their classes.
    Staged,
}

impl Floor {
    /// Sends all that was received, `bytes` of them, by one port.
    #[inline]
    pub(super) fn send_received(&mut self, env: &Env<'_>, out: usize, from: usize, mut bytes: u64) {
        if self.received.len() < WHOLE || self.is_scheduled(out) {
            return self.enqueue_received(env, out, from);
        }
        if !self.queues[out].pending.is_empty() {
            self.flush(env, out);
            if self.is_scheduled(out) {
                return self.enqueue_received(env, out, from);
            }
        }
        let Floor {
            queues,
            received,
            counters,
            shared,
            for_herald,
            ..
        } = self;
        let count = received.len();
        let captured = shared.ports[out].captured.load(Relaxed);
        if captured {
            for mbuf in received.iter() {
                shared.capture(mbuf, out, true, env.now, &counters.ports[out]);
            }
            *for_herald = true;
        }
        for _ in 0..TX_ATTEMPTS {
            queues[out].tx.burst(received);
            if received.is_empty() {
                break;
            }
        }
        let left = received.len();
        if left > 0 {
            bytes -= received.bytes();
        }
        let sent = (count - left) as u64;
        counters.ports[from].sent.add(sent);
        counters.ports[out].tx.add(sent);
        counters.ports[out].tx_bytes.add(bytes);
        if left > 0 {
            self.keep_received(env, out, from, captured);
        }
        env.counters.meter.mark(Station::Io);
    }

    /// Puts all that was received into the transmit burst of a port.
    fn enqueue_received(&mut self, env: &Env<'_>, out: usize, from: usize) {
        let mut burst = std::mem::take(&mut self.received);
        for mbuf in burst.drain() {
            self.enqueue(env, out, mbuf, from);
        }
    }

    /// The transmit ring is full: the rest waits in the queues of its classes.
    #[cold]
    #[inline(never)]
    fn keep_received(&mut self, env: &Env<'_>, out: usize, from: usize, captured: bool) {
        let mut burst = std::mem::take(&mut self.received);
        let note = from as u32 | if captured { CAPTURED } else { 0 };
        for mut mbuf in burst.drain() {
            mbuf.set_user(note);
            // Its burst is empty, and has room for one of this size.
            let _ = self.queues[out].pending.push(mbuf);
        }
        self.schedule(env, out);
    }

    /// Ends the walk: each frame to its port, to the kernel, to this router, or away.
    #[inline]
    pub(super) fn transmit(&mut self, env: &Env<'_>) {
        self.note(env, Stage::Transmit);
        let mut batch = std::mem::take(&mut self.batch);
        for (mut mbuf, mut context) in batch.frames.drain(..).zip(batch.contexts.drain(..)) {
            if matches!(
                context.verdict,
                Verdict::Own
                    | Verdict::Hello(_)
                    | Verdict::Probe(_)
                    | Verdict::Arp
                    | Verdict::Icmp
                    | Verdict::Kernel
            ) {
                self.consume(env, &mut mbuf, &mut context);
            }
            if context.returned {
                self.shared.changed.store(true, Relaxed);
                self.for_herald = true;
            }
            let counters = &self.counters.ports[usize::from(context.port)];
            match context.verdict {
                Verdict::Send(port) => {
                    self.enqueue(env, usize::from(port), mbuf, usize::from(context.port));
                    continue;
                }
                Verdict::Drop(reason) => {
                    counters.drop(reason);
                    if let Some((code, mtu)) = context.error {
                        self.make_error(env, &mbuf, &context, code, mtu);
                    }
                }
                Verdict::Consumed => counters.consumed.add(1),
                // No stage leaves a packet undecided; if one did, it is counted like any other.
                _ => counters.drop(DropReason::NoRoute),
            }
            if let Err(mbuf) = self.trash.push(mbuf) {
                self.trash.clear();
                let _ = self.trash.push(mbuf);
            }
        }
        self.trash.clear();
        self.batch = batch;
    }

    /// Puts a frame into the transmit burst of `port`; `from` is the port it is attributed to.
    #[inline]
    pub(crate) fn enqueue(&mut self, env: &Env<'_>, port: usize, mut mbuf: Mbuf, from: usize) {
        if self.queues[port].pending.room() == 0 {
            self.flush(env, port);
        }
        mbuf.set_user(from as u32);
        // There is room: a flush empties the burst.
        let _ = self.queues[port].pending.push(mbuf);
    }

    pub(crate) fn flush_all(&mut self, env: &Env<'_>) {
        for port in 0..self.queues.len() {
            if !self.queues[port].pending.is_empty() {
                self.flush(env, port);
            }
        }
        if self.waiting != 0 {
            self.serve_waiting(env);
        }
    }

    /// Hands the pending frames of a port to its PMD, with a bounded number of attempts; the rest waits in the queues of its classes.
    pub(super) fn flush(&mut self, env: &Env<'_>, port: usize) {
        if self.is_scheduled(port) {
            return self.schedule(env, port);
        }
        self.put_out(port, env.now, Outgoing::Pending);
        if !self.queues[port].pending.is_empty() {
            self.schedule(env, port);
        }
    }

    /// Hands frames of a port to its PMD in order, with a bounded number of attempts, and counts them; what it did not take stays.
    #[inline]
    pub(super) fn put_out(&mut self, port: usize, now: u64, which: Outgoing) {
        let Floor {
            queues,
            counters,
            shared,
            for_herald,
            ..
        } = self;
        let Queue {
            tx,
            pending,
            staged,
            ..
        } = &mut queues[port];
        let burst = match which {
            Outgoing::Pending => pending,
            Outgoing::Staged => staged,
        };
        let count = burst.len();
        let mut origins = [(0u8, 0u16); Burst::CAPACITY];
        for (origin, mbuf) in origins.iter_mut().zip(burst.iter()) {
            *origin = (mbuf.user() as u8, mbuf.len() as u16);
        }
        if shared.ports[port].captured.load(Relaxed) {
            for mbuf in burst.iter_mut() {
                if mbuf.user() & CAPTURED == 0 {
                    mbuf.set_user(mbuf.user() | CAPTURED);
                    shared.capture(mbuf, port, true, now, &counters.ports[port]);
                }
            }
            *for_herald = true;
        }
        for _ in 0..TX_ATTEMPTS {
            tx.burst(burst);
            if burst.is_empty() {
                break;
            }
        }
        let sent = count - burst.len();
        let mut bytes = 0;
        for &(from, length) in &origins[..sent] {
            counters.ports[usize::from(from)].sent.add(1);
            bytes += u64::from(length);
        }
        counters.ports[port].tx.add(sent as u64);
        counters.ports[port].tx_bytes.add(bytes);
    }
}
