//! `dmsc-perf idle`: what a router without much to do costs, and what it costs packets that it sleeps.

mod memif;
mod veth;
mod wake;

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::record::{Progress, Record, spread};
use crate::rig::{Bench, Common};
use crate::table::{self, Row};

/// Packets per second that are tried, besides none.
const RATES: [u64; 3] = [1_000, 10_000, 100_000];

/// Arguments of `dmsc-perf idle`.
#[derive(Debug, Clone, Args)]
pub struct IdleArgs {
    /// Each measurement, s
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
    #[command(flatten)]
    pub common: Common,
}

/// What packets took from one end of the router to the other, µs.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct LatencyUs {
    p50: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl LatencyUs {
    fn of(histogram: &hdrhistogram::Histogram<u64>) -> LatencyUs {
        let us = |ns: u64| ns as f64 / 1000.0;
        LatencyUs {
            p50: us(histogram.value_at_quantile(0.5)),
            p99: us(histogram.value_at_quantile(0.99)),
            p999: us(histogram.value_at_quantile(0.999)),
            max: us(histogram.max()),
        }
    }
}

/// One rate, in one of the two ways to wait.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// Asked for.
    pub packets_per_s: u64,
    /// "block" or "poll".
    pub idle: &'static str,
    /// Of one core, all threads of the dataplane.
    pub cpu_percent: f64,
    /// By name of the thread.
    pub threads: std::collections::BTreeMap<String, f64>,
    /// From sending to receiving.
    pub latency_us: LatencyUs,
    /// Packets that did not arrive.
    pub lost: u64,
    /// Packets that were really sent, per second.
    pub sent_per_s: f64,
}

/// All rates over veth, and memif.
#[derive(Debug, Serialize)]
struct Round {
    af_packet: Vec<Measured>,
    wake_us: LatencyUs,
    memif: memif::Idle,
}

/// Medians over the rounds.
#[derive(Debug, Default, Serialize)]
struct Outcome {
    /// Without traffic: two af_packet ports, hellos both ways.
    cpu_percent: f64,
    cpu_percent_1000: f64,
    cpu_percent_10000: f64,
    cpu_percent_100000: f64,
    /// Of the 99th percentile by blocking, over busy polling.
    added_us_p99_1000: f64,
    added_us_p99_10000: f64,
    added_us_p99_100000: f64,
    /// While blocking, at 1,000 packets/s.
    latency_us: LatencyUs,
    /// What the machine takes to wake a thread that does nothing else, as often and on the same core.
    wake_us: LatencyUs,
    memif_cpu_percent: f64,
    /// The slowest of those that came after silence, median of rounds.
    memif_first_packet_ms: f64,
}

/// Runs it.
///
/// # Errors
/// When it cannot be run to its end; what was measured until then is written.
pub fn run(args: &IdleArgs) -> anyhow::Result<ExitCode> {
    let bench = Bench::new(&args.common, "idle")?;
    let mut record = Record::<Round, Outcome>::new("idle");
    let mut progress = Progress::start("idle", args.common.rounds as usize);
    let result = bench.run(async {
        let mut rig = veth::Rig::start(&bench).await?;
        for number in 0..args.common.rounds {
            let mut af_packet = Vec::new();
            let mut wake_us = LatencyUs::default();
            for rate in [0].into_iter().chain(RATES) {
                // Busy polling is what latency is compared with; without packets there is none.
                let ways: &[&'static str] = if rate == 0 {
                    &["block"]
                } else {
                    &["block", "poll"]
                };
                for idle in ways {
                    af_packet.push(rig.measure(&bench, rate, idle, args.seconds).await?);
                }
                if rate == 0 {
                    // Now, because the worker sleeps.
                    wake_us = wake::measure(Duration::from_secs(args.seconds))?;
                    tokio::task::yield_now().await; // a signal is seen only while something waits
                    bench.check()?;
                }
            }
            record.rounds.push(Round {
                af_packet,
                wake_us,
                memif: memif::measure(&bench, number, args.seconds).await?,
            });
            progress.step(&format!("round {} of {}", number + 1, args.common.rounds));
        }
        rig.stop().await
    });
    record.complete = result.is_ok();
    record.result = outcome(&record.rounds);
    table::show(&args.common, &record, &rows(&record.result))?;
    result.map(|()| ExitCode::SUCCESS)
}

