//! What `failover` leaves behind: medians over the rounds of either rig.

use serde::Serialize;

use super::memif;
use super::veth::{self, BURST};
use crate::record::spread;
use crate::rig::GapUs;
use crate::table::Row;

/// Of both rigs; what was not run is not there.
#[derive(Debug, Default, Serialize)]
pub struct Outcome {
    #[serde(flatten)]
    veth: Option<Veth>,
    #[serde(flatten)]
    memif: Option<Memif>,
}

/// Over real veth.
#[derive(Debug, Default, Serialize)]
struct Veth {
    detection_ms: f64,
    detection_intervals: f64,
    detection_intervals_max: f64,
    packets_lost: f64,
    packets_lost_max: f64,
    packets_lost_limit: f64,
    /// Of the round that was closest to its limit, or furthest above.
    packets_lost_of_limit: f64,
    /// Of all rounds.
    flows_moved: u64,
    flows_rescued: f64,
    flows_of_dead: f64,
    sent_per_s: f64,
}

/// Of the closed loop.
#[derive(Debug, Default, Serialize)]
struct Memif {
    dip_percent: f64,
    dip_percent_min: f64,
    dip_percent_max: f64,
    /// From the death on, less the same just before.
    gap_us: GapUs,
    quiet_gap_us: GapUs,
    failing_gap_us: GapUs,
    mpps: f64,
    /// Share of the worker's rounds that found packets, before the death.
    busy_rounds: f64,
    memif_detection_ms: f64,
    memif_detection_intervals: f64,
    memif_detection_intervals_max: f64,
    memif_reprogrammed_ms: f64,
    memif_packets_lost: f64,
    /// Of all rounds.
    memif_flows_moved: u64,
    memif_flows_of_living: f64,
    memif_flows_of_dead: f64,
}

/// Median and greatest of a figure; 0 of none.
fn figure<Round>(rounds: &[Round], get: impl Fn(&Round) -> f64) -> (f64, f64) {
    let values: Vec<f64> = rounds.iter().map(get).collect();
    spread(&values).map_or((0.0, 0.0), |s| (s.median, s.max))
}

impl Outcome {
    /// Of the rounds of both rigs.
    pub fn new(veth: &[veth::Round], memif: &[memif::Round]) -> Outcome {
        Outcome {
            veth: (!veth.is_empty()).then(|| Veth::new(veth)),
            memif: (!memif.is_empty()).then(|| Memif::new(memif)),
        }
    }

    /// For people.
    pub fn rows(&self) -> Vec<Row> {
        let veth = self.veth.iter().flat_map(Veth::rows);
        veth.chain(self.memif.iter().flat_map(Memif::rows))
            .collect()
    }
}

impl Veth {
    fn new(rounds: &[veth::Round]) -> Veth {
        let intervals = figure(rounds, |r| r.detection_intervals);
        let lost = figure(rounds, |r| r.packets_lost as f64);
        let of_limit = |r: &veth::Round| r.packets_lost as f64 / r.packets_lost_limit.max(1.0);
        Veth {
            detection_ms: figure(rounds, |r| r.detection_ms).0,
            detection_intervals: intervals.0,
            detection_intervals_max: intervals.1,
            packets_lost: lost.0,
            packets_lost_max: lost.1,
            packets_lost_limit: figure(rounds, |r| r.packets_lost_limit).0,
            packets_lost_of_limit: figure(rounds, of_limit).1,
            flows_moved: rounds.iter().map(|r| r.flows_moved).sum(),
            flows_rescued: figure(rounds, |r| r.flows_rescued as f64).0,
            flows_of_dead: figure(rounds, |r| r.flows_of_dead as f64).0,
            sent_per_s: figure(rounds, |r| r.sent_per_s).0,
        }
    }

    fn rows(&self) -> Vec<Row> {
        let detection = (
            self.detection_ms,
            self.detection_intervals,
            self.detection_intervals_max,
        );
        vec![
            Row::new(
                "veth: packets per second",
                format!("{:.0}", self.sent_per_s),
            ),
            detected("veth", detection),
            Row::new(
                "veth: packets lost",
                format!(
                    "{:.0} (at most {:.0}) of {:.0} = rate × detection + {BURST}",
                    self.packets_lost, self.packets_lost_max, self.packets_lost_limit
                ),
            )
            .at_most(self.packets_lost_of_limit, 1.0, "that, in every round"),
            moved("veth", self.flows_moved),
            Row::new(
                "veth: flows of the dead rescued",
                format!("{:.0} of {:.0}", self.flows_rescued, self.flows_of_dead),
            ),
        ]
    }
}

