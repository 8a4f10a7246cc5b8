//! The walk of a packet, whole: receive burst → parse → admit → resolve → rewrite → transmit → quiescent, pace (design §2).
//!
//! One worker per core, with its own queue on every port, run to completion. Between receive and transmit nothing allocates,
//! locks, logs, makes a system call or panics; every packet ends in exactly one counter.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use dmsc_dpdk::{Burst, Mbuf, Mempool, RxQueue, TxQueue, WaitFd, tsc};
use dmsc_fib::qsbr::Reader;

use crate::bucket::Bucket;
use crate::choose::Chooser;
use crate::config;
use crate::counters::{Counters, DropReason, EventKind};
use crate::lane::MAX_FRAME;
use crate::meter::Station;
use crate::net;
use crate::pace::Pacer;
use crate::packet::{Batch, Context, Verdict};
use crate::port::{Cross, PortState};
use crate::rig::Mounted;
use crate::shared::Shared;
use crate::stage::{Env, admit, cross, express, parse, resolve, rewrite};
use crate::tables::Tables;
use crate::trace::Stage;

/// Attempts to hand a frame to a full transmit ring before it is dropped.
const TX_ATTEMPTS: usize = 4;
/// A burst of which so many leave by one port goes there as it is; fewer wait for what other ports add in the round.
const WHOLE: usize = 16;

/// A worker's queue pair on one port.
pub struct Queue {
    rx: RxQueue,
    tx: TxQueue,
    /// Frames that leave with the next flush.
    pending: Burst,
    /// Descriptors to block on.
    pub(crate) waits: Vec<WaitFd>,
    budget: Option<Budget>,
    /// TSC until which the port is left alone because its budget is used up.
    pub(crate) paused_until: u64,
}

/// Packet and byte budget of a pod port (design §4.6).
struct Budget {
    of: config::Budget,
    packets: Bucket,
    bytes: Bucket,
}

impl Queue {
    /// Of a pair and its descriptors.
    pub fn new(rx: RxQueue, tx: TxQueue, waits: Vec<WaitFd>) -> Queue {
        Queue {
            rx,
            tx,
            pending: Burst::new(),
            waits,
            budget: None,
            paused_until: 0,
        }
    }
}

impl Queue {
    /// Takes up the port's budget where it is another one now.
    fn tune(&mut self, port: &PortState, workers: u64, hz: u64, now: u64) {
        let of = port.tuning.budget();
        if !port.is_pod() || self.budget.as_ref().is_some_and(|budget| budget.of == of) {
            return;
        }
        let share = |rate: u64| (rate / workers).max(1);
        let (packets, bytes) = (share(of.packets_per_s), share(of.bytes_per_s));
        self.budget = Some(Budget {
            of,
            packets: Bucket::new(packets, (packets / 50).max(64), hz, now),
            bytes: Bucket::new(bytes, (bytes / 50).max(64_000), hz, now),
        });
    }
}

/// Turns that a packet of this router's own making may cause: echo, its answer or an error, no more.
const MADE_TURNS: usize = 3;

/// What one core does.
pub struct Worker {
    reader: Reader<Tables>,
    pub(crate) pacer: Pacer,
    pub(crate) floor: Floor,
}

/// All of a worker but its view of the tables: borrowed apart, because the view lives through a round.
pub struct Floor {
    pub(crate) id: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) queues: Vec<Queue>,
    pub(crate) pool: Mempool,
    pub(crate) counters: Arc<Counters>,
    batch: Batch<Mbuf>,
    /// Packets that this router made during the round: errors, echo replies.
    pub(crate) made: Batch<Mbuf>,
    received: Burst,
    /// Bytes of what came last.
    received_bytes: u64,
    /// Dropped frames, freed in bulk.
    trash: Burst,
    /// Per port, so that one pod's mistakes do not silence the errors of others.
    pub(crate) error_rate: Vec<Bucket>,
    pub(crate) exception_rate: Vec<Bucket>,
    pub(crate) next_timer: u64,
    pub(crate) next_resolution: u64,
    pub(crate) scratch: Box<[u8; MAX_FRAME]>,
    /// Frames from the kernel that were lost so far.
    pub(crate) raw_missed: u64,
    for_kernel: bool,
    pub(crate) for_herald: bool,
    /// Of a measurement.
    pub(crate) gear: Option<Mounted>,
}

