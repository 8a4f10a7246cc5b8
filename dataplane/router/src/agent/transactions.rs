//! `ApplyStream`: transactions as they come, acknowledgements in the same order.

use std::sync::Arc;

use dmsc_proto::v1;
use futures::{Stream, StreamExt};
use tokio::sync::{RwLock, Semaphore, mpsc};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Status, Streaming};

use crate::programmer::MAX_OPS;
use crate::publisher::{Acknowledged, Answers, Outcome, Passage, Publishing};

/// Operations of one stream that may wait; as many as two transactions may have.
const WAITING_OPS: usize = 2 * MAX_OPS;
/// What a small transaction counts for: it takes memory, too.
const LEAST_OPS: usize = 32;

/// Serves one stream until its sender ends it; every transaction that was read is acknowledged.
pub fn serve(
    incoming: Streaming<v1::Transaction>,
    publishing: Publishing,
    gate: Arc<RwLock<()>>,
) -> impl Stream<Item = Result<v1::TransactionAck, Status>> + Send {
    // Bounded by the shares.
    let (answers, answered) = mpsc::unbounded_channel::<(Outcome, Passage)>();
    tokio::spawn(take(incoming, publishing, gate, answers));
    UnboundedReceiverStream::new(answered).map(|(outcome, _passage)| Ok(message(outcome)))
}

async fn take(
    mut incoming: Streaming<v1::Transaction>,
    publishing: Publishing,
    gate: Arc<RwLock<()>>,
    answers: Answers,
) {
    let shares = Arc::new(Semaphore::new(WAITING_OPS));
    // An error is the end of the connection.
    while let Ok(Some(transaction)) = incoming.message().await {
        let share = transaction.ops.len().clamp(LEAST_OPS, WAITING_OPS) as u32;
        let Ok(share) = shares.clone().acquire_many_owned(share).await else {
            return;
        };
        let passage = Passage {
            admitted: gate.clone().read_owned().await,
            share,
        };
        let ordered = publishing.apply_in_order(transaction.ops, answers.clone(), passage);
        if ordered.await.is_none() || answers.is_closed() {
            return;
        }
    }
}

fn message(outcome: Outcome) -> v1::TransactionAck {
    match outcome {
        Ok(Acknowledged {
            generation,
            observed,
            attached,
        }) => v1::TransactionAck {
            generation: generation.0,
            observed,
            attachments: attached,
            error: String::new(),
        },
        Err(error) => {
            tracing::warn!(%error, "transaction of a stream refused, nothing of it done");
            v1::TransactionAck {
                error: error.to_string(),
                ..Default::default()
            }
        }
    }
}