impl Memif {
    fn new(rounds: &[memif::Round]) -> Memif {
        let dips: Vec<f64> = rounds.iter().map(|r| r.dip_percent).collect();
        let dip = spread(&dips);
        let quiet: Vec<GapUs> = rounds.iter().map(|r| r.quiet.gap_us).collect();
        let failing: Vec<GapUs> = rounds.iter().map(|r| r.failing.gap_us).collect();
        let (quiet, failing) = (GapUs::median(&quiet), GapUs::median(&failing));
        let intervals = figure(rounds, |r| r.detection_intervals);
        Memif {
            dip_percent: dip.map_or(0.0, |s| s.median),
            dip_percent_min: dip.map_or(0.0, |s| s.min),
            dip_percent_max: dip.map_or(0.0, |s| s.max),
            gap_us: failing.less(&quiet),
            quiet_gap_us: quiet,
            failing_gap_us: failing,
            mpps: figure(rounds, |r| r.quiet.pps / 1e6).0,
            busy_rounds: figure(rounds, |r| r.quiet.busy_rounds).0,
            memif_detection_ms: figure(rounds, |r| r.detection_ms).0,
            memif_detection_intervals: intervals.0,
            memif_detection_intervals_max: intervals.1,
            memif_reprogrammed_ms: figure(rounds, |r| r.reprogrammed_ms).0,
            memif_packets_lost: figure(rounds, |r| r.packets_lost as f64).0,
            memif_flows_moved: rounds.iter().map(|r| r.flows_moved).sum(),
            memif_flows_of_living: figure(rounds, |r| r.flows_of_living as f64).0,
            memif_flows_of_dead: figure(rounds, |r| r.flows_of_dead as f64).0,
        }
    }

    fn rows(&self) -> Vec<Row> {
        let (least, most) = (self.dip_percent_min, self.dip_percent_max);
        let detection = (
            self.memif_detection_ms,
            self.memif_detection_intervals,
            self.memif_detection_intervals_max,
        );
        vec![
            Row::new(
                "memif: throughput of the loop",
                format!(
                    "{:.2} Mpps, {:.1} % of the worker's rounds found packets",
                    self.mpps,
                    self.busy_rounds * 100.0
                ),
            ),
            Row::new(
                "memif: dip in the second of the death",
                format!("{:.1} % ({least:.1} to {most:.1})", self.dip_percent),
            ),
            Row::new(
                "memif: longest gap in 10 ms, p99.9, added",
                format!("{:.0} µs", self.gap_us.p999),
            ),
            Row::new(
                "  without a death, with one",
                GapUs::both(&self.quiet_gap_us, &self.failing_gap_us),
            ),
            detected("memif", detection),
            Row::new(
                "memif: all gateways programmed without it",
                format!("{:.0} ms after the last hello", self.memif_reprogrammed_ms),
            ),
            Row::new(
                "memif: packets lost",
                format!("{:.0}", self.memif_packets_lost),
            ),
            moved("memif", self.memif_flows_moved),
        ]
    }
}

/// Median in ms, median and greatest in hello intervals.
fn detected(rig: &str, (ms, intervals, most): (f64, f64, f64)) -> Row {
    Row::new(
        &format!("{rig}: detection after the last hello"),
        format!("{ms:.0} ms = {intervals:.2} intervals (at most {most:.2})"),
    )
    .at_most(most, 3.5, "3.5 intervals")
}

fn moved(rig: &str, flows: u64) -> Row {
    let what = match rig {
        "veth" => "flows of the living moved",
        _ => "flows of the living and of the loop moved",
    };
    Row::new(&format!("{rig}: {what}"), flows.to_string()).at_most(flows as f64, 0.0, "0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::Samples;

    fn sample(mpps: f64, gap: f64) -> Samples {
        Samples {
            pps: mpps * 1e6,
            gap_us: GapUs {
                p999: gap,
                max: gap,
                windows: 100,
                ..GapUs::default()
            },
            ..Samples::default()
        }
    }

    #[test]
    fn gaps_are_less_those_without_a_death() {
        let rounds = [(4.0, 40.0, 1), (6.0, 50.0, 0), (5.0, 90.0, 0)].map(|(dip, gap, moved)| {
            memif::Round {
                quiet: sample(10.0, 30.0),
                failing: sample(9.5, gap),
                dip_percent: dip,
                flows_moved: moved,
                ..memif::Round::default()
            }
        });
        let outcome = Outcome::new(&[], &rounds);
        let value = serde_json::to_value(&outcome).expect("JSON");
        assert_eq!(value["dip_percent"], 5.0);
        assert_eq!(value["dip_percent_max"], 6.0);
        assert_eq!(value["gap_us"]["p999"], 20.0);
        assert_eq!(value["gap_us"]["max"], 60.0);
        assert_eq!(value["memif_flows_moved"], 1);
        assert_eq!(value.get("flows_moved"), None, "veth was not run");
        assert!(outcome.rows().len() == 8);
    }

    #[test]
    fn figures_of_veth_have_their_own_names() {
        let rounds = [(3.0, 10), (3.2, 12), (3.6, 11)].map(|(intervals, lost)| veth::Round {
            detection_intervals: intervals,
            packets_lost: lost,
            packets_lost_limit: 10.0,
            ..veth::Round::default()
        });
        let both = Outcome::new(&rounds, &[memif::Round::default()]);
        let value = serde_json::to_value(&both).expect("JSON");
        assert_eq!(value["detection_intervals"], 3.2);
        assert_eq!(value["detection_intervals_max"], 3.6);
        assert_eq!(value["packets_lost"], 11.0);
        assert_eq!(value["packets_lost_of_limit"], 1.2);
        assert_eq!(value["memif_detection_intervals"], 0.0);
        let nothing = serde_json::to_value(Outcome::new(&[], &[])).expect("JSON");
        assert_eq!(nothing, serde_json::json!({}));
    }
}
