//! Publishes generations: one thread takes transactions from the agent, makes tables, hands them to the workers, and
//! acknowledges when all have seen them (design §5).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use dmsc_fib::{Generation, qsbr};
use dmsc_proto::v1;
use tokio::sync::{OwnedRwLockReadGuard, OwnedSemaphorePermit, mpsc, oneshot};

use crate::programmer::{ProgramError, Programmer, is_route};
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

/// What became of a transaction.
pub type Outcome = Result<Acknowledged, ProgramError>;

/// What a transaction of a stream holds until its acknowledgement is on its way: the gate that a handover closes, and its share of
/// what may wait.
#[derive(Debug)]
pub struct Passage {
    /// The gate.
    pub admitted: OwnedRwLockReadGuard<()>,
    /// The share.
    pub share: OwnedSemaphorePermit,
}

/// Acknowledgements of one stream, in the order of its transactions.
pub type Answers = mpsc::UnboundedSender<(Outcome, Passage)>;

/// A transaction on its way to the publisher.
pub struct Order {
    ops: Vec<v1::Op>,
    reply: Reply,
}

enum Reply {
    Call(oneshot::Sender<Outcome>),
    Stream(Answers, Passage),
}

impl Reply {
    fn send(self, outcome: Outcome) {
        // Who asked may have gone.
        match self {
            Reply::Call(sender) => drop(sender.send(outcome)),
            Reply::Stream(sender, passage) => drop(sender.send((outcome, passage))),
        }
    }
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
    /// As [`Programmer::apply`]; `None` means that the publisher is gone because the process stops.
    pub async fn apply(&self, ops: Vec<v1::Op>) -> Option<Outcome> {
        let (reply, answer) = oneshot::channel();
        self.order(Order {
            ops,
            reply: Reply::Call(reply),
        })
        .await?;
        answer.await.ok()
    }

    /// Has a transaction of a stream done. Its acknowledgement comes through `answers`, behind those before it. `None`: as of
    /// [`Publishing::apply`].
    pub async fn apply_in_order(
        &self,
        ops: Vec<v1::Op>,
        answers: Answers,
        passage: Passage,
    ) -> Option<()> {
        let reply = Reply::Stream(answers, passage);
        self.order(Order { ops, reply }).await
    }

    async fn order(&self, order: Order) -> Option<()> {
        let order = match self.orders.try_send(order) {
            Ok(()) => return Some(()),
            Err(TrySendError::Disconnected(_)) => return None,
            Err(TrySendError::Full(order)) => order,
        };
        let orders = self.orders.clone();
        // Bounded: a programmer that is faster than the tables waits here, and no other thread of the agent does.
        tokio::task::spawn_blocking(move || orders.send(order))
            .await
            .ok()?
            .ok()
    }

