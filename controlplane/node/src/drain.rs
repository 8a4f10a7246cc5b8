//! Taking a node out of service without losing a packet: withdraw, wait until everybody knows, wait until nobody comes any more.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::handle::Handle;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Longest wait for traffic to end, once all neighbours know.
const QUIET: Duration = Duration::from_secs(2);

/// How far a drain is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainStage {
    /// "withdrawing", "flooding", "waiting", "drained".
    pub stage: &'static str,
    /// A sentence.
    pub what: String,
    /// The last one.
    pub done: bool,
}

impl DrainStage {
    fn new(stage: &'static str, what: impl Into<String>) -> Self {
        Self {
            stage,
            what: what.into(),
            done: false,
        }
    }
}

/// Drains the node; a reader of `stages` that goes away does not stop it.
pub(crate) async fn drain(handle: Handle, timeout: Duration, stages: mpsc::Sender<DrainStage>) {
    let tell = async |stage: DrainStage| {
        let _ = stages.send(stage).await;
    };
    let limit = Instant::now() + timeout;
    tell(DrainStage::new(
        "withdrawing",
        "own prefixes are withdrawn, no transit is offered",
    ))
    .await;
    handle.query(|node| node.drain(true)).await;
    tell(DrainStage::new("flooding", "until all neighbours have it")).await;
    // Two looks in a row: what was withdrawn is originated a moment later.
    let mut calm = 0;
    while calm < 3 {
        sleep(LOOK).await;
        let Some(unsynced) = handle.query(|node| node.unsynced()).await else {
            return;
        };
        calm = if unsynced == 0 { calm + 1 } else { 0 };
        if Instant::now() > limit {
            let what = format!(
                "{unsynced} neighbours do not have it in time; stop the node all the same, or look at the links"
            );
            return tell(DrainStage {
                done: true,
                ..DrainStage::new("flooding", what)
            })
            .await;
        }
    }
    tell(DrainStage::new(
        "waiting",
        "until no requests come through this node",
    ))
    .await;
    let quiet = (Instant::now() + QUIET).min(limit);
    let mut before = None;
    let mut silent = 0;
    while Instant::now() < quiet && silent < 4 {
        sleep(LOOK).await;
        let now = forwarded(&handle).await;
        silent = if now.is_some() && now == before {
            silent + 1
        } else {
            0
        };
        before = now;
    }
    let what = if silent >= 4 {
        "nothing comes through this node any more"
    } else {
        "answers and hellos still pass; nothing new is sent here"
    };
    tell(DrainStage {
        done: true,
        ..DrainStage::new("drained", what)
    })
    .await;
}

/// Requests that this node passed on or delivered; `None` while the dataplane does not answer.
async fn forwarded(handle: &Handle) -> Option<u64> {
    let mut slot = handle.pods().dataplane.lock().await;
    let counters = slot.as_mut()?.agent.counters().await.ok()?;
    // Hellos are originated and consumed; what came in and was sent is traffic.
    let rate = |port: &dmsc_proto::v1::PortCounters| port.rx.saturating_sub(port.consumed);
    Some(counters.iter().map(rate).sum())
}
