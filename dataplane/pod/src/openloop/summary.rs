//! Sums of a run: counts, latencies, who answered.

use std::collections::{BTreeMap, HashMap};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::engine::{Outcome, Report, Sink};

/// Responders told apart; further ones are counted together.
const MAX_RESPONDERS: usize = 4_096;

/// The instance's text at the start of an answer of `dmsc-pod serve`, up to the first zero byte.
#[must_use]
pub fn instance_of(payload: &[u8]) -> &[u8] {
    let end = payload.iter().position(|byte| *byte == 0).unwrap_or(0);
    &payload[..end]
}

/// Collects outcomes.
#[derive(Debug)]
pub struct Summary {
    latencies: Histogram<u64>,
    answered: u64,
    lost: u64,
    rebound: u64,
    errors: BTreeMap<&'static str, u64>,
    /// By gateway, attachment, length of the name, name, instance: one key without allocating for known ones.
    responders: HashMap<Vec<u8>, u64>,
    other_responders: u64,
    key: Vec<u8>,
    first_lost_ns: Option<u64>,
    last_lost_ns: Option<u64>,
}

/// One instance that answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Responder {
    /// Its gateway.
    pub gateway: u32,
    /// Its attachment there.
    pub attachment: u16,
    /// What it calls itself.
    pub instance: String,
    /// The name under which it answered.
    pub name: String,
    /// Answers.
    pub count: u64,
}

/// The result of a run, for JSON. Times are monotonic ns; `sent` = `answered` + `lost` + `failed`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct SummaryReport {
    pub sent: u64,
    pub answered: u64,
    /// No answer in time.
    pub lost: u64,
    /// Sum of `errors`.
    pub failed: u64,
    pub errors: BTreeMap<&'static str, u64>,
    pub send_late_max_us: f64,
    pub p50_us: Option<f64>,
    pub p90_us: Option<f64>,
    pub p99_us: Option<f64>,
    pub p999_us: Option<f64>,
    pub max_us: Option<f64>,
    pub by_responder: Vec<Responder>,
    pub other_responders: u64,
    /// Scheduled time of the first call that was lost or failed.
    pub first_lost_ns: Option<u64>,
    pub last_lost_ns: Option<u64>,
    pub start_ns: u64,
    pub end_ns: u64,
    /// Answers to calls that were placed twice on their way.
    pub rebound_seen: u64,
    pub stray: u64,
    pub malformed: u64,
    pub interrupted: bool,
}

impl Default for Summary {
    fn default() -> Self {
        let mut latencies =
            Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("the bounds are valid");
        latencies.auto(true);
        Self {
            latencies,
            answered: 0,
            lost: 0,
            rebound: 0,
            errors: BTreeMap::new(),
            responders: HashMap::new(),
            other_responders: 0,
            key: Vec::new(),
            first_lost_ns: None,
            last_lost_ns: None,
        }
    }
}

impl Summary {
    fn missed(&mut self, scheduled_ns: u64) {
        // Outcomes do not come in order of their calls.
        self.first_lost_ns = Some(
            self.first_lost_ns
                .map_or(scheduled_ns, |first| first.min(scheduled_ns)),
        );
        self.last_lost_ns = Some(
            self.last_lost_ns
                .map_or(scheduled_ns, |last| last.max(scheduled_ns)),
        );
    }

    /// The result, with the figures of the run.
    #[must_use]
    pub fn report(&self, run: &Report) -> SummaryReport {
        let at = |quantile| {
            (self.answered > 0).then(|| micros(self.latencies.value_at_quantile(quantile)))
        };
        let mut by_responder: Vec<Responder> = self
            .responders
            .iter()
            .filter_map(|(key, count)| responder(key, *count))
            .collect();
        by_responder.sort_by(|a, b| {
            b.count
                .cmp(&a.count)
                .then_with(|| (a.gateway, a.attachment).cmp(&(b.gateway, b.attachment)))
        });
        SummaryReport {
            sent: run.sent,
            answered: self.answered,
            lost: self.lost,
            failed: self.errors.values().sum(),
            errors: self.errors.clone(),
            send_late_max_us: micros(run.send_late_max_ns),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: at(1.0),
            by_responder,
            other_responders: self.other_responders,
            first_lost_ns: self.first_lost_ns,
            last_lost_ns: self.last_lost_ns,
            start_ns: run.start_ns,
            end_ns: run.end_ns,
            rebound_seen: self.rebound,
            stray: run.stray,
            malformed: run.malformed,
            interrupted: run.interrupted,
        }
    }
}