fn outcome(rounds: &[Round]) -> Outcome {
    let median = |of: &dyn Fn(&Round) -> f64| {
        let values: Vec<f64> = rounds.iter().map(of).collect();
        spread(&values).map_or(0.0, |s| s.median)
    };
    let find = |round: &Round, rate: u64, idle: &str| {
        let mut all = round.af_packet.iter();
        all.find(|m| m.packets_per_s == rate && m.idle == idle)
            .cloned()
    };
    let cpu = |rate| median(&|r| find(r, rate, "block").map_or(0.0, |m| m.cpu_percent));
    let latency = |rate, idle: &'static str, of: fn(&LatencyUs) -> f64| {
        median(&|r| find(r, rate, idle).map_or(0.0, |m| of(&m.latency_us)))
    };
    let added = |rate| {
        let p99 = |r: &Round, idle| find(r, rate, idle).map_or(0.0, |m| m.latency_us.p99);
        median(&|r| p99(r, "block") - p99(r, "poll"))
    };
    Outcome {
        cpu_percent: cpu(0),
        cpu_percent_1000: cpu(1_000),
        cpu_percent_10000: cpu(10_000),
        cpu_percent_100000: cpu(100_000),
        added_us_p99_1000: added(1_000),
        added_us_p99_10000: added(10_000),
        added_us_p99_100000: added(100_000),
        wake_us: LatencyUs {
            p50: median(&|r| r.wake_us.p50),
            p99: median(&|r| r.wake_us.p99),
            p999: median(&|r| r.wake_us.p999),
            max: median(&|r| r.wake_us.max),
        },
        latency_us: LatencyUs {
            p50: latency(1_000, "block", |l| l.p50),
            p99: latency(1_000, "block", |l| l.p99),
            p999: latency(1_000, "block", |l| l.p999),
            max: latency(1_000, "block", |l| l.max),
        },
        memif_cpu_percent: median(&|r| r.memif.cpu_percent),
        memif_first_packet_ms: median(&|r| r.memif.first_packet_us.max / 1000.0),
    }
}

fn rows(result: &Outcome) -> Vec<Row> {
    let percent = |value: f64| format!("{value:.2} %");
    let us = |value: f64| format!("{value:.0} µs");
    let (latency, wake) = (result.latency_us, result.wake_us);
    vec![
        Row::new(
            "two af_packet ports, idle: CPU",
            percent(result.cpu_percent),
        )
        .at_most(result.cpu_percent, 1.0, "1 %"),
        Row::new("  1,000 packets/s", percent(result.cpu_percent_1000)).at_most(
            result.cpu_percent_1000,
            4.0,
            "4 %",
        ),
        Row::new("  10,000 packets/s", percent(result.cpu_percent_10000)),
        Row::new("  100,000 packets/s", percent(result.cpu_percent_100000)),
        Row::new(
            "p99 added over busy polling, 1,000 packets/s",
            us(result.added_us_p99_1000),
        )
        .at_most(result.added_us_p99_1000, 60.0, "60 µs"),
        Row::new("  10,000 packets/s", us(result.added_us_p99_10000)),
        Row::new("  100,000 packets/s", us(result.added_us_p99_100000)),
        Row::new(
            "  latency p50, p99, max at 1,000 packets/s",
            format!(
                "{:.0}, {:.0}, {:.0} µs",
                latency.p50, latency.p99, latency.max
            ),
        ),
        Row::new(
            "  a thread woken as often by a pipe, p50, p99, max",
            format!("{:.0}, {:.0}, {:.0} µs", wake.p50, wake.p99, wake.max),
        ),
        Row::new("memif, idle: CPU", percent(result.memif_cpu_percent)).at_most(
            result.memif_cpu_percent,
            3.0,
            "3 %",
        ),
        Row::new(
            "  first packet after silence, slowest",
            format!("{:.2} ms", result.memif_first_packet_ms),
        )
        .at_most(result.memif_first_packet_ms, 1.2, "1.2 ms"),
    ]
}
