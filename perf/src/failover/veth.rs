//! Over real veth: one neighbour that sends packets with sequence numbers, two that receive, one of which falls silent.

use std::time::{Duration, Instant};

use dmsc_proto::v1::{self, op::Op};
use serde::Serialize;

use super::FailoverArgs;
use super::flows::{Arrivals, Flows};
use crate::rig::{
    Bench, Call, HELLO, Neighbour, Place, af_packet, gateway, head, number, prefix, put_prefix,
    start_on_veth, until_up,
};
use crate::torture::dataplane::Dataplane;

const IN: Place = Place(1);
const DYING: Place = Place(2);
const LIVING: Place = Place(3);
/// A gateway behind both.
const FAR: u32 = 1_000;
/// Traffic before the death, and at least after it.
const BEFORE: Duration = Duration::from_millis(600);
/// After the last packet to the dead one.
const AFTER: Duration = Duration::from_millis(400);
/// A death that is not noticed at all.
const LIMIT: Duration = Duration::from_secs(5);

/// Largest burst of a worker.
pub const BURST: f64 = 32.0;

/// One death.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Round {
    /// From the last hello until the last packet to the dead neighbour, ms.
    pub detection_ms: f64,
    /// In hello intervals.
    pub detection_intervals: f64,
    /// Sent after the death and not arrived at a living neighbour.
    pub packets_lost: u64,
    /// What was sent to the dead neighbour until that was noticed, packets/s: its share of the packets before, of those sent meanwhile.
    pub rate_until_noticed: f64,
    /// Rate × detection + one burst.
    pub packets_lost_limit: f64,
    /// Flows of the living neighbour that did not all stay there.
    pub flows_moved: u64,
    /// Flows of the dead one that came to the living one.
    pub flows_rescued: u64,
    /// Flows of the dead one.
    pub flows_of_dead: u64,
    /// Packets that were really sent, per second.
    pub sent_per_s: f64,
}

/// What happened in one phase.
struct Phase {
    seen: Arrivals,
    sent: u64,
    last_at_dying: Instant,
    /// Of `sent`, when that arrived.
    sent_until_then: u64,
    took: Duration,
}

/// The dataplane and its neighbours.
pub struct Rig {
    dataplane: Dataplane,
    neighbours: Vec<Neighbour>,
    calls: Vec<(Vec<u8>, usize)>,
    sent: u64,
}

impl Rig {
    /// Starts it and waits until all links are up.
    ///
    /// # Errors
    /// When it cannot be had.
    pub async fn start(bench: &Bench, args: &FailoverArgs) -> anyhow::Result<Rig> {
        let places = [IN, DYING, LIVING];
        let mut text = head(&bench.dir, "failover", "block", 64);
        for place in places {
            let device = format!("interface = \"{}\"", place.interface());
            text += &place.section("af_packet", &device);
        }
        let mut dataplane = start_on_veth(bench, "failover", &text, &places).await?;
        let mut neighbours = Vec::new();
        for place in places {
            neighbours.push(Neighbour::open(bench, place, &af_packet(place))?);
            dataplane.apply(place.operations()).await?;
        }
        let mut ops = gateway(FAR, &[DYING, LIVING]).to_vec();
        let member = |place: Place| v1::Member {
            gateway: place.node(),
            metric: 10,
            weight: 1,
            delay_weight: 0,
        };
        ops.push(v1::Op {
            op: Some(Op::PutGroup(v1::Group {
                id: 1,
                members: vec![member(DYING), member(LIVING)],
                weighted: true,
            })),
        });
        ops.push(put_prefix(&prefix(0), 1));
        dataplane.apply(ops).await?;
        until_up(bench, &mut dataplane, &mut neighbours).await?;
        let call = |flow| Call {
            name: prefix(0),
            gateway: if flow % 2 == 0 { FAR } else { 0 },
            flow,
            length: 192,
        };
        let calls = (0..args.flows)
            .map(|flow| neighbours[0].call(&call(flow)))
            .collect();
        Ok(Rig {
            dataplane,
            neighbours,
            calls,
            sent: 0,
        })
    }

