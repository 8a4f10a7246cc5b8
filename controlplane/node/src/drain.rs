//! Taking a node out of service without losing a packet: withdraw, wait until everybody knows, wait until nobody comes any more.
//!
//! Neighbours acknowledge; of routers behind them nothing is heard, and one of them may still choose this node, and be silent just now. So silence counts
//! only once they had `Times::settle` to act.

use std::time::{Duration, Instant};

use dmsc_linkstate::Event;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::handle::Handle;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Longest wait for traffic to end, once all neighbours know.
const QUIET: Duration = Duration::from_secs(10);
/// Least time for neighbours to learn that this node left.
const LEAVE: Duration = Duration::from_secs(2);
/// For the last answer to be on its way.
const ENDING: Duration = Duration::from_millis(200);

/// How long a drain waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// For all of it but leaving.
    pub timeout: Duration,
    /// For routers behind the neighbours to act, after the neighbours have everything and before silence counts.
    pub settle: Duration,
}

/// How far a drain is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainStage {
    /// "withdrawing", "flooding", "waiting", "leaving", "drained".
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

    fn last(stage: &'static str, what: impl Into<String>) -> Self {
        Self {
            done: true,
            ..Self::new(stage, what)
        }
    }

    fn replaced(stage: &'static str) -> Self {
        Self::last(stage, "ended by a later drain or undrain")
    }
}

/// Drains the node; a reader of `stages` that goes away does not stop it, another drain or an undrain does. With `stop` it then leaves the network,
/// and the process ends.
pub(crate) async fn drain(
    handle: Handle,
    times: Times,
    stop: bool,
    stages: mpsc::Sender<DrainStage>,
) {
    let Some(last) = stage_by_stage(&handle, times, stop, &stages).await else {
        return;
    };
    let drained = last.stage == "drained";
    let _ = stages.send(last).await;
    if stop && drained {
        // The order is written down, and the caller knows.
        stages.closed().await;
        sleep(ENDING).await;
        handle.query(|node| node.signals.stop.notify_one()).await;
    }
}

/// Gives the last stage; `None` while the process ends.
async fn stage_by_stage(
    handle: &Handle,
    times: Times,
    stop: bool,
    stages: &mpsc::Sender<DrainStage>,
) -> Option<DrainStage> {
    let tell = async |stage, what| {
        let _ = stages.send(DrainStage::new(stage, what)).await;
    };
    let limit = Instant::now() + times.timeout;
    tell(
        "withdrawing",
        "own prefixes are withdrawn, no transit is offered",
    )
    .await;
    let order = handle.query(|node| node.drain()).await?;
    tell("flooding", "until all neighbours have it").await;
    match synced(handle, order, limit).await? {
        Synced::Yes => {}
        Synced::Replaced => return Some(DrainStage::replaced("flooding")),
        Synced::Late(unsynced) => {
            let what = format!(
                "{unsynced} neighbours do not have it in time; stop the node all the same, or look at the links"
            );
            return Some(DrainStage::last("flooding", what));
        }
    }
    tell(
        "waiting",
        "until far routers had time to act, and no requests come through this node",
    )
    .await;
    let settled = Instant::now() + times.settle;
    let quiet = (settled + QUIET).min(limit);
    let mut before: Option<u64> = None;
    let (mut silent, mut passed) = (0, 0);
    while Instant::now() < quiet && silent < 4 {
        sleep(LOOK).await;
        if handle.query(|node| node.drains()).await? != order {
            return Some(DrainStage::replaced("waiting"));
        }
        let now = forwarded(handle).await;
        passed = now.unwrap_or(0).saturating_sub(before.unwrap_or(u64::MAX));
        let counts = Instant::now() > settled && now.is_some() && before.is_some();
        silent = if counts && passed == 0 { silent + 1 } else { 0 };
        before = now;
    }
    let mut what = match (silent >= 4, before) {
        (true, _) => "nothing comes through this node any more".to_owned(),
        (false, Some(_)) if passed == 0 => {
            "no time was left to see whether anything still comes through this node".to_owned()
        }
        (false, Some(_)) => format!(
            "traffic still passes ({passed} packets in the last {} ms): calls of pods at this node, or of nodes that know no other way",
            LOOK.as_millis()
        ),
        (false, None) => {
            "the dataplane does not answer: whether traffic still passes is not known".to_owned()
        }
    };
    if stop {
        tell("leaving", "everything that this node said is purged").await;
        handle.query(|node| node.event(Event::Leave)).await?;
        match synced(handle, order, Instant::now() + LEAVE).await? {
            Synced::Yes => {
                what.push_str("; this node has left the network, its control plane ends")
            }
            Synced::Replaced | Synced::Late(_) => {
                what.push_str("; not all neighbours know that it left; its control plane ends");
            }
        }
    }
    Some(DrainStage::last("drained", what))
}

/// Whether neighbours have everything.
enum Synced {
    Yes,
    /// So many have not in time.
    Late(usize),
    /// Another order came.
    Replaced,
}

async fn synced(handle: &Handle, order: u64, limit: Instant) -> Option<Synced> {
    // Several looks in a row: what was withdrawn is originated a moment later.
    let mut calm = 0;
    while calm < 3 {
        sleep(LOOK).await;
        let (unsynced, now) = handle
            .query(|node| (node.unsynced(), node.drains()))
            .await?;
        if now != order {
            return Some(Synced::Replaced);
        }
        calm = if unsynced == 0 { calm + 1 } else { 0 };
        if calm < 3 && Instant::now() > limit {
            return Some(Synced::Late(unsynced));
        }
    }
    Some(Synced::Yes)
}

/// Packets that this node passed on or delivered; `None` while the dataplane does not answer. Hellos and what is for the kernel end here, or begin
/// here, and are no traffic.
async fn forwarded(handle: &Handle) -> Option<u64> {
    let mut slot = handle.pods().dataplane.lock().await;
    let counters = slot.as_mut()?.agent.counters().await.ok()?;
    let passed = |port: &dmsc_proto::v1::PortCounters| {
        let ended = port.consumed + port.drops.values().sum::<u64>();
        port.rx.saturating_sub(ended)
    };
    Some(counters.iter().map(passed).sum())
}
