//! Metrics of an authority.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::state::Spa;

type ByOutcome = [(&'static str, &'static str); 1];

/// Counted since the start of the process.
#[derive(Debug, Default)]
pub struct SpaMetrics {
    requests: Family<ByOutcome, Counter>,
    /// Prefixes that were refused.
    pub refused_prefixes: Counter,
    /// Authorisations that were signed.
    pub authorisations: Counter,
    /// Revocations that were signed.
    pub revocations: Counter,
    /// Streams of revocations to gateways.
    pub watchers: Gauge,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All prefixes.
    Granted,
    /// Some.
    Partly,
    /// None.
    Refused,
    /// The proof was not believed, or the message was wrong.
    Invalid,
    /// Not by the gateway that it is for.
    Denied,
    /// The disk.
    Failed,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Partly => "partly",
            Self::Refused => "refused",
            Self::Invalid => "invalid",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }
}

impl SpaMetrics {
    /// Counts a request.
    pub fn count(&self, outcome: Outcome) {
        self.requests
            .get_or_create(&[("outcome", outcome.as_str())])
            .inc();
    }
}

/// Everything that is told.
#[must_use]
pub fn registry(spa: &Spa) -> Registry {
    let mut registry = Registry::with_prefix("dmsc_spa");
    let metrics = &spa.metrics;
    registry.register(
        "requests",
        "Requests of gateways by outcome: granted, partly, refused, invalid, denied, failed",
        metrics.requests.clone(),
    );
    registry.register(
        "refused_prefixes",
        "Prefixes that were refused to their pods",
        metrics.refused_prefixes.clone(),
    );
    registry.register(
        "authorisations",
        "Authorisations that were signed",
        metrics.authorisations.clone(),
    );
    registry.register(
        "revocations",
        "Revocations that were signed since the start of the process",
        metrics.revocations.clone(),
    );
    registry.register(
        "watching_gateways",
        "Streams of revocations to gateways",
        metrics.watchers.clone(),
    );
    let in_force: Gauge = Gauge::default();
    in_force.set(i64::try_from(spa.in_force().len()).unwrap_or(i64::MAX));
    registry.register(
        "revocations_in_force",
        "Revocations that are not forgotten yet",
        in_force,
    );
    let revoked: Gauge = Gauge::default();
    revoked.set(i64::from(spa.is_revoked()));
    registry.register(
        "revoked",
        "1: the root took back what this authority signs with, and it answers nobody",
        revoked,
    );
    let uptime: Gauge = Gauge::default();
    uptime.set(i64::try_from(spa.started.elapsed().as_secs()).unwrap_or(i64::MAX));
    registry.register(
        "uptime_seconds",
        "Time since the start of the process",
        uptime,
    );
    registry
}
