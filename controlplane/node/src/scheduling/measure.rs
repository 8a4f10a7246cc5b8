//! Measures pairs: once a second one probe (type 6) to the far gateway's own name, in each topology, that its dataplane answers; after something unusual
//! nine more. Both ends of a round trip are stamped by the dataplane of this gateway, and the far one tells how long it had the probe: no clocks are compared.
//! A far gateway of a release without probes is sent an echo beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use dmsc_proto::v1;
use dmsc_scsc::backlog::Second;
use dmsc_scsc::probe::{BURST, BURST_GAP, Meter};
use dmsc_scsc::{Pair, Topology};
use dmsc_wire::{NodeId, Probe, RouterName};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::agent::Agent;
use crate::handle::Handle;

/// Most pairs that are probed: as many as a message of telemetry has room for.
pub(super) const MAX_PAIRS: usize = 4_096;
/// So many probes without an answer: perhaps the far gateway is of an older release by now.
const UNANSWERED: u32 = 3;
/// An echo waits so long, for the probe to win where both are answered.
const SECOND_TO: Duration = Duration::from_millis(20);
/// An answer that takes longer counts as lost.
const OVERDUE: Duration = Duration::from_secs(1);
/// Class of a probe, in both topologies: not the lowest, because queues of bulk traffic are not what is measured, and none of those that go before all others.
const CLASS: u32 = 5;

/// One pair's meter; a probe of the burst after something unusual is due.
#[derive(Debug)]
struct Probed {
    meter: Meter,
    burst: bool,
    /// Probes in a row that were not answered as such; `None` until one was.
    unanswered: Option<u32>,
}

/// All pairs of this gateway.
#[derive(Debug)]
pub(super) struct Measure {
    start: Instant,
    pairs: BTreeMap<Pair, Probed>,
    /// Each gives its answer, if it came back.
    under_way: JoinSet<(Pair, Probe, Option<v1::EchoReply>)>,
}

impl Default for Measure {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            pairs: BTreeMap::new(),
            under_way: JoinSet::new(),
        }
    }
}

impl Measure {
    /// Takes the next answers; waits forever if there is nothing to wait for.
    pub async fn collect(&mut self) {
        match self.under_way.join_next().await {
            Some(Ok((pair, probe, reply))) => self.take(pair, &probe, reply),
            Some(Err(_)) => {}
            None => std::future::pending().await,
        }
    }

    fn take(&mut self, pair: Pair, probe: &Probe, reply: Option<v1::EchoReply>) {
        let now = self.start.elapsed();
        let Some(probed) = self.pairs.get_mut(&pair) else {
            return;
        };
        probed.unanswered = match (&reply, probed.unanswered) {
            // An echo reply has no stamps.
            (Some(reply), _) if reply.residence_ns > 0 => Some(0),
            (_, Some(before)) if before < UNANSWERED => Some(before + 1),
            _ => None,
        };
        let Some(reply) = reply else {
            // What does not come back is overdue, in time.
            return;
        };
        let back = Probe {
            t2: 1,
            t3: 1 + reply.residence_ns,
            t4: probe.t1.saturating_add(reply.round_trip_ns),
            ..*probe
        };
        probed.meter.answer(now, &back);
        probed.burst |= probed.meter.take_unusual();
    }

    /// The second that is over; from now on `wanted` is measured.
    pub fn second(&mut self, own: NodeId, wanted: &[(NodeId, Topology)]) -> Second {
        let now = self.start.elapsed();
        let pair = |(member, topology): &(NodeId, Topology)| Pair {
            gateway: own,
            member: *member,
            topology: *topology,
        };
        let wanted: BTreeSet<Pair> = wanted.iter().map(pair).collect();
        self.pairs.retain(|pair, _| wanted.contains(pair));
        let mut second = Second::new();
        for (pair, probed) in &mut self.pairs {
            second.insert(*pair, probed.meter.report(now));
            probed.burst |= probed.meter.take_unusual();
        }
        for pair in wanted {
            self.pairs.entry(pair).or_insert_with(|| Probed {
                meter: Meter::new(now, OVERDUE, rand::random()),
                burst: false,
                unanswered: None,
            });
        }
        second
    }

    /// Sends the probes of this second. Without a dataplane none is sent, and none is lost.
    pub async fn probe(&mut self, handle: &Handle) {
        if self.pairs.is_empty() {
            return;
        }
        let slot = handle.pods().dataplane.lock().await;
        let Some(agent) = slot.as_ref().map(|dataplane| dataplane.agent.clone()) else {
            return;
        };
        drop(slot);
        let domain = handle.query(|node| node.config.node.domain.0).await;
        let now = self.start.elapsed();
        for (pair, probed) in &mut self.pairs {
            let count = match std::mem::take(&mut probed.burst) {
                true => u32::from(BURST) + 1,
                false => 1,
            };
            for index in 0..count {
                let wait = BURST_GAP * index;
                let probe = probed.meter.send(now + wait);
                let (agent, pair) = (agent.clone(), *pair);
                let (domain, knows) = (domain.unwrap_or(1), probed.unanswered.is_some());
                self.under_way.spawn(async move {
                    sleep(wait).await;
                    (pair, probe, ask(agent, pair, domain, knows).await)
                });
            }
        }
    }
}

/// The answer to one probe: its round trip is from where the agent hands it to a worker to where a worker finds the answer. `None` if it did not come back.
/// Where the far gateway is not known to know probes, whichever of probe and echo is answered.
async fn ask(agent: Agent, pair: Pair, domain: u32, knows: bool) -> Option<v1::EchoReply> {
    let request = v1::EchoRequest {
        domain,
        name: RouterName::new(pair.member).as_name().as_bytes().to_vec(),
        count: 1,
        timeout_ms: u32::try_from(OVERDUE.as_millis()).unwrap_or(1_000),
        gateway: pair.member.0,
        class: CLASS,
        by_delay: pair.topology == Topology::Delay,
        // Another label each time: of ways of equal cost all are measured in turn.
        flow_label: rand::random(),
        probe: true,
        ..Default::default()
    };
    let echo = v1::EchoRequest {
        probe: false,
        ..request.clone()
    };
    let answer = async |mut agent: Agent, request| agent.first_answer(request).await.ok()?;
    if knows {
        return answer(agent, request).await;
    }
    let second = async {
        sleep(SECOND_TO).await;
        answer(agent.clone(), echo).await
    };
    tokio::select! {
        biased;
        Some(reply) = answer(agent.clone(), request) => Some(reply),
        Some(reply) = second => Some(reply),
        else => None,
    }
}
