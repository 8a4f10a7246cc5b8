//! Publishes generations: one thread takes transactions from the agent, makes tables, hands them to the workers, and
//! acknowledges when all have seen them (design §5).

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use dmsc_fib::{Generation, qsbr};
use dmsc_proto::v1;
use tokio::sync::oneshot;

use crate::programmer::{ProgramError, Programmer};
use crate::shared::Shared;
use crate::tables::Tables;

/// An acknowledged transaction.
#[derive(Debug, Clone)]
pub struct Acknowledged {
    /// In which it is visible.
    pub generation: Generation,
    /// Whether all workers had observed it within the time allowed.
    pub observed: bool,
    /// Ids of the attach operations.
    pub attached: Vec<u32>,
}

/// A transaction on its way to the publisher.
pub struct Order {
    ops: Vec<v1::Op>,
    reply: oneshot::Sender<Result<Acknowledged, ProgramError>>,
}

/// What everybody but the workers reads.
#[derive(Debug, Clone)]
pub struct View {
    /// Of the tables.
    pub generation: Generation,
    /// Published last.
    pub tables: Tables,
    /// Attachment ids that rest, and since when.
    pub resting: Arc<HashMap<u16, Instant>>,
}

/// The agent's side.
#[derive(Clone)]
pub struct Publishing {
    orders: Sender<Order>,
    view: Arc<RwLock<View>>,
}

impl Publishing {
    /// Has a transaction done.
    ///
    /// # Errors
    /// As [`Programmer::apply`]; `None` inside means that the publisher is gone because the process stops.
    pub async fn apply(&self, ops: Vec<v1::Op>) -> Option<Result<Acknowledged, ProgramError>> {
        let (reply, answer) = oneshot::channel();
        let orders = self.orders.clone();
        // Bounded: a programmer that is faster than the tables waits here, and no other thread of the agent does.
        tokio::task::spawn_blocking(move || orders.send(Order { ops, reply }))
            .await
            .ok()?
            .ok()?;
        answer.await.ok()
    }

    /// Has the publisher look whether the process stops.
    pub fn wake(&self) {
        let (reply, _) = oneshot::channel();
        // When orders wait, it is awake.
        let _ = self.orders.try_send(Order {
            ops: Vec::new(),
            reply,
        });
    }

    /// The present generation.
    pub fn view(&self) -> View {
        match self.view.read() {
            Ok(view) => view.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        }
    }
}

/// Transactions that may wait.
const WAITING: usize = 64;
/// Longest wait for an observation before the acknowledgement says that it is missing.
const OBSERVE: Duration = Duration::from_secs(1);
/// Between two looks at what is to be observed.
const LOOK: Duration = Duration::from_micros(500);
/// A worker that has not passed a round for so long is an alarm.
const SILENT: Duration = Duration::from_secs(1);

struct Pending {
    generation: Generation,
    since: Instant,
    attached: Vec<u32>,
    reply: oneshot::Sender<Result<Acknowledged, ProgramError>>,
}

/// Makes both sides. The thread of [`Desk::run`] ends when the last [`Publishing`] is gone or the process stops.
pub fn desk(
    shared: Arc<Shared>,
    programmer: Programmer,
    publisher: qsbr::Publisher<Tables>,
) -> (Publishing, Desk) {
    let (orders, incoming) = bounded(WAITING);
    let view = Arc::new(RwLock::new(View {
        generation: publisher.generation(),
        tables: programmer.tables().clone(),
        resting: programmer.resting().clone(),
    }));
    let desk = Desk {
        shared,
        programmer,
        publisher,
        incoming,
        view: view.clone(),
        pending: Vec::new(),
    };
    (Publishing { orders, view }, desk)
}

/// The publisher's side.
pub struct Desk {
    shared: Arc<Shared>,
    programmer: Programmer,
    publisher: qsbr::Publisher<Tables>,
    incoming: Receiver<Order>,
    view: Arc<RwLock<View>>,
    pending: Vec<Pending>,
}

impl Desk {
    /// Serves orders.
    pub fn run(mut self) {
        let mut alarmed = Instant::now();
        while self.shared.is_running() {
            let wait = if !self.pending.is_empty() {
                LOOK
            } else if self.publisher.waiting() > 0 {
                Duration::from_millis(10)
            } else {
                SILENT
            };
            match self.incoming.recv_timeout(wait) {
                Ok(order) => self.serve(order),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.acknowledge();
            self.publisher.reclaim();
            let silent = self.publisher.silent_readers(SILENT);
            if !silent.is_empty() && alarmed.elapsed() > SILENT {
                alarmed = Instant::now();
                tracing::error!(workers = ?silent, "workers have not passed a quiescent state for a second");
            }
        }
    }

    /// Does an order and all that wait behind it: one generation for all, an acknowledgement for each.
    fn serve(&mut self, first: Order) {
        let mut done = Vec::new();
        let mut next = Some(first);
        while let Some(order) = next {
            match self.programmer.apply(&order.ops) {
                Ok(programmed) => {
                    let attached = programmed
                        .attached
                        .iter()
                        .map(|id| u32::from(id.0))
                        .collect();
                    done.push((attached, order.reply));
                }
                Err(error) => {
                    let _ = order.reply.send(Err(error)); // who asked may have gone
                }
            }
            next = self.incoming.try_recv().ok();
        }
        if done.is_empty() {
            return;
        }
        let tables = self.programmer.tables().clone();
        let generation = self.publisher.publish(tables.clone());
        let view = View {
            generation,
            tables,
            resting: self.programmer.resting().clone(),
        };
        match self.view.write() {
            Ok(mut place) => *place = view,
            Err(poisoned) => *poisoned.into_inner() = view,
        }
        for worker in &self.shared.workers {
            worker.hurry();
        }
        self.shared.announce();
        let since = Instant::now();
        self.pending
            .extend(done.into_iter().map(|(attached, reply)| Pending {
                generation,
                since,
                attached,
                reply,
            }));
    }

    fn acknowledge(&mut self) {
        let observed = self.publisher.observed();
        let mut waiting = Vec::new();
        for pending in self.pending.drain(..) {
            let seen = observed >= pending.generation;
            if seen || pending.since.elapsed() > OBSERVE {
                let answer = Acknowledged {
                    generation: pending.generation,
                    observed: seen,
                    attached: pending.attached,
                };
                let _ = pending.reply.send(Ok(answer)); // who asked may have gone
            } else {
                waiting.push(pending);
            }
        }
        self.pending = waiting;
    }
}
