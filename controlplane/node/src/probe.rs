//! Asks each attachment of a gateway whether it still answers: an echo that the dataplane sends, pinned to it.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::clock::wall_ms;
use crate::handle::Handle;
use crate::lease::{Lease, LeaseId};
use crate::registrar::attach;

/// Unanswered probes in a row, after which a pod is taken for gone.
const MISSED: u32 = 3;
/// Probes under way at a time.
const AT_ONCE: usize = 64;

#[derive(Debug, Default)]
struct Record {
    missed: u32,
    /// Only who ever answered is judged: a pod may know no echo.
    answered: bool,
}

/// Never ends by itself.
pub async fn probe(handle: Handle) {
    let mut records: HashMap<LeaseId, Record> = HashMap::new();
    loop {
        let interval = handle.query(|node| {
            node.config
                .gateway
                .as_ref()
                .map(|gateway| gateway.probe_interval)
        });
        let Some(interval) = interval.await else {
            return;
        };
        let interval = interval.unwrap_or(Duration::from_secs(1));
        sleep(interval).await;
        let pods = handle.pods();
        let leases: Vec<Lease> = pods.leases().iter().cloned().collect();
        records.retain(|id, _| pods.leases().get(*id).is_some());
        let agent = pods
            .dataplane
            .lock()
            .await
            .as_ref()
            .map(|dataplane| dataplane.agent.clone());
        let Some(agent) = agent else { continue };
        let mut under_way = JoinSet::new();
        for lease in leases {
            if under_way.len() >= AT_ONCE {
                note(&handle, &mut records, under_way.join_next().await).await;
            }
            let mut agent = agent.clone();
            under_way.spawn(async move {
                let answered = agent.probe(&lease, interval).await;
                (lease, answered)
            });
        }
        while let Some(done) = under_way.join_next().await {
            note(&handle, &mut records, Some(done)).await;
        }
    }
}

type Done = Result<(Lease, Result<Option<bool>, crate::agent::AgentError>), tokio::task::JoinError>;

async fn note(handle: &Handle, records: &mut HashMap<LeaseId, Record>, done: Option<Done>) {
    // Without an answer of the dataplane nothing is known of the pod.
    let Some(Ok((lease, Ok(Some(answered))))) = done else {
        return;
    };
    let record = records.entry(lease.id).or_default();
    if answered {
        record.answered = true;
        record.missed = 0;
    } else {
        record.missed = record.missed.saturating_add(1);
    }
    let answers = if answered {
        true
    } else {
        !(record.answered && record.missed >= MISSED) && lease.answers
    };
    if answers != lease.answers {
        judge(handle, &lease, answers).await;
    }
}

/// A pod that answers no more gets no calls and is not announced; one that answers again does.
async fn judge(handle: &Handle, lease: &Lease, answers: bool) {
    let pods = handle.pods();
    let mut slot = pods.dataplane.lock().await;
    let Some(dataplane) = slot.as_mut() else {
        return;
    };
    let now = pods.leases().get(lease.id).cloned();
    let Some(now) = now.filter(|now| now.attachment == lease.attachment) else {
        return;
    };
    info!(identity = now.identity, attachment = %now.attachment, answers, "probe");
    let now = Lease { answers, ..now };
    if let Err(status) = attach(dataplane, &now).await {
        warn!(
            identity = now.identity,
            "not attached: {}; tried again",
            status.message()
        );
        return;
    }
    pods.leases().put(now);
    drop(slot);
    handle.query(|node| node.sync_leases(wall_ms())).await;
    pods.change();
}