/// Error packets per second, port and worker, and how many at once (design §3: rate-limited).
const ERRORS_PER_S: u64 = 2_000;
const ERROR_BURST: u64 = 1_000;
/// Frames per second and port from router ports to the kernel.
const EXCEPTIONS_PER_S: u64 = 20_000;
const EXCEPTION_BURST: u64 = 2_000;

impl Worker {
    /// A worker over `queues`, one per port in the order of the ports.
    pub fn new(
        id: usize,
        shared: Arc<Shared>,
        reader: Reader<Tables>,
        pool: Mempool,
        mut queues: Vec<Queue>,
    ) -> Worker {
        let now = tsc();
        let (hz, workers) = (shared.clock.hz(), shared.workers.len().max(1) as u64);
        for (queue, port) in queues.iter_mut().zip(shared.ports.iter()) {
            queue.tune(port, workers, hz, now);
        }
        let ports = shared.ports.len();
        Worker {
            reader,
            pacer: Pacer::new(&queues),
            floor: Floor {
                id,
                counters: shared.workers[id].counters.clone(),
                queues,
                pool,
                batch: Batch::default(),
                made: Batch::default(),
                received: Burst::new(),
                received_bytes: 0,
                trash: Burst::new(),
                error_rate: (0..ports)
                    .map(|_| Bucket::new(ERRORS_PER_S, ERROR_BURST, hz, now))
                    .collect(),
                exception_rate: (0..ports)
                    .map(|_| Bucket::new(EXCEPTIONS_PER_S, EXCEPTION_BURST, hz, now))
                    .collect(),
                next_timer: now,
                next_resolution: now,
                scratch: Box::new([0; MAX_FRAME]),
                raw_missed: 0,
                for_kernel: false,
                for_herald: false,
                gear: None,
                shared,
            },
        }
    }

    /// Polls until the process stops, then tells the neighbours, then whoever holds the other end of `stopped`; its queues go last.
    #[inline(never)] // a measurement counts its instructions by this name
    pub fn run(mut self, stopped: &crossbeam_channel::Sender<()>) {
        // Cloned once: a reference count is shared by all workers, and nothing on the data path is shared and written.
        let (shared, counters) = (self.floor.shared.clone(), self.floor.counters.clone());
        let mut now = tsc();
        while shared.is_running() {
            let received = self
                .floor
                .round(&shared, &counters, self.reader.enter(), now);
            self.reader.quiescent();
            self.floor.ring_bells();
            now = self.pacer.pace(received, &mut self.reader, &mut self.floor);
        }
        self.floor.last_word(self.reader.enter());
        // Nobody may wait any more.
        let _ = stopped.try_send(());
    }
}

impl Floor {
    /// One round over all queues, begun at TSC `now`; returns how many packets came in.
    #[inline]
    fn round(&mut self, shared: &Shared, counters: &Counters, tables: &Tables, now: u64) -> usize {
        let chooser = Chooser {
            tables,
            ports: &shared.ports,
            node: shared.config.node,
        };
        let mut env = Env {
            chooser,
            counters,
            udp_port: shared.config.udp_port,
            now,
            clock: shared.clock,
            tsc,
        };
        let mut total = 0;
        counters.meter.mark(Station::Rest);
        for port in 0..self.queues.len() {
            let received = self.receive(&env, port);
            counters.meter.mark(Station::Receive);
            if received == 0 {
                continue;
            }
            total += received;
            match shared.ports[port].tuning.cross() {
                Some(to) => self.cross(&env, port, to),
                None => self.express(&env, port),
            }
            if !self.received.is_empty() {
                self.fill_batch(&env, port);
                self.walk(&env);
                env.now = tsc();
                counters.meter.mark(Station::Stages);
            }
        }
        let link = &shared.workers[self.id];
        if link.has_parcels() || link.raw.missed() != self.raw_missed || !self.made.is_empty() {
            total += self.take_parcels(&env, link);
        }
        if total == 0 {
            self.feed(&env);
        }
        self.run_timers(&env);
        counters.meter.mark(Station::Rest);
        self.flush_all(&env);
        counters.meter.mark(Station::Transmit);
        total
    }

