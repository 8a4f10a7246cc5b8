//! The one task that owns the node: jobs by channel, and the engine's deadline.

use std::time::Instant;

use dmsc_linkstate::Event;
use tokio::sync::mpsc;
use tracing::warn;

use crate::agent::AgentError;
use crate::handle::{Handle, Job};
use crate::node::Node;

/// Runs until all handles are gone.
pub async fn drive(mut node: Node, mut jobs: mpsc::Receiver<Job>) {
    loop {
        let deadline = node.engine.next_deadline().map(|mono| node.clock.at(mono));
        tokio::select! {
            job = jobs.recv() => match job {
                Some(job) => job(&mut node),
                None => return,
            },
            () = until(deadline) => node.event(Event::Tick),
        }
    }
}

/// Sleeps until `time`, or forever.
pub(crate) async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

/// Tells the dataplane what changed, one batch at a time: what comes while one is under way is merged into the next. Setbacks are told to
/// `setbacks`; the dataplane is then connected anew.
pub async fn program(handle: Handle, setbacks: mpsc::Sender<AgentError>) {
    let Some(work) = handle.query(|node| node.signals.work.clone()).await else {
        return;
    };
    loop {
        work.notified().await;
        // Without a dataplane all is told when it is back.
        let mut slot = handle.pods().dataplane.lock().await;
        while let Some(dataplane) = slot.as_mut() {
            let Some(batch) = handle.query(Node::batch).await else {
                return;
            };
            let Some(batch) = batch else { break };
            match dataplane.agent.apply(batch.ops.clone()).await {
                Ok(applied) => {
                    handle
                        .query(move |node| node.programmed(&batch, applied.generation))
                        .await;
                }
                Err(error) => {
                    warn!(%error, ops = batch.ops.len(), "routes not programmed");
                    handle.query(move |node| node.rib.failed(batch)).await;
                    *slot = None;
                    // Told already when the channel is full.
                    let _ = setbacks.try_send(error);
                }
            }
        }
    }
}
