//! Asks each attachment of a gateway whether it still answers: an echo that the dataplane sends, pinned to it. Seldom a probe (type 6) as well, by which
//! the dataplane finds out for which pods it has to answer those.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::clock::wall_ms;
use crate::handle::Handle;
use crate::lease::{Lease, LeaseId, REFRESH};
use crate::registrar::attach;

/// Unanswered probes in a row, after which a pod is taken for gone.
const MISSED: u32 = 3;
/// Probes under way at a time.
const AT_ONCE: usize = 64;
/// Of those that do not answer, probed at a time, beside the others: they never make the others wait.
const SELDOM: usize = 32;

#[derive(Debug, Default)]
struct Record {
    missed: u32,
    /// Only who ever answered is judged: a pod may know no echo.
    answered: bool,
    probed: Option<Instant>,
    questioned: Option<Instant>,
}

impl Record {
    /// Whether waiting for it is as good as sure.
    fn failed(&self) -> bool {
        self.missed >= if self.answered { MISSED } else { 1 }
    }
}

/// Leases to probe in this round, and those that failed, whose turn is now: who answered once comes first, then who waited longest.
fn turns(records: &HashMap<LeaseId, Record>, leases: Vec<Lease>) -> (Vec<Lease>, Vec<Lease>) {
    let failed = |lease: &Lease| records.get(&lease.id).is_some_and(Record::failed);
    let (mut failed, fast): (Vec<Lease>, Vec<Lease>) = leases.into_iter().partition(failed);
    failed.sort_by_key(|lease| {
        let record = records.get(&lease.id);
        record.map(|record| (!record.answered, record.probed))
    });
    failed.truncate(SELDOM);
    (fast, failed)
}

/// At most `room` leases whose turn it is to be asked by a probe: several times in the time of a lease.
fn to_question(
    records: &mut HashMap<LeaseId, Record>,
    leases: &[Lease],
    room: usize,
) -> Vec<Lease> {
    let now = Instant::now();
    let mut due = |lease: &&Lease| {
        let record = records.entry(lease.id).or_default();
        let rests = |at| now.duration_since(at) < REFRESH;
        let is_due = lease.answers && !record.questioned.is_some_and(rests);
        if is_due {
            record.questioned = Some(now);
        }
        is_due
    };
    let due = leases.iter().filter(|lease| due(lease));
    due.take(room).cloned().collect()
}

/// Never ends by itself.
pub async fn probe(handle: Handle) {
    let mut records: HashMap<LeaseId, Record> = HashMap::new();
    // Over several rounds, if need be.
    let mut seldom = JoinSet::new();
    // Nobody here waits for their answers.
    let mut questions = JoinSet::new();
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
        while let Some(done) = seldom.try_join_next() {
            note(&handle, &mut records, Some(done)).await;
        }
        while questions.try_join_next().is_some() {}
        let room = AT_ONCE.saturating_sub(questions.len());
        for lease in to_question(&mut records, &leases, room) {
            let mut agent = agent.clone();
            questions.spawn(async move { agent.question(&lease, interval).await });
        }
        let ask = |lease: Lease| {
            let mut agent = agent.clone();
            async move {
                let answered = agent.probe(&lease, interval).await;
                (lease, answered)
            }
        };
        let (fast, failed) = turns(&records, leases);
        if seldom.is_empty() {
            for lease in failed {
                if let Some(record) = records.get_mut(&lease.id) {
                    record.probed = Some(Instant::now());
                }
                seldom.spawn(ask(lease));
            }
        }
        let mut under_way = JoinSet::new();
        for lease in fast {
            if under_way.len() >= AT_ONCE {
                note(&handle, &mut records, under_way.join_next().await).await;
            }
            under_way.spawn(ask(lease));
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

#[cfg(test)]
mod tests {
    use dmsc_proto::v1;

    use super::*;

    fn lease(id: u64) -> Lease {
        let attachment = v1::Attachment {
            id: 9,
            port: "pod1".into(),
            address: "10.1.1.2".into(),
            udp_port: 4_000,
            identity: "pod1/a".into(),
            ..Default::default()
        };
        Lease::from_attachment(LeaseId(id), &attachment, Instant::now()).unwrap()
    }

    #[test]
    fn silent_endpoints_never_make_the_others_wait() {
        let start = Instant::now();
        let record = |missed, answered, after| Record {
            missed,
            answered,
            probed: Some(start + Duration::from_secs(after)),
            questioned: None,
        };
        // 1 is new, 2 answers, 3 missed one; 4 is gone since it answered, and 6,400 never did.
        let mut records = HashMap::from([
            (LeaseId(2), record(0, true, 0)),
            (LeaseId(3), record(1, true, 0)),
            (LeaseId(4), record(MISSED, true, 9_999)),
        ]);
        for id in 100..6_500 {
            records.insert(LeaseId(id), record(1, false, 6_500 - id));
        }
        let all = (1..=4).chain(100..6_500).map(lease).collect();
        let (fast, failed) = turns(&records, all);
        let ids = |list: &[Lease]| list.iter().map(|lease| lease.id.0).collect::<Vec<_>>();
        assert_eq!(ids(&fast), [1, 2, 3]);
        assert_eq!(failed.len(), SELDOM);
        assert_eq!(ids(&failed[..3]), [4, 6_499, 6_498]);
    }

    #[test]
    fn everybody_who_answers_is_asked_by_a_probe_in_turn() {
        let mut leases: Vec<Lease> = (1..=4).map(lease).collect();
        leases[1].answers = false;
        let mut records = HashMap::new();
        let mut turn = || {
            let asked = to_question(&mut records, &leases, 2);
            asked.iter().map(|lease| lease.id.0).collect::<Vec<_>>()
        };
        assert_eq!(turn(), [1, 3]);
        assert_eq!(turn(), [4]);
        assert!(turn().is_empty());
        let record = records.get_mut(&LeaseId(3)).unwrap();
        record.questioned = record.questioned.and_then(|at| at.checked_sub(REFRESH));
        assert_eq!(to_question(&mut records, &leases, 2)[0].id, LeaseId(3));
    }
}