    /// Lets a neighbour die right after a hello, which is when it takes longest to be noticed, and then come back.
    ///
    /// # Errors
    /// When it does not come back, and once a signal came.
    pub async fn kill(&mut self, bench: &Bench, args: &FailoverArgs) -> anyhow::Result<Round> {
        until_up(bench, &mut self.dataplane, &mut self.neighbours).await?;
        let before = self.drive(args.rate, |_, since, said| since >= BEFORE && said);
        let death = Instant::now();
        self.neighbours[1].silent = true;
        let after = self.drive(args.rate, |last: Instant, since, _| {
            last.elapsed() >= AFTER || since >= LIMIT
        });
        bench.check()?;
        self.neighbours[1].silent = false;
        self.dataplane.check()?;
        let detection = after.last_at_dying.saturating_duration_since(death);
        let flows = Flows::between(&before.seen, &after.seen);
        let arrived: u64 = after.seen.values().map(|seen| seen.living).sum();
        let to_dying: u64 = before.seen.values().map(|seen| seen.dying).sum();
        // The sender pauses when the machine does: what counts is what it sent while the death was not noticed.
        let share = to_dying as f64 / before.sent.max(1) as f64;
        let rate_until_noticed =
            after.sent_until_then as f64 * share / detection.as_secs_f64().max(1e-9);
        Ok(Round {
            detection_ms: detection.as_secs_f64() * 1000.0,
            detection_intervals: detection.as_secs_f64() / HELLO.as_secs_f64(),
            packets_lost: after.sent.saturating_sub(arrived),
            rate_until_noticed,
            packets_lost_limit: rate_until_noticed * detection.as_secs_f64() + BURST,
            flows_moved: flows.moved,
            flows_rescued: flows.rescued,
            flows_of_dead: flows.of_dead,
            sent_per_s: (before.sent + after.sent) as f64
                / (before.took + after.took).as_secs_f64(),
        })
    }

    /// Sends until `over` (of the last arrival at the dying neighbour, the time since the start, and whether it said hello just now),
    /// then takes what is under way.
    fn drive(&mut self, rate: u64, over: impl Fn(Instant, Duration, bool) -> bool) -> Phase {
        let start = Instant::now();
        let mut phase = Phase {
            seen: Arrivals::with_capacity(self.calls.len()),
            sent: 0,
            last_at_dying: start,
            sent_until_then: 0,
            took: Duration::ZERO,
        };
        let mut end: Option<Instant> = None;
        loop {
            let now = Instant::now();
            let due = (now.duration_since(start).as_secs_f64() * rate as f64) as u64;
            if end.is_none() && phase.sent < due {
                let flows = self.calls.len() as u64;
                let call = &mut self.calls[(self.sent % flows) as usize];
                number(call, self.sent);
                // What its own driver did not take was not sent.
                phase.sent += u64::from(self.neighbours[0].send(&call.0));
                self.sent += 1;
            }
            let Phase {
                seen,
                sent,
                last_at_dying,
                sent_until_then,
                ..
            } = &mut phase;
            self.neighbours[0].turn(now, |_, _| {});
            let turn = self.neighbours[1].turn(now, |_, flow| {
                seen.entry(flow).or_default().dying += 1;
                (*last_at_dying, *sent_until_then) = (now, *sent);
            });
            self.neighbours[2].turn(now, |_, flow| seen.entry(flow).or_default().living += 1);
            match end {
                None if over(phase.last_at_dying, now.duration_since(start), turn.said) => {
                    phase.took = now.duration_since(start);
                    if self.neighbours[1].silent {
                        end = Some(now + Duration::from_millis(100));
                    } else {
                        return phase;
                    }
                }
                Some(end) if now >= end => return phase,
                _ => {}
            }
        }
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it does not end well.
    pub async fn stop(self) -> anyhow::Result<()> {
        drop(self.neighbours);
        self.dataplane.stop().await
    }
}
