//! What a load has seen: how many answers, how late, and what went wrong.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Different reasons of failures that are kept apart.
const REASONS: usize = 8;
/// Latencies are told apart up to here, ns.
const LONGEST: u64 = 60_000_000_000;

/// Collects.
#[derive(Debug)]
pub struct Record {
    latency: Histogram<u64>,
    lag: Histogram<u64>,
    answered: u64,
    failed: u64,
    reasons: BTreeMap<String, u64>,
}

impl Default for Record {
    fn default() -> Self {
        let histogram =
            || Histogram::new_with_bounds(1_000, LONGEST, 3).expect("constant bounds are valid");
        Self {
            latency: histogram(),
            lag: histogram(),
            answered: 0,
            failed: 0,
            reasons: BTreeMap::new(),
        }
    }
}

impl Record {
    /// A right answer, `latency_ns` after its request was due.
    pub fn answer(&mut self, latency_ns: u64) {
        self.latency.saturating_record(latency_ns);
        self.answered += 1;
    }

    /// A request was sent `lag_ns` after it was due.
    pub fn sent(&mut self, lag_ns: u64) {
        self.lag.saturating_record(lag_ns);
    }

    /// No answer, or a wrong one.
    pub fn failure(&mut self, reason: &str) {
        self.failed += 1;
        let known = self.reasons.contains_key(reason) || self.reasons.len() < REASONS;
        let key = if known { reason } else { "other" };
        *self.reasons.entry(key.into()).or_default() += 1;
    }

    /// Answers so far.
    pub fn answered(&self) -> u64 {
        self.answered
    }

    /// Failures so far.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// What came out of `seconds`.
    pub fn seen(&self, seconds: f64, unanswered: u64) -> Seen {
        let us = |ns: u64| ns as f64 / 1_000.0;
        let quantile = |q| us(self.latency.value_at_quantile(q));
        Seen {
            seconds,
            answered: self.answered,
            failed: self.failed,
            unanswered,
            reasons: self.reasons.clone(),
            rps: self.answered as f64 / seconds.max(1e-9),
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            max_us: us(self.latency.max()),
            lag_p99_us: us(self.lag.value_at_quantile(0.99)),
        }
    }
}

/// What a load has seen in its window.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Seen {
    /// Length of the window.
    pub seconds: f64,
    /// Right answers.
    pub answered: u64,
    /// No answer, or a wrong one.
    pub failed: u64,
    /// Due in the window, and not answered when waiting ended.
    pub unanswered: u64,
    /// Of failures.
    pub reasons: BTreeMap<String, u64>,
    /// Right answers per second.
    pub rps: f64,
    /// Latency, µs, half of the answers.
    pub p50_us: f64,
    /// 99 %.
    pub p99_us: f64,
    /// 99.9 %.
    pub p999_us: f64,
    /// All.
    pub max_us: f64,
    /// How late the generator itself sent, µs, 99 %: contained in the latencies.
    pub lag_p99_us: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_was_recorded() {
        let mut record = Record::default();
        for n in 1..=1_000 {
            record.answer(n * 1_000);
        }
        record.failure("reset");
        let seen = record.seen(2.0, 3);
        assert_eq!((seen.answered, seen.failed, seen.unanswered), (1_000, 1, 3));
        assert!((seen.rps - 500.0).abs() < 1e-6);
        assert!((seen.p50_us - 500.0).abs() < 1.0, "{}", seen.p50_us);
        assert!((seen.p99_us - 990.0).abs() < 2.0, "{}", seen.p99_us);
        assert!((seen.p999_us - 999.0).abs() < 2.0, "{}", seen.p999_us);
    }

    #[test]
    fn reasons_are_bounded() {
        let mut record = Record::default();
        for n in 0..100 {
            record.failure(&format!("reason {n}"));
        }
        let seen = record.seen(1.0, 0);
        assert_eq!(seen.failed, 100);
        assert_eq!(seen.reasons.len(), REASONS + 1);
        assert_eq!(seen.reasons["other"], 92);
    }
}
