//! The walk of a packet, whole: receive burst → parse → admit → resolve → rewrite → transmit → quiescent, pace (design §2).
//!
//! One worker per core, with its own queue on every port, run to completion. Between receive and transmit nothing allocates,
//! locks, logs, makes a system call or panics; every packet ends in exactly one counter.

mod egress;
mod kernel;
mod queue;
mod receive;
mod transmit;

pub use queue::Queue;

use std::cell::Cell;
use std::sync::Arc;

use dmsc_dpdk::{Burst, Mbuf, Mempool, tsc};
use dmsc_fib::qsbr::Reader;
use dmsc_fib::{FirstHops, Habit};

use crate::bucket::Bucket;
use crate::choose::Chooser;
use crate::counters::Counters;
use crate::egress::Exit;
use crate::lane::MAX_FRAME;
use crate::meter::Station;
use crate::pace::Pacer;
use crate::packet::Batch;
use crate::rig::Mounted;
use crate::shared::Shared;
use crate::stage::{Env, admit, parse, resolve, rewrite};
use crate::tables::Tables;
use crate::trace::Stage;
use crate::traffic::Traffic;

/// Turns that a packet of this router's own making may cause: echo, its answer or an error, no more.
const MADE_TURNS: usize = 3;

/// What one core does.
pub struct Worker {
    reader: Reader<Tables>,
    pub(crate) pacer: Pacer,
    pub(crate) floor: Floor,
    /// Beside the floor: stages read where to count while the floor is changed.
    traffic: Traffic,
    habit: Cell<Habit>,
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
    first_hops: FirstHops,
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
    /// Bit per port whose frames go through the queues of their classes: it has a rate, or something waits.
    scheduled: u64,
    /// Bit per port where something waits.
    pub(crate) waiting: u64,
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
        let hold = egress::hold(&shared, pool.count());
        for (queue, port) in queues.iter_mut().zip(shared.ports.iter()) {
            queue.exit = Exit::new(&shared.config.classes, hold);
            queue.tune(port, workers, hz, now);
        }
        let ports = shared.ports.len();
        let mut worker = Worker {
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
                first_hops: FirstHops::new(),
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
                scheduled: 0,
                waiting: 0,
                shared,
            },
            traffic: Traffic::default(),
            habit: Cell::default(),
        };
        for port in 0..ports {
            worker.floor.note_waiting(port);
        }
        worker
    }

    /// Polls until the process stops, then tells the neighbours, then whoever holds the other end of `stopped`; its queues go last.
    #[inline(never)] // a measurement counts its instructions by this name
    pub fn run(mut self, stopped: &crossbeam_channel::Sender<()>) {
        // Cloned once: a reference count is shared by all workers, and nothing on the data path is shared and written.
        let (shared, counters) = (self.floor.shared.clone(), self.floor.counters.clone());
        let mut now = tsc();
        while shared.is_running() {
            let own = (&self.traffic, &self.habit);
            let tables = self.reader.enter();
            let received = self.floor.round(&shared, &counters, own, tables, now);
            self.reader.quiescent();
            let link = &shared.workers[self.floor.id];
            link.tallies.trade(&mut self.traffic.tally);
            self.floor.ring_bells();
            now = self.pacer.pace(received, &mut self.reader, &mut self.floor);
        }
        self.floor.last_word(self.reader.enter(), &self.traffic);
        // Nobody may wait any more.
        let _ = stopped.try_send(());
    }
}

impl Floor {
    /// One round over all queues, begun at TSC `now`; returns how many packets came in.
    #[inline]
    fn round(
        &mut self,
        shared: &Shared,
        counters: &Counters,
        (traffic, habit): (&Traffic, &Cell<Habit>),
        tables: &Tables,
        now: u64,
    ) -> usize {
        let chooser = Chooser {
            tables,
            ports: &shared.ports,
            node: shared.config.node,
        };
        let mut env = Env {
            chooser,
            counters,
            traffic,
            habit,
            class_rules: &shared.config.class_rules,
            udp_port: shared.config.udp_port,
            now,
            clock: shared.clock,
            tsc,
        };
        let mut total = 0;
        counters.meter.mark(Station::Rest);
        for port in 0..self.queues.len() {
            let received = self.receive(&env, port);
            counters.meter.mark(Station::Io);
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
        counters.meter.mark(Station::Io);
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

    /// Takes up what an operator changed of the ports.
    pub(crate) fn tune(&mut self, env: &Env<'_>) {
        let workers = self.shared.workers.len().max(1) as u64;
        for (queue, port) in self.queues.iter_mut().zip(self.shared.ports.iter()) {
            queue.tune(port, workers, env.clock.hz(), env.now);
        }
        for port in 0..self.queues.len() {
            self.note_waiting(port);
        }
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
