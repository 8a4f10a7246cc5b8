//! The one task that owns the node: jobs by channel, and the engine's deadline.

use std::time::{Duration, Instant};

use dmsc_linkstate::Event;
use tokio::sync::mpsc;
use tracing::warn;

use crate::agent::AgentError;
use crate::handle::{Handle, Job};
use crate::node::Node;
use crate::pods::Dataplane;
use crate::routes::Tables;

/// Between attempts to program what the dataplane refuses, at first and at most.
const REFUSED: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// Runs until all handles are gone.
pub async fn drive(mut node: Node, mut jobs: mpsc::Receiver<Job>) {
    loop {
        let deadline = node.next_deadline().map(|mono| node.clock.at(mono));
        tokio::select! {
            job = jobs.recv() => match job {
                Some(job) => job(&mut node),
                None => return,
            },
            () = until(deadline) => {
                node.expire_policies();
                node.event(Event::Tick);
            }
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

/// Tells the dataplane what changed, one batch at a time: what comes while one is under way is merged into the next. What it refuses is left out, told
/// to people, and tried again now and then, after a look at what it really has. Setbacks, when it does not answer, are told to `setbacks`; the
/// dataplane is then connected anew.
pub async fn program(handle: Handle, setbacks: mpsc::Sender<AgentError>) {
    let Some(work) = handle.query(|node| node.signals.work.clone()).await else {
        return;
    };
    let mut again = None;
    let mut pause = REFUSED.0;
    loop {
        let look = tokio::select! {
            () = work.notified() => false,
            () = until(again) => true,
        };
        // Without a dataplane all is told when it is back.
        let mut slot = handle.pods().dataplane.lock().await;
        let Some(dataplane) = slot.as_mut() else {
            again = None;
            continue;
        };
        match tell(&handle, dataplane, look).await {
            Ok(None) => return,
            Ok(Some(0)) => (again, pause) = (None, REFUSED.0),
            Ok(Some(_)) => {
                if look {
                    pause = (pause * 2).min(REFUSED.1);
                }
                if look || again.is_none() {
                    again = Some(Instant::now() + pause);
                }
            }
            Err(error) => {
                warn!(%error, "routes not programmed");
                *slot = None;
                again = None;
                // Told already when the channel is full.
                let _ = setbacks.try_send(error);
            }
        }
    }
}

/// Tells all that is due; gives how many operations are refused now, `None` while the process ends.
async fn tell(
    handle: &Handle,
    dataplane: &mut Dataplane,
    look: bool,
) -> Result<Option<usize>, AgentError> {
    if look {
        let dump = dataplane.agent.dump(true).await?;
        let tables = Tables::from_dump(&dump);
        handle.query(move |node| node.found(tables)).await;
    }
    loop {
        let Some(batch) = handle.query(Node::batch).await else {
            return Ok(None);
        };
        let Some(batch) = batch else {
            return Ok(handle.query(|node| node.settled()).await);
        };
        match dataplane.agent.apply_most(&batch.ops).await {
            Ok(most) => {
                handle
                    .query(move |node| node.programmed(&batch, &most))
                    .await;
            }
            Err(error) => {
                handle.query(move |node| node.rib.failed(batch)).await;
                return Err(error);
            }
        }
    }
}
