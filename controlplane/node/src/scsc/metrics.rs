//! Metrics of a scheduling center.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::state::Center;

/// Pairs whose delay is told.
const WORST: usize = 5;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Rank {
    /// 1: the worst.
    rank: u32,
}

/// Counted since the start of the process.
#[derive(Debug, Default)]
pub struct CenterMetrics {
    /// Telemetry messages that were taken.
    pub seconds: Counter,
    /// Bytes of reports in them.
    pub report_bytes: Counter,
    /// Reports of pairs in them.
    pub reports: Counter,
    /// Streams that ended because of what the other side sent.
    pub refused_streams: Counter,
    /// Streams that ended because the other side did not read.
    pub slow_streams: Counter,
    /// Policies that were signed.
    pub policies: Counter,
    /// Policies that a router refused.
    pub refused_policies: Counter,
    /// Telemetry with groups for which there was no room.
    pub refused_groups: Counter,
    /// Decisions that were left out of the state directory, which was too slow.
    pub unwritten_decisions: Counter,
    /// What was decided, here or by hand.
    pub decisions: Counter,
}

/// Everything that is told.
#[must_use]
pub fn registry(center: &Center) -> Registry {
    let mut registry = Registry::with_prefix("dmsc_scsc");
    let metrics = &center.metrics;
    for (name, help, counter) in [
        (
            "telemetry_seconds",
            "Telemetry messages that were taken",
            &metrics.seconds,
        ),
        (
            "telemetry_bytes",
            "Bytes of reports in telemetry",
            &metrics.report_bytes,
        ),
        ("reports", "Reports of pairs in telemetry", &metrics.reports),
        (
            "refused_streams",
            "Streams that ended because of what the other side sent",
            &metrics.refused_streams,
        ),
        (
            "slow_streams",
            "Streams that ended because the other side did not read",
            &metrics.slow_streams,
        ),
        (
            "policies",
            "Policies that were signed, renewals included",
            &metrics.policies,
        ),
        (
            "refused_policies",
            "Policies that a gateway or router refused",
            &metrics.refused_policies,
        ),
        (
            "refused_groups",
            "Telemetry messages with service groups for which there was no room",
            &metrics.refused_groups,
        ),
        (
            "unwritten_decisions",
            "Decisions that were not written down, the disk being too slow",
            &metrics.unwritten_decisions,
        ),
        (
            "decisions",
            "Changes of shares that were decided, by hand included, renewals not",
            &metrics.decisions,
        ),
    ] {
        registry.register(name, help, counter.clone());
    }
    let counts = center.counts();
    for (name, help, value) in [
        (
            "streams",
            "Gateways and routers that are connected",
            counts.streams,
        ),
        (
            "pairs",
            "Pairs that were reported in the last minutes",
            counts.pairs,
        ),
        (
            "groups",
            "Service groups that traffic enters for",
            counts.groups,
        ),
        (
            "revoked",
            "1: the root took this center's certificate back, nobody obeys it",
            usize::from(center.is_revoked()),
        ),
        (
            "policies_in_force",
            "Policies in force, as far as this replica knows",
            counts.policies,
        ),
        (
            "policies_by_hand",
            "Of the policies in force, those that somebody set by hand",
            center.count_by_hand(),
        ),
    ] {
        let gauge: Gauge = Gauge::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(name, help, gauge);
    }
    let delays = Family::<Rank, Gauge>::default();
    let mut worst: Vec<u32> = center
        .worst(WORST)
        .0
        .iter()
        .filter_map(|one| one.delay_p99_us)
        .collect();
    worst.sort_unstable_by(|a, b| b.cmp(a));
    for (rank, delay) in (1..).zip(worst) {
        delays.get_or_create(&Rank { rank }).set(delay.into());
    }
    registry.register(
        "worst_delay_microseconds",
        "Two-way delay, p99, of the worst pairs of the last report; by rank, so that there are never more",
        delays,
    );
    registry
}