    /// The walk: every stage over the whole batch, then to the ports.
    #[inline]
    fn walk(&mut self, env: &Env<'_>) {
        self.note(env, Stage::Receive);
        parse::run(env, &mut self.batch);
        self.note(env, Stage::Parse);
        admit::run(env, &mut self.batch);
        self.note(env, Stage::Admit);
        resolve::run(env, &mut self.batch);
        self.note(env, Stage::Resolve);
        rewrite::run(env, &mut self.batch);
        self.note(env, Stage::Rewrite);
        self.transmit(env);
        self.walk_made(env);
    }

    /// The walk of what this router made itself. What it says may end here again (an echo of its own name, an error about an
    /// echo): a few turns, then the rest waits for the next round.
    pub(crate) fn walk_made(&mut self, env: &Env<'_>) {
        for _ in 0..MADE_TURNS {
            if self.made.is_empty() {
                return;
            }
            std::mem::swap(&mut self.batch, &mut self.made);
            resolve::run(env, &mut self.batch);
            rewrite::run(env, &mut self.batch);
            self.transmit(env);
        }
    }

    /// Receives a burst from one port, as far as its budget goes.
    #[inline]
    fn receive(&mut self, env: &Env<'_>, port: usize) -> usize {
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
            gear.received(port, received);
        }
        let count = received.len();
        let bytes: u64 = received.iter().map(|mbuf| mbuf.len() as u64).sum();
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
    fn cross(&mut self, env: &Env<'_>, port: usize, to: Cross) {
        let Some(out) = env.chooser.ports.get(usize::from(to.port)) else {
            return;
        };
        let mut kept = 0;
        for mbuf in self.received.iter_mut() {
            if !cross::run(mbuf, env.udp_port, out.mac, to.destination) {
                kept += 1;
            }
        }
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
    fn express(&mut self, env: &Env<'_>, port: usize) {
        let state = &env.chooser.ports[port];
        if state.is_pod() || self.shared.tracer.is_on() {
            return;
        }
        let mut exits = [0; Burst::CAPACITY];
        let done = express::run(env, state, self.received.as_mut_slice(), &mut exits);
        let count = self.received.len();
        if done == 0 {
            return;
        }
        if done == count && exits[1..count].iter().all(|exit| *exit == exits[0]) {
            let bytes = self.received.iter().map(|mbuf| mbuf.len() as u64).sum();
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

    /// Sends all that was received, `bytes` of them, by one port.
    #[inline]
    fn send_received(&mut self, env: &Env<'_>, out: usize, from: usize, mut bytes: u64) {
        if self.received.len() < WHOLE {
            let mut burst = std::mem::take(&mut self.received);
            for mbuf in burst.drain() {
                self.enqueue(env, out, mbuf, from);
            }
            return;
        }
        if !self.queues[out].pending.is_empty() {
            self.flush(env, out);
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
        if shared.ports[out].captured.load(Relaxed) {
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
            bytes -= received.iter().map(|mbuf| mbuf.len() as u64).sum::<u64>();
            counters.ports[from].drop_many(DropReason::TxRingFull, left as u64);
            received.clear();
        }
        let sent = (count - left) as u64;
        counters.ports[from].sent.add(sent);
        counters.ports[out].tx.add(sent);
        counters.ports[out].tx_bytes.add(bytes);
        counters.meter.mark(Station::Transmit);
    }

    /// Gives what was received to the stages.
    #[inline]
    fn fill_batch(&mut self, env: &Env<'_>, port: usize) {
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
    fn feed(&mut self, env: &Env<'_>) {
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

    /// Ends the walk: each frame to its port, to the kernel, to this router, or away.
    #[inline]
    fn transmit(&mut self, env: &Env<'_>) {
        self.note(env, Stage::Transmit);
        let mut batch = std::mem::take(&mut self.batch);
        for (mut mbuf, mut context) in batch.frames.drain(..).zip(batch.contexts.drain(..)) {
            if matches!(
                context.verdict,
                Verdict::Own | Verdict::Hello(_) | Verdict::Arp | Verdict::Icmp | Verdict::Kernel
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
    }

    /// Hands the pending frames of a port to its PMD, with a bounded number of attempts; the rest is dropped and counted.
    fn flush(&mut self, env: &Env<'_>, port: usize) {
        let Floor {
            queues,
            counters,
            shared,
            for_herald,
            ..
        } = self;
        let queue = &mut queues[port];
        let count = queue.pending.len();
        let mut origins = [(0u8, 0u16); Burst::CAPACITY];
        for (origin, mbuf) in origins.iter_mut().zip(queue.pending.iter()) {
            *origin = (mbuf.user() as u8, mbuf.len() as u16);
        }
        if shared.ports[port].captured.load(Relaxed) {
            for mbuf in queue.pending.iter() {
                shared.capture(mbuf, port, true, env.now, &counters.ports[port]);
            }
            *for_herald = true;
        }
        for _ in 0..TX_ATTEMPTS {
            queue.tx.burst(&mut queue.pending);
            if queue.pending.is_empty() {
                break;
            }
        }
        let sent = count - queue.pending.len();
        let mut bytes = 0;
        for &(from, length) in &origins[..sent] {
            counters.ports[usize::from(from)].sent.add(1);
            bytes += u64::from(length);
        }
        counters.ports[port].tx.add(sent as u64);
        counters.ports[port].tx_bytes.add(bytes);
        for &(from, _) in &origins[sent..count] {
            counters.ports[usize::from(from)].drop(DropReason::TxRingFull);
        }
        queue.pending.clear();
    }

    /// Takes up what an operator changed of the ports.
    pub(crate) fn tune(&mut self, env: &Env<'_>) {
        let workers = self.shared.workers.len().max(1) as u64;
        for (queue, port) in self.queues.iter_mut().zip(self.shared.ports.iter()) {
            queue.tune(port, workers, env.clock.hz(), env.now);
        }
    }

    /// Tells other threads what there is for them: system calls, so after the burst.
    fn ring_bells(&mut self) {
        if std::mem::take(&mut self.for_kernel) {
            self.shared.kernel_bell.ring();
        }
        if std::mem::take(&mut self.for_herald) {
            self.shared.herald_bell.ring();
        }
    }

    /// Gives a frame to the exception path.
    pub(crate) fn punt(&mut self, env: &Env<'_>, frame: &[u8], context: &Context) -> Verdict {
        let number = usize::from(context.port);
        let Some(port) = self.shared.ports.get(number) else {
            return Verdict::Drop(DropReason::NoException);
        };
        if !port.has_tap {
            return Verdict::Drop(DropReason::NoException);
        }
        let vlan = port.config.vlan;
        if net::vlan(frame) != vlan {
            return Verdict::Drop(DropReason::WrongVlan);
        }
        // Plain IP of pods is what they live on and has their budget already; router ports are limited here.
        if !port.is_pod() && !self.exception_rate[number].allow(env.now) {
            return Verdict::Drop(DropReason::ExceptionRate);
        }
        let frame = if vlan == 0 {
            frame
        } else {
            net::untag(frame, &mut self.scratch[..])
        };
        if !self.shared.to_kernel[number].offer(context.port, false, env.now, frame, usize::MAX) {
            return Verdict::Drop(DropReason::ExceptionFull);
        }
        self.for_kernel = true;
        self.counters.ports[number].event(EventKind::ToKernel);
        Verdict::Consumed
    }

    #[inline]
    fn note(&self, env: &Env<'_>, stage: Stage) {
        if self.shared.tracer.is_on() || self.batch.contexts.iter().any(|c| c.trace != 0) {
            for (frame, context) in self.batch.frames.iter().zip(&self.batch.contexts) {
                if context.trace != 0 {
                    self.shared
                        .tracer
                        .note(stage, (env.tsc)(), context, frame.len());
                }
            }
        }
    }
}
