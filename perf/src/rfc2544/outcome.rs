//! What came out: of every kind of link and size, and the first of them under plain names.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};
use hdrhistogram::Histogram;
use serde::Serialize;

use super::trial::Trial;
use crate::transit::Mode;

/// A kind of link, a size of frames, a mode.
#[derive(Debug, Clone, Serialize)]
pub struct Combination {
    /// Kind of both links.
    pub pmd: String,
    /// Bytes, or `imix`.
    pub frame: String,
    /// By what the router forwards.
    pub mode: Mode,
}

impl fmt::Display for Combination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.pmd, self.frame, self.mode)
    }
}

/// What a trial was for.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Thrown away.
    WarmUp,
    /// NDR and PDR.
    Search,
    /// Latency.
    Latency,
}

/// One trial, as measured.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    /// Of what.
    #[serde(flatten)]
    pub combination: Combination,
    /// For what.
    pub step: Step,
    /// Intended load, frames per second; none: as many as the link takes.
    pub load: Option<f64>,
    /// Share of the intended that did not come out.
    pub loss: f64,
    /// What was counted.
    #[serde(flatten)]
    pub trial: Trial,
}

/// The end of a search for one goal; frames per second.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Rate {
    /// Relevant Lower Bound.
    pub lower: Option<f64>,
    /// Relevant Upper Bound.
    pub upper: Option<f64>,
    /// Conditional Throughput at the lower bound.
    pub throughput: Option<f64>,
    /// The upper bound is the generator's, not the router's.
    pub generator_was_the_limit: bool,
}

/// Quantiles of latency, µs.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Quantiles {
    /// Median.
    pub p50: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p999: f64,
    /// Longest.
    pub max: f64,
}

/// Latency at a share of PDR.
#[derive(Debug, Clone, Serialize)]
pub struct Latency {
    /// Share of PDR; 0: 1,000 frames per second.
    pub share: f64,
    /// Frames per second.
    pub rate: f64,
    /// Quantiles, µs.
    pub us: Quantiles,
    /// Frames that were timed.
    pub count: u64,
    /// Share of the router's time in which it had something to do.
    pub router_busy: Option<f64>,
    /// Frames per burst that the router received.
    pub mean_burst: Option<f64>,
}

impl Latency {
    /// Of a trial that recorded it.
    pub fn of(share: f64, rate: f64, trial: &Trial) -> Option<Latency> {
        let histogram: &Histogram<u64> = trial.latency.as_ref()?;
        let us = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Some(Latency {
            share,
            rate,
            us: Quantiles {
                p50: us(0.5),
                p99: us(0.99),
                p999: us(0.999),
                max: histogram.max() as f64 / 1e3,
            },
            count: histogram.len(),
            router_busy: trial.router_busy,
            mean_burst: trial.mean_burst,
        })
    }
}

/// Figures of one combination.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// Of what.
    #[serde(flatten)]
    pub combination: Combination,
    /// Nothing lost, millions per second.
    pub ndr_mpps: Option<f64>,
    /// Nothing lost, Gbit/s.
    pub ndr_gbps: Option<f64>,
    /// At most 0.5 % lost, millions per second.
    pub pdr_mpps: Option<f64>,
    /// At most 0.5 % lost, Gbit/s.
    pub pdr_gbps: Option<f64>,
    /// At half of PDR, µs.
    pub latency_us: Option<Quantiles>,
    /// Frames per burst that the router received at PDR.
    pub mean_burst: Option<f64>,
    /// Share of the router's time at PDR in which it had something to do.
    pub router_busy: Option<f64>,
    /// `router` or `generator`: whose limit PDR is.
    pub limit: &'static str,
    /// The search without loss.
    pub ndr: Rate,
    /// The search with a little loss.
    pub pdr: Rate,
    /// By rising share of PDR.
    pub latency: Vec<Latency>,
}

/// Whose limit a rate is.
fn limit(rate: Rate) -> &'static str {
    match rate.generator_was_the_limit {
        true => "generator",
        false => "router",
    }
}

impl Figures {
    /// Of frames of `mean_length` bytes; `at_pdr` is a trial at the lower bound of PDR.
    pub fn new(
        combination: Combination,
        mean_length: f64,
        (ndr, pdr): (Rate, Rate),
        at_pdr: Option<&Trial>,
        latency: Vec<Latency>,
    ) -> Figures {
        let mpps = |rate: Rate| rate.throughput.map(|rate| rate / 1e6);
        let gbps = |rate: Rate| rate.throughput.map(|rate| rate * mean_length * 8.0 / 1e9);
        let half = latency.iter().find(|latency| latency.share == 0.5);
        Figures {
            combination,
            ndr_mpps: mpps(ndr),
            ndr_gbps: gbps(ndr),
            pdr_mpps: mpps(pdr),
            pdr_gbps: gbps(pdr),
            latency_us: half.map(|latency| latency.us),
            mean_burst: at_pdr.and_then(|trial| trial.mean_burst),
            router_busy: at_pdr.and_then(|trial| trial.router_busy),
            limit: limit(pdr),
            ndr,
            pdr,
            latency,
        }
    }

