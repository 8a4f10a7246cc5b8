//! `dmsc-perf load`: a million prefixes into a router that forwards.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use crate::record::{Progress, Record, VisibleMs, spread};
use crate::rig::{Bench, Common, GapUs, Looped, Sampler, Samples, Traffic, apply_all, route};
use crate::table::{self, Row};

/// Prefixes that traffic goes to before the others are there.
const HOT: u64 = 10_000;
/// Calls per second that are resolved by name.
const CALLS: u64 = 100_000;
/// Before the first sample.
const WARM_UP: Duration = Duration::from_millis(700);

/// Arguments of `dmsc-perf load`.
#[derive(Debug, Clone, Args)]
pub struct LoadArgs {
    /// Prefixes
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=20_000_000))]
    pub prefixes: u64,
    /// Operations of a transaction
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    pub batch: u64,
    /// What is measured without updates, before each load, s
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub quiet_seconds: u64,
    #[command(flatten)]
    pub common: Common,
}

/// One load into a router that was started for it.
#[derive(Debug, Serialize)]
struct Round {
    /// From the first transaction until the last was visible to all workers.
    load_s: f64,
    /// Of the stages of this program alone: making the operations before the clock runs.
    prepared_s: f64,
    generations: u64,
    quiet: Samples,
    /// Without updates, the other core busy with something else.
    occupied: Samples,
    loading: Samples,
    /// Of each transaction; all are due at the beginning, so these are mostly the time that others before it took.
    visible_ms: VisibleMs,
    /// Resident memory, KiB, before and after.
    memory_kib: [u64; 2],
    /// Of the tables as the dataplane reckons it.
    table_bytes: u64,
}

/// Medians over the rounds.
#[derive(Debug, Default, Serialize)]
struct Outcome {
    prefixes: u64,
    load_s: f64,
    load_s_min: f64,
    load_s_max: f64,
    /// While loading, less the same without.
    gap_us: GapUs,
    quiet_gap_us: GapUs,
    /// Without updates, while the core of everything but the worker is busy as it is in a load: what of the gaps is the machine's.
    occupied_gap_us: GapUs,
    loading_gap_us: GapUs,
    dip_percent: f64,
    mpps: f64,
    /// From the beginning of the load, when all transactions were due.
    visible_ms: VisibleMs,
    /// Resident memory of the dataplane with those prefixes alone that traffic goes to, KiB.
    memory_before_kib: f64,
    /// With all of them, KiB.
    memory_after_kib: f64,
    /// What it grew by, for each prefix that was loaded meanwhile. Buffers of the transactions are in it, too.
    resident_bytes_per_prefix: f64,
    /// Of the tables as the dataplane reckons it.
    bytes_per_prefix: f64,
}

/// Runs it.
///
/// # Errors
/// When it cannot be run to its end; what was measured until then is written.
pub fn run(args: &LoadArgs) -> anyhow::Result<ExitCode> {
    let bench = Bench::new(&args.common, "load")?;
    let mut record = Record::<Round, Outcome>::new("load");
    let mut progress = Progress::start("load", args.common.rounds as usize);
    let result = bench.run(async {
        for number in 0..args.common.rounds {
            let round = round(&bench, args, number).await?;
            progress.step(&format!(
                "round {} of {}: {:.2} s",
                number + 1,
                args.common.rounds,
                round.load_s
            ));
            record.rounds.push(round);
        }
        Ok(())
    });
    record.complete = result.is_ok();
    record.result = outcome(args.prefixes, &record.rounds);
    table::show(&args.common, &record, &rows(&record.result))?;
    result.map(|()| ExitCode::SUCCESS)
}

/// Prefixes that are there before the load.
fn hot(prefixes: u64) -> u64 {
    HOT.min(prefixes / 2)
}

async fn round(bench: &Bench, args: &LoadArgs, number: u32) -> anyhow::Result<Round> {
    let traffic = Traffic {
        prefixes: hot(args.prefixes),
        calls_per_s: CALLS,
    };
    let prepared = Instant::now();
    let rest: Vec<u64> = (traffic.prefixes..args.prefixes).collect();
    let transactions: Vec<_> = rest
        .chunks(args.batch as usize)
        .map(|part| part.iter().map(|index| route(*index)).collect())
        .collect();
    let prepared_s = prepared.elapsed().as_secs_f64();
    let rig = Looped::start(bench, &format!("load{number}"), traffic).await?;
    bench.pause(WARM_UP).await?;
    let before_kib = rig.dataplane.rss_kib()?;
    let time = Duration::from_secs(args.quiet_seconds);
    let quiet = rig.quiet(bench, time).await?;
    let occupied = rig.occupied(bench, time).await?;
    let sampler = Sampler::start(rig.client());
    let applied = apply_all(rig.client(), transactions).await?;
    let loading = sampler.stop().await?;
    let round = Round {
        load_s: applied.time.as_secs_f64(),
        prepared_s,
        generations: applied.generations,
        quiet,
        occupied,
        loading,
        visible_ms: VisibleMs::of(&applied.visible_us),
        memory_kib: [before_kib, rig.dataplane.rss_kib()?],
        table_bytes: rig.dataplane.table_bytes().await?,
    };
    rig.stop().await?;
    Ok(round)
}

