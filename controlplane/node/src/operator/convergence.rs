//! How long changes take, stage by stage: percentiles of the last ones for people, histograms since the start for metrics.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use dmsc_linkstate::engine::Stage;
use dmsc_proto::v1;
use hdrhistogram::Histogram;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram as Buckets;

/// Changes per stage that percentiles are of.
const LAST: usize = 10_000;
/// An hour, µs: whatever took longer says nothing of convergence.
const MOST_US: u64 = 3_600_000_000;
/// Bounds of the histograms for metrics, s.
const BOUNDS_S: [f64; 15] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
];

/// Least and most of [`Convergence::settle`].
const SETTLE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));

/// All stages, in the order of a change.
const STAGES: [Stage; 6] = [
    Stage::AnnouncedOriginated,
    Stage::OriginatedReceived,
    Stage::ReceivedVerified,
    Stage::VerifiedRouted,
    Stage::RoutedProgrammed,
    Stage::AnnouncedProgrammed,
];

/// Histograms by stage.
pub type StageBuckets = Family<[(&'static str, &'static str); 1], Buckets, fn() -> Buckets>;

/// Times of changes.
#[derive(Debug)]
pub struct Convergence {
    last: Mutex<BTreeMap<Stage, VecDeque<u64>>>,
    buckets: StageBuckets,
}

impl Default for Convergence {
    fn default() -> Self {
        Self {
            last: Mutex::default(),
            buckets: Family::new_with_constructor(|| Buckets::new(BOUNDS_S)),
        }
    }
}

fn name(stage: Stage) -> &'static str {
    match stage {
        Stage::AnnouncedOriginated => "announced-originated",
        Stage::OriginatedReceived => "originated-received",
        Stage::ReceivedVerified => "received-verified",
        Stage::VerifiedRouted => "verified-routed",
        Stage::RoutedProgrammed => "routed-programmed",
        Stage::AnnouncedProgrammed => "announced-programmed",
    }
}

impl Convergence {
    /// Takes what the engine observed.
    pub fn add(&self, times: Vec<(Stage, u64)>) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        for (stage, us) in times {
            let ring = last.entry(stage).or_default();
            if ring.len() == LAST {
                ring.pop_front();
            }
            ring.push_back(us);
            self.buckets
                .get_or_create(&[("stage", name(stage))])
                .observe(us as f64 / 1e6);
        }
    }

    /// Percentiles of the last changes, stages in order; those without any have count 0.
    #[must_use]
    pub fn report(&self) -> v1::ConvergenceReply {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let stages = STAGES.iter().map(|stage| {
            let times = last.get(stage).into_iter().flatten();
            stage_time(name(*stage), times.copied())
        });
        v1::ConvergenceReply {
            stages: stages.collect(),
        }
    }

    /// How long a router anywhere in the network may take to act on what all neighbours of this node have: twice the time that changes of others take to
    /// come here and into the tables here (p99 of the last ones), because nobody tells when a far router has acted. 200 ms at least: there may be no
    /// example yet; 2 s at most: what a partition or a wrong clock delayed says nothing of flooding.
    #[must_use]
    pub fn settle(&self) -> Duration {
        let report = self.report();
        let way = [
            Stage::OriginatedReceived,
            Stage::ReceivedVerified,
            Stage::VerifiedRouted,
            Stage::RoutedProgrammed,
        ];
        let on_the_way = |time: &&v1::StageTime| way.iter().any(|one| name(*one) == time.stage);
        let us = report
            .stages
            .iter()
            .filter(on_the_way)
            .map(|time| time.p99_us);
        let twice = Duration::from_micros(us.sum()) * 2;
        twice.clamp(SETTLE.0, SETTLE.1)
    }

    /// Since the start of the process, for metrics.
    #[must_use]
    pub fn buckets(&self) -> StageBuckets {
        self.buckets.clone()
    }
}

fn stage_time(stage: &str, times: impl Iterator<Item = u64>) -> v1::StageTime {
    let mut reply = v1::StageTime {
        stage: stage.to_owned(),
        ..v1::StageTime::default()
    };
    // Three digits; the bounds are constants that it takes.
    let Ok(mut histogram) = Histogram::<u64>::new_with_bounds(1, MOST_US, 3) else {
        return reply;
    };
    for time in times {
        histogram.saturating_record(time);
        reply.max_us = reply.max_us.max(time);
    }
    reply.count = histogram.len();
    if reply.count > 0 {
        reply.p50_us = histogram.value_at_quantile(0.5).min(reply.max_us);
        reply.p99_us = histogram.value_at_quantile(0.99).min(reply.max_us);
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_last_changes() {
        let convergence = Convergence::default();
        convergence.add(vec![(Stage::VerifiedRouted, 5_000_000); 10]);
        let times = (0..LAST as u64).map(|us| (Stage::VerifiedRouted, us));
        convergence.add(times.collect());
        let reply = convergence.report();
        assert_eq!(reply.stages.len(), STAGES.len());
        let stage = &reply.stages[3];
        assert_eq!(
            (stage.stage.as_str(), stage.count),
            ("verified-routed", 10_000)
        );
        assert_eq!(stage.max_us, 9_999);
        assert!((4_990..=5_010).contains(&stage.p50_us), "{stage:?}");
        assert!((9_880..=9_920).contains(&stage.p99_us), "{stage:?}");
        assert_eq!(reply.stages[0].count, 0);
    }

    #[test]
    fn far_routers_have_twice_the_time_that_others_take_to_come_here() {
        let convergence = Convergence::default();
        assert_eq!(convergence.settle(), SETTLE.0);
        convergence.add(vec![
            (Stage::OriginatedReceived, 200_000),
            (Stage::RoutedProgrammed, 50_000),
            // Before anything is flooded.
            (Stage::AnnouncedOriginated, 900_000),
        ]);
        let about = convergence.settle().as_millis();
        assert!((498..=502).contains(&about), "{about}");
        convergence.add(vec![(Stage::OriginatedReceived, MOST_US)]);
        assert_eq!(convergence.settle(), SETTLE.1);
    }
}