    /// Has the publisher look whether the process stops.
    pub fn wake(&self) {
        let (reply, _) = oneshot::channel();
        // When orders wait, it is awake.
        let _ = self.orders.try_send(Order {
            ops: Vec::new(),
            reply: Reply::Call(reply),
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
const WAITING: usize = 1024;
/// Transactions that wait become one generation together as long as they have not more operations than this: those at the front
/// shall not wait for all behind them, nor the pages of two generations be all of the memory twice.
const TOGETHER: usize = 1_024;
/// The same where whole tables come in, in transactions of more operations than [`TOGETHER`]: each touches most pages, so that
/// fewer generations are fewer copies.
const BULK: usize = 65_536;
/// While more transactions wait already, the next generation begins so long after the last: one copy of a page then serves
/// many of them, and the threads that bring them are not woken one by one.
const COLLECT: Duration = Duration::from_micros(200);
/// Longest wait for an observation before the acknowledgement says that it is missing.
const OBSERVE: Duration = Duration::from_secs(1);
/// A worker's round takes some microseconds, so observations are looked for so long without sleeping.
const SOON: Duration = Duration::from_micros(100);
/// Between two looks at what is to be observed, later.
const LOOK: Duration = Duration::from_micros(500);
/// Least time between two announcements of routes to watchers.
const ANNOUNCE: Duration = Duration::from_millis(10);
/// A worker that has not passed a round for so long is an alarm.
const SILENT: Duration = Duration::from_secs(1);

/// Waits for the workers to observe its generation.
struct Pending {
    generation: Generation,
    since: Instant,
    outcome: Result<Vec<u32>, ProgramError>,
    reply: Reply,
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
        pending: VecDeque::new(),
        unannounced: false,
        announced: Instant::now(),
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
    /// By generation.
    pending: VecDeque<Pending>,
    /// Watchers have not been told of the last generation.
    unannounced: bool,
    announced: Instant,
}

impl Desk {
    /// Serves orders.
    pub fn run(mut self) {
        let mut alarmed = Instant::now();
        while self.shared.is_running() {
            let wait = if !self.pending.is_empty() {
                LOOK
            } else if self.publisher.waiting() > 0 || self.unannounced {
                ANNOUNCE
            } else {
                SILENT
            };
            match self.incoming.recv_timeout(wait) {
                Ok(order) => self.serve(order),
                Err(RecvTimeoutError::Timeout) => self.acknowledge(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.publisher.reclaim();
            if self.unannounced && self.announced.elapsed() >= ANNOUNCE {
                self.announce();
            }
            let silent = self.publisher.silent_readers(SILENT);
            if !silent.is_empty() && alarmed.elapsed() > SILENT {
                alarmed = Instant::now();
                tracing::error!(workers = ?silent, "workers have not passed a quiescent state for a second");
            }
            if !self.incoming.is_empty() {
                std::thread::sleep(COLLECT);
            }
        }
    }

    /// Does an order and those that wait behind it: one generation for all, an acknowledgement for each.
    fn serve(&mut self, first: Order) {
        let mut size = first.ops.len();
        let most = if size > TOGETHER { BULK } else { TOGETHER };
        let mut orders = vec![first];
        while size < most
            && let Ok(order) = self.incoming.try_recv()
        {
            size += order.ops.len();
            orders.push(order);
        }
        let transactions: Vec<&[v1::Op]> = orders.iter().map(|o| o.ops.as_slice()).collect();
        let outcomes = self.programmer.apply_each(&transactions);
        if outcomes.iter().any(Result::is_ok) {
            self.publish();
            let done = orders.iter().zip(&outcomes).filter(|(_, o)| o.is_ok());
            if done.flat_map(|(order, _)| &order.ops).all(is_route) {
                // Nothing of it concerns the timers of workers, and who sleeps looks at the tables when it wakes.
                self.unannounced = true;
            } else {
                for worker in &self.shared.workers {
                    worker.hurry();
                }
                self.announce();
            }
        }
        let (generation, since) = (self.publisher.generation(), Instant::now());
        for (order, outcome) in orders.into_iter().zip(outcomes) {
            let outcome = outcome.map(|ids| ids.iter().map(|id| u32::from(id.0)).collect());
            // Errors, too: the acknowledgements of a stream keep the order of its transactions.
            self.pending.push_back(Pending {
                generation,
                since,
                outcome,
                reply: order.reply,
            });
        }
        self.acknowledge();
        while !self.pending.is_empty() && since.elapsed() < SOON {
            std::thread::yield_now();
            self.acknowledge();
        }
    }

    fn publish(&mut self) {
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
    }

    /// Tells watchers that there is another generation.
    fn announce(&mut self) {
        (self.unannounced, self.announced) = (false, Instant::now());
        self.shared.announce();
    }

    fn acknowledge(&mut self) {
        let observed = self.publisher.observed();
        while let Some(first) = self.pending.front() {
            let seen = observed >= first.generation;
            if !seen && first.since.elapsed() <= OBSERVE {
                return;
            }
            if let Some(pending) = self.pending.pop_front() {
                let acknowledged = |attached| Acknowledged {
                    generation: pending.generation,
                    observed: seen,
                    attached,
                };
                pending.reply.send(pending.outcome.map(acknowledged));
            }
        }
    }
}