fn outcome(prefixes: u64, rounds: &[Round]) -> Outcome {
    let median = |of: &dyn Fn(&Round) -> f64| {
        let values: Vec<f64> = rounds.iter().map(of).collect();
        spread(&values).map_or(0.0, |s| s.median)
    };
    let times: Vec<f64> = rounds.iter().map(|round| round.load_s).collect();
    let Some(load_s) = spread(&times) else {
        return Outcome::default();
    };
    let quiet: Vec<GapUs> = rounds.iter().map(|round| round.quiet.gap_us).collect();
    let loading: Vec<GapUs> = rounds.iter().map(|round| round.loading.gap_us).collect();
    let (quiet, loading) = (GapUs::median(&quiet), GapUs::median(&loading));
    let occupied: Vec<GapUs> = rounds.iter().map(|round| round.occupied.gap_us).collect();
    let visible: Vec<VisibleMs> = rounds.iter().map(|round| round.visible_ms).collect();
    let loaded = (prefixes - hot(prefixes)) as f64;
    let grown_kib = |round: &Round| round.memory_kib[1].saturating_sub(round.memory_kib[0]) as f64;
    Outcome {
        prefixes,
        load_s: load_s.median,
        load_s_min: load_s.min,
        load_s_max: load_s.max,
        gap_us: loading.less(&quiet),
        quiet_gap_us: quiet,
        occupied_gap_us: GapUs::median(&occupied),
        loading_gap_us: loading,
        dip_percent: median(&|r| 100.0 * (1.0 - r.loading.pps / r.quiet.pps.max(1.0))),
        mpps: median(&|r| r.quiet.pps / 1e6),
        visible_ms: VisibleMs::median(&visible),
        memory_before_kib: median(&|r| r.memory_kib[0] as f64),
        memory_after_kib: median(&|r| r.memory_kib[1] as f64),
        resident_bytes_per_prefix: median(&|r| grown_kib(r) * 1024.0 / loaded),
        bytes_per_prefix: median(&|r| r.table_bytes as f64 / prefixes as f64),
    }
}

fn rows(result: &Outcome) -> Vec<Row> {
    let (min, max) = (result.load_s_min, result.load_s_max);
    vec![
        Row::new("prefixes", format!("{}", result.prefixes)),
        Row::new(
            "time to load",
            format!("{:.2} s ({min:.2}–{max:.2})", result.load_s),
        )
        .at_most(
            result.load_s * 1e6 / result.prefixes.max(1) as f64,
            3.0,
            "3 s per million",
        ),
        Row::new(
            "visible to all workers, p50, p99, max",
            result.visible_ms.text(),
        ),
        Row::new(
            "longest gap in 10 ms, p99.9, added",
            format!("{:.0} µs", result.gap_us.p999),
        )
        .at_most(result.gap_us.p999, 100.0, "100 µs"),
        Row::new(
            "  without updates, while loading",
            GapUs::both(&result.quiet_gap_us, &result.loading_gap_us),
        ),
        Row::new(
            "  without updates, the other core busy",
            result.occupied_gap_us.text(),
        ),
        Row::new("throughput", format!("{:.2} Mpps", result.mpps)),
        Row::new("dip while loading", format!("{:.1} %", result.dip_percent)),
        Row::new(
            "tables",
            format!("{:.0} bytes per prefix", result.bytes_per_prefix),
        ),
        Row::new(
            "resident memory, before and after",
            format!(
                "{:.0}, {:.0} MiB; {:.0} bytes per prefix",
                result.memory_before_kib / 1024.0,
                result.memory_after_kib / 1024.0,
                result.resident_bytes_per_prefix
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(load_s: f64, memory_kib: [u64; 2]) -> Round {
        Round {
            load_s,
            prepared_s: 0.1,
            generations: 100,
            quiet: Samples {
                pps: 2e6,
                ..Samples::default()
            },
            occupied: Samples::default(),
            loading: Samples {
                pps: 1e6,
                ..Samples::default()
            },
            visible_ms: VisibleMs {
                p50: load_s * 500.0,
                p99: load_s * 990.0,
                max: load_s * 1_000.0,
            },
            memory_kib,
            table_bytes: 80_000_000,
        }
    }

    #[test]
    fn the_result_says_when_transactions_were_visible_and_what_memory_grew_by() {
        let rounds = [
            round(1.0, [100_000, 200_000]),
            round(3.0, [110_000, 220_000]),
            round(2.0, [120_000, 210_000]),
        ];
        let result = outcome(1_000_000, &rounds);
        let visible = result.visible_ms;
        assert_eq!(
            (visible.p50, visible.p99, visible.max),
            (1_000.0, 1_980.0, 3_000.0)
        );
        assert_eq!(result.memory_before_kib, 110_000.0);
        assert_eq!(result.memory_after_kib, 210_000.0);
        // 100,000 KiB over all prefixes but the 10,000 that were there.
        assert!((result.resident_bytes_per_prefix - 103.43).abs() < 0.01);
        assert_eq!(result.dip_percent, 50.0);
        let value = serde_json::to_value(&result).expect("JSON");
        assert_eq!(value["visible_ms"]["p99"], 1_980.0);
        let texts: Vec<String> = rows(&result).iter().map(|row| format!("{row:?}")).collect();
        let has = |text: &str| texts.iter().any(|row| row.contains(text));
        assert!(has("1000.00, 1980.00, 3000.00 ms"), "{texts:?}");
        assert!(has("107, 205 MiB; 103 bytes per prefix"), "{texts:?}");
    }
}