    /// Whose limits both rates are, in words.
    fn limits(&self) -> String {
        match limit(self.ndr) {
            same if same == self.limit => same.into(),
            other => format!("{}, NDR {other}", self.limit),
        }
    }

    /// In a line, for people who wait.
    pub fn line(&self) -> String {
        format!(
            "{}: NDR {}, PDR {} Mpps ({} Gbit/s), limit: {}",
            self.combination,
            number(self.ndr_mpps, 3),
            number(self.pdr_mpps, 3),
            number(self.pdr_gbps, 2),
            self.limits()
        )
    }
}

/// Everything; the figures of the first combination also stand by themselves.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Outcome {
    /// Of the first combination: nothing lost, millions per second.
    pub ndr_mpps: Option<f64>,
    /// Of the first combination: at most 0.5 % lost, millions per second.
    pub pdr_mpps: Option<f64>,
    /// Of the first combination: at half of PDR, µs.
    pub latency_us: Option<Quantiles>,
    /// Memory of the generator's DPDK; the router has the same if there was enough.
    pub memory: String,
    /// Of every combination.
    pub all: Vec<Figures>,
}

impl Outcome {
    /// Takes up the figures of one combination.
    pub fn add(&mut self, figures: Figures) {
        if self.all.is_empty() {
            self.ndr_mpps = figures.ndr_mpps;
            self.pdr_mpps = figures.pdr_mpps;
            self.latency_us = figures.latency_us;
        }
        self.all.push(figures);
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header([
            "links",
            "frame",
            "mode",
            "NDR Mpps",
            "PDR Mpps",
            "Gbit/s",
            "burst",
            "busy",
            "limit",
            "µs at 0 %",
            "10 %",
            "50 %",
            "90 %",
            "p99",
            "p99.9",
        ]);
        for figures in &self.all {
            let c = &figures.combination;
            let at = |share: f64, of: fn(&Quantiles) -> f64| {
                let latency = figures.latency.iter().find(|l| l.share == share);
                number(latency.map(|l| of(&l.us)), 1)
            };
            table.add_row([
                c.pmd.clone(),
                c.frame.clone(),
                c.mode.to_string(),
                number(figures.ndr_mpps, 3),
                number(figures.pdr_mpps, 3),
                number(figures.pdr_gbps, 2),
                number(figures.mean_burst, 1),
                number(figures.router_busy.map(|busy| busy * 100.0), 0) + " %",
                figures.limits(),
                at(0.0, |us| us.p50),
                at(0.1, |us| us.p50),
                at(0.5, |us| us.p50),
                at(0.9, |us| us.p50),
                at(0.9, |us| us.p99),
                at(0.9, |us| us.p999),
            ]);
        }
        for column in table.column_iter_mut().skip(3) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        format!(
            "{table}\n\nµs: medians at shares of PDR, then p99 and p99.9 at 90 %. Gbit/s, burst (frames per burst that the router received) and busy (share of\nits time with work) are at PDR. Memory: {}.",
            self.memory
        )
    }
}

/// With `digits` behind the point; a dash for nothing.
fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".into(), |value| format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn figures(throughput: Option<f64>) -> Figures {
        let combination = Combination {
            pmd: "memif".into(),
            frame: "1000".into(),
            mode: Mode::Name,
        };
        let rate = Rate {
            throughput,
            ..Rate::default()
        };
        let mut trial = Trial::default();
        let mut histogram = Histogram::new(3).expect("a histogram");
        histogram.record(2_000).expect("recorded");
        trial.latency = Some(histogram);
        let latency = Latency::of(0.5, 1e6, &trial).into_iter().collect();
        Figures::new(combination, 1_000.0, (rate, rate), Some(&trial), latency)
    }

    #[test]
    fn the_first_combination_has_plain_names() {
        let mut outcome = Outcome::default();
        outcome.add(figures(Some(2e6)));
        outcome.add(figures(None));
        let value = serde_json::to_value(&outcome).expect("JSON");
        assert_eq!(value["ndr_mpps"], 2.0);
        assert_eq!(value["pdr_mpps"], 2.0);
        assert_eq!(value["latency_us"]["p50"], 2.0);
        assert_eq!(value["all"][0]["pdr_gbps"], 16.0);
        assert_eq!(value["all"][0]["pmd"], "memif");
        assert_eq!(value["all"][1]["pdr_mpps"], Value::Null);
        assert!(outcome.table().contains("16.00"), "{}", outcome.table());
    }
}