fn micros(ns: u64) -> f64 {
    (ns as f64 / 100.0).round() / 10.0
}

fn responder(key: &[u8], count: u64) -> Option<Responder> {
    let (gateway, rest) = key.split_first_chunk::<4>()?;
    let (attachment, rest) = rest.split_first_chunk::<2>()?;
    let (name_len, rest) = rest.split_first()?;
    let (name, instance) = rest.split_at_checked(usize::from(*name_len))?;
    Some(Responder {
        gateway: u32::from_be_bytes(*gateway),
        attachment: u16::from_be_bytes(*attachment),
        instance: String::from_utf8_lossy(instance).into_owned(),
        name: dmsc_wire::Name::from_bytes(name)
            .map(|name| name.to_string())
            .unwrap_or_default(),
        count,
    })
}

impl Sink for Summary {
    fn finished(&mut self, _index: u64, scheduled_ns: u64, outcome: Outcome<'_>) {
        match outcome {
            Outcome::Answered {
                latency_ns,
                gateway,
                attachment,
                name,
                payload,
                rebound,
            } => {
                self.answered += 1;
                self.rebound += u64::from(rebound);
                self.latencies.saturating_record(latency_ns.max(1));
                let mut key = std::mem::take(&mut self.key);
                key.clear();
                key.extend(gateway.0.to_be_bytes());
                key.extend(attachment.0.to_be_bytes());
                key.push(name.as_bytes().len() as u8);
                key.extend(name.as_bytes());
                key.extend(instance_of(payload));
                if let Some(count) = self.responders.get_mut(&key) {
                    *count += 1;
                } else if self.responders.len() < MAX_RESPONDERS {
                    self.responders.insert(key.clone(), 1);
                } else {
                    self.other_responders += 1;
                }
                self.key = key;
            }
            Outcome::Failed { code, .. } => {
                *self.errors.entry(code).or_default() += 1;
                self.missed(scheduled_ns);
            }
            Outcome::Lost => {
                self.lost += 1;
                self.missed(scheduled_ns);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use dmsc_wire::{AttachmentId, NameBuf, NodeId};

    use super::*;

    #[test]
    fn outcomes_are_summed() {
        let name = NameBuf::parse("/shop/b").unwrap();
        let mut summary = Summary::default();
        for index in 0..100 {
            let payload: &[u8] = if index % 4 == 0 { b"b1\0echo" } else { b"b4\0" };
            let outcome = Outcome::Answered {
                latency_ns: (index + 1) * 1_000,
                gateway: NodeId(4),
                attachment: AttachmentId(9),
                name: name.as_name(),
                payload,
                rebound: index == 3,
            };
            summary.finished(index, index, outcome);
        }
        summary.finished(100, 700, Outcome::Lost);
        let failed = Outcome::Failed {
            latency_ns: 1,
            code: "no-route",
        };
        summary.finished(101, 500, failed);
        let report = summary.report(&Report {
            sent: 102,
            ..Report::default()
        });
        assert_eq!(
            (
                report.answered,
                report.lost,
                report.failed,
                report.rebound_seen
            ),
            (100, 1, 1, 1)
        );
        assert_eq!(
            (report.first_lost_ns, report.last_lost_ns),
            (Some(500), Some(700))
        );
        assert_eq!(report.by_responder.len(), 2);
        let first = &report.by_responder[0];
        assert_eq!(
            (first.instance.as_str(), first.name.as_str(), first.count),
            ("b4", "/shop/b", 75)
        );
        assert!(
            (report.p50_us.unwrap() - 50.0).abs() < 1.0
                && (report.max_us.unwrap() - 100.0).abs() < 1.0
        );
    }
}
