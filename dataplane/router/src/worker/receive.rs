//! What comes in: a burst, as far as the port's budget goes, and the two short ways that most of it takes.

use std::sync::atomic::Ordering::Relaxed;

use dmsc_dpdk::Burst;

use super::Floor;
use crate::counters::EventKind;
use crate::meter::Station;
use crate::packet::Context;
use crate::port::Cross;
use crate::stage::cross::Addresses;
use crate::stage::{Env, cross, express};

impl Floor {
    /// Receives a burst from one port, as far as its budget goes.
    #[inline]
    pub(super) fn receive(&mut self, env: &Env<'_>, port: usize) -> usize {
        let Floor {
            queues,
            received,
            counters,
            shared,
            received_bytes,
            gear,
            for_herald,
            ..
        } = self;
        let (queue, counters) = (&mut queues[port], &counters.ports[port]);
        if env.now < queue.paused_until {
            return 0;
        }
        if let Some(budget) = &mut queue.budget {
            let left = budget
                .packets
                .refill(env.now)
                .min(budget.bytes.refill(env.now));
            if left <= 0 {
                queue.paused_until = env.now + env.clock.from_us(200);
                counters.event(EventKind::BudgetPause);
                return 0;
            }
        }
        let count = queue.rx.burst(received);
        if count == 0 {
            return 0;
        }
        if let Some(gear) = gear {
            env.counters.meter.mark(Station::Io);
            gear.received(port, received);
            env.counters.meter.mark(Station::Rig);
        }
        let count = received.len();
        let bytes = received.bytes();
        if shared.ports[port].captured.load(Relaxed) {
            for mbuf in received.iter() {
                shared.capture(mbuf, port, false, env.now, counters);
            }
            *for_herald = true;
        }
        counters.rx.add(count as u64);
        counters.rx_bytes.add(bytes);
        *received_bytes = bytes;
        if let Some(budget) = &mut queue.budget {
            budget.packets.spend(count as u64);
            budget.bytes.spend(bytes);
        }
        count
    }

    /// A cross-connected port: its frames leave by the other one, and what is for this router stays in `received`.
    #[inline]
    pub(super) fn cross(&mut self, env: &Env<'_>, port: usize, to: Cross) {
        let Some(out) = env.chooser.ports.get(usize::from(to.port)) else {
            return;
        };
        let addresses = Addresses::new(to.destination, out.mac);
        let kept = cross::run_all(self.received.as_mut_slice(), env.udp_port, addresses);
        env.counters.meter.mark(Station::Cross);
        if kept == 0 {
            let bytes = self.received_bytes;
            return self.send_received(env, usize::from(to.port), port, bytes);
        }
        let mut burst = std::mem::take(&mut self.received);
        for mbuf in burst.drain() {
            if cross::is_kept(&mbuf, env.udp_port) {
                // There is room for what came out of a burst of this size.
                let _ = self.received.push(mbuf);
            } else {
                self.enqueue(env, usize::from(to.port), mbuf, port);
            }
        }
    }

    /// What most packets of router ports need and no more; from the first one on that needs another thing, all are left in
    /// `received` for the stages, so that none overtakes one that came before it.
    #[inline]
    pub(super) fn express(&mut self, env: &Env<'_>, port: usize) {
        let state = &env.chooser.ports[port];
        if state.is_pod() || self.shared.tracer.is_on() {
            return;
        }
        let mut exits = [0; Burst::CAPACITY];
        let frames = self.received.as_mut_slice();
        let ready = express::run(env, state, &mut self.first_hops, frames, &mut exits);
        let (done, count) = (ready.frames, self.received.len());
        if done == 0 {
            return;
        }
        if done == count && exits[1..count].iter().all(|exit| *exit == exits[0]) {
            let bytes = match ready.are_as_long {
                true => self.received_bytes,
                false => self.received.bytes(),
            };
            return self.send_received(env, usize::from(exits[0]), port, bytes);
        }
        let mut burst = std::mem::take(&mut self.received);
        for (index, mbuf) in burst.drain().enumerate() {
            if index < done {
                self.enqueue(env, usize::from(exits[index]), mbuf, port);
            } else {
                let _ = self.received.push(mbuf);
            }
        }
    }

    /// Gives what was received to the stages.
    #[inline]
    pub(super) fn fill_batch(&mut self, env: &Env<'_>, port: usize) {
        let Floor {
            received,
            batch,
            shared,
            ..
        } = self;
        let tracing = shared.tracer.is_on();
        for mbuf in received.drain() {
            let mut context = Context::received(port, env.now);
            if tracing {
                context.trace = shared.tracer.claim(port as u8);
            }
            // A burst is never larger than a batch.
            let _ = batch.push(mbuf, context);
        }
    }

    /// Has a measurement add its frames.
    #[inline]
    pub(super) fn feed(&mut self, env: &Env<'_>) {
        let Some(mut mounted) = self.gear.take() else {
            return;
        };
        for port in 0..self.queues.len() {
            let mut burst = Burst::new();
            mounted.gear.feed(port, &self.pool, &mut burst);
            self.counters.ports[port].originated.add(burst.len() as u64);
            for mbuf in burst.drain() {
                self.enqueue(env, port, mbuf, port);
            }
        }
        self.gear = Some(mounted);
    }
}
