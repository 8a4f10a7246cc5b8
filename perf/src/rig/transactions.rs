//! Transactions over one `ApplyStream`, and the time until each of them is visible to all workers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use dmsc_proto::v1::{self, dataplane_agent_client::DataplaneAgentClient};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;

/// What became of transactions.
#[derive(Debug)]
pub struct Applied {
    /// From the first that was due to the last acknowledgement.
    pub time: Duration,
    /// Transactions acknowledged.
    pub transactions: u64,
    /// Different generations that they became.
    pub generations: u64,
    /// From when a transaction was due until its acknowledgement: every worker had observed it then. µs.
    pub visible_us: hdrhistogram::Histogram<u64>,
}

/// A plan of transactions: equal sizes at equal distances.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Transactions per second.
    pub per_s: f64,
    /// How many.
    pub count: u64,
}

type Due = Arc<Mutex<VecDeque<Instant>>>;

/// The sending end does not run further ahead of acknowledgements than this; what is due then is late, and is counted so.
const AHEAD: usize = 50_000;
/// Between two looks at the clock: what became due meanwhile is sent together.
const TICK: Duration = Duration::from_micros(100);

fn push(due: &Due, at: Instant) -> usize {
    let mut due = due.lock().unwrap_or_else(PoisonError::into_inner);
    due.push_back(at);
    due.len()
}

/// Sends all of them at once, in order, and waits for the last acknowledgement.
///
/// # Errors
/// When one is refused or not observed.
pub async fn apply_all(
    client: DataplaneAgentClient<Channel>,
    transactions: Vec<Vec<v1::Op>>,
) -> anyhow::Result<Applied> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let due = Due::default();
    let count = transactions.len() as u64;
    let now = Instant::now();
    for ops in transactions {
        push(&due, now);
        let _ = sender.send(transaction(ops)); // the receiver is below
    }
    drop(sender);
    acknowledged(client, receiver, &due, count).await
}

/// Sends what `next` gives, by the plan, from a thread of its own.
///
/// # Errors
/// When one is refused or not observed.
pub async fn apply_paced(
    client: DataplaneAgentClient<Channel>,
    plan: Plan,
    mut next: impl FnMut() -> Vec<v1::Op> + Send + 'static,
) -> anyhow::Result<Applied> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let due = Due::default();
    let dues = Arc::clone(&due);
    let thread = std::thread::Builder::new()
        .name("programmer".into())
        .spawn(move || {
            let start = Instant::now();
            for number in 0..plan.count {
                let at = start + Duration::from_secs_f64(number as f64 / plan.per_s);
                while let Some(left) = at.checked_duration_since(Instant::now()) {
                    std::thread::sleep(left.min(TICK));
                }
                while dues.lock().unwrap_or_else(PoisonError::into_inner).len() >= AHEAD {
                    std::thread::sleep(TICK);
                }
                push(&dues, at);
                if sender.send(transaction(next())).is_err() {
                    return; // the stream broke; its reader says why
                }
            }
        })?;
    let applied = acknowledged(client, receiver, &due, plan.count).await;
    if applied.is_ok() {
        let _ = thread.join(); // it has sent all of them
    }
    applied
}

fn transaction(ops: Vec<v1::Op>) -> v1::Transaction {
    v1::Transaction {
        programmer: String::new(),
        ops,
    }
}

async fn acknowledged(
    mut client: DataplaneAgentClient<Channel>,
    receiver: mpsc::UnboundedReceiver<v1::Transaction>,
    due: &Due,
    count: u64,
) -> anyhow::Result<Applied> {
    let mut applied = Applied {
        time: Duration::ZERO,
        transactions: 0,
        generations: 0,
        visible_us: hdrhistogram::Histogram::new_with_bounds(1, 60_000_000, 3)?,
    };
    let stream = client
        .apply_stream(UnboundedReceiverStream::new(receiver))
        .await;
    let mut acks = stream
        .context("the agent refused ApplyStream")?
        .into_inner();
    let (mut first, mut generation) = (None, 0);
    while let Some(ack) = acks
        .message()
        .await
        .context("the stream of transactions broke")?
    {
        if !ack.error.is_empty() {
            bail!(
                "transaction {} was refused: {}",
                applied.transactions,
                ack.error
            );
        }
        if !ack.observed {
            bail!(
                "generation {} was not seen by every worker within a second",
                ack.generation
            );
        }
        let at = due
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front();
        let at = at.context("an acknowledgement too many")?;
        let now = Instant::now();
        applied
            .visible_us
            .saturating_record(now.duration_since(at).as_micros().max(1) as u64);
        applied.transactions += 1;
        applied.generations += u64::from(ack.generation != generation);
        generation = ack.generation;
        applied.time = now.duration_since(*first.get_or_insert(at));
    }
    if applied.transactions < count {
        bail!(
            "{} of {count} transactions were acknowledged; then the stream ended",
            applied.transactions
        );
    }
    Ok(applied)
}
