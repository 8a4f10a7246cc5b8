//! `dmsc-perf churn`: routes that come and go while a router forwards.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use dmsc_proto::v1::{self, op::Op};
use serde::Serialize;

use crate::record::{Progress, Record, VisibleMs, spread};
use crate::rig::{
    Bench, Common, GapUs, Looped, Plan, Sampler, Samples, Traffic, apply_paced, domain, prefix,
    route,
};
use crate::table::{self, Row};

/// Calls per second that are resolved by name.
const CALLS: u64 = 100_000;
/// Before the first sample.
const WARM_UP: Duration = Duration::from_secs(1);
/// A prefix that was deleted comes back so many updates later.
const AWAY: u64 = 50_000;

/// Arguments of `dmsc-perf churn`.
#[derive(Debug, Clone, Args)]
pub struct ChurnArgs {
    /// Route updates per second, half of them inserts and half deletes
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(10..=2_000_000))]
    pub updates_per_s: u64,
    /// Updates of a transaction
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub batch: u64,
    /// Prefixes that are there
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(200_000..=20_000_000))]
    pub prefixes: u64,
    /// Updates go on so long, all rounds together. Before and after each round there are none for a while, and once more before it, while the
    /// other core runs an empty loop: all of it takes some three times as long
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// Each phase without updates, s [default: as long as the updates of a round, 1 to 600]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub quiet_seconds: Option<u64>,
    #[command(flatten)]
    pub common: Common,
}

/// Updates between two quiet phases.
#[derive(Debug, Serialize)]
struct Round {
    /// Before, and after.
    quiet: [Samples; 2],
    /// Without updates, the other core busy with something else.
    occupied: Samples,
    churning: Samples,
    visible_ms: VisibleMs,
    updates_per_s: f64,
    generations_per_s: f64,
    /// Throughput lost, against the mean of both quiet phases.
    dip_percent: f64,
    /// Resident memory at the end, KiB.
    memory_kib: u64,
}

/// Medians over the rounds.
#[derive(Debug, Default, Serialize)]
struct Outcome {
    prefixes: u64,
    batch: u64,
    updates_per_s: f64,
    generations_per_s: f64,
    dip_percent: f64,
    dip_percent_min: f64,
    dip_percent_max: f64,
    /// While updates come, less the same without.
    gap_us: GapUs,
    quiet_gap_us: GapUs,
    /// Without updates, while the core of everything but the worker is busy with an empty loop: what of the gaps is the machine's.
    occupied_gap_us: GapUs,
    churning_gap_us: GapUs,
    visible_ms: VisibleMs,
    /// From before the first update to the end.
    memory_grown_percent: f64,
    mpps: f64,
}

/// Runs it.
///
/// # Errors
/// When it cannot be run to its end; what was measured until then is written.
pub fn run(args: &ChurnArgs) -> anyhow::Result<ExitCode> {
    let bench = Bench::new(&args.common, "churn")?;
    let mut record = Record::<Round, Outcome>::new("churn");
    let mut before_kib = 0;
    let result = bench.run(all(&bench, args, &mut record, &mut before_kib));
    record.complete = result.is_ok();
    record.result = outcome(args, &record.rounds, before_kib);
    table::show(&args.common, &record, &rows(&record.result))?;
    result.map(|()| ExitCode::SUCCESS)
}

async fn all(
    bench: &Bench,
    args: &ChurnArgs,
    record: &mut Record<Round, Outcome>,
    before_kib: &mut u64,
) -> anyhow::Result<()> {
    let mut progress = Progress::start("churn", args.common.rounds as usize + 1);
    let traffic = Traffic {
        prefixes: args.prefixes,
        calls_per_s: CALLS,
    };
    let rig = Looped::start(bench, "churn", traffic).await?;
    bench.pause(WARM_UP).await?;
    progress.step(&format!("{} prefixes are loaded", args.prefixes));
    *before_kib = rig.dataplane.rss_kib()?;
    let seconds = args.seconds as f64 / f64::from(args.common.rounds);
    let plan = Plan {
        per_s: args.updates_per_s as f64 / args.batch as f64,
        count: (args.updates_per_s as f64 * seconds / args.batch as f64).ceil() as u64,
    };
    // The longest of more windows is longer, so all phases have as many.
    let asked = args.quiet_seconds.map(Duration::from_secs);
    let time = asked.unwrap_or(Duration::from_secs_f64(seconds.clamp(1.0, 600.0)));
    let mut quiet = rig.quiet(bench, time).await?;
    let mut done = 0;
    for number in 0..args.common.rounds {
        let occupied = rig.occupied(bench, time).await?;
        let sampler = Sampler::start(rig.client());
        let mut updates = Updates {
            next: done,
            prefixes: args.prefixes,
        };
        let batch = args.batch;
        let applied = apply_paced(rig.client(), plan, move || {
            (0..batch).map(|_| updates.next()).collect()
        })
        .await?;
        done += plan.count * args.batch;
        let churning = sampler.stop().await?;
        let memory_kib = rig.dataplane.rss_kib()?;
        bench.check()?;
        let after = rig.quiet(bench, time).await?;
        let took = applied.time.as_secs_f64();
        let round = Round {
            quiet: [quiet, after],
            occupied,
            churning,
            visible_ms: VisibleMs::of(&applied.visible_us),
            updates_per_s: (applied.transactions * args.batch) as f64 / took,
            generations_per_s: applied.generations as f64 / took,
            dip_percent: 100.0 * (1.0 - 2.0 * churning.pps / (quiet.pps + after.pps).max(1.0)),
            memory_kib,
        };
        progress.step(&format!(
            "round {} of {}: {:.0} updates/s, visible p99 {:.2} ms, dip {:.1} %",
            number + 1,
            args.common.rounds,
            round.updates_per_s,
            round.visible_ms.p99,
            round.dip_percent
        ));
        record.rounds.push(round);
        quiet = after;
    }
    rig.stop().await
}

/// Deletes and inserts by turns: every prefix is deleted once until all have been, and comes back [`AWAY`] updates later.
struct Updates {
    next: u64,
    prefixes: u64,
}

impl Updates {
    fn next(&mut self) -> v1::Op {
        let turn = self.next / 2;
        let inserts = self.next % 2 == 1;
        self.next += 1;
        // What is to come back first is put once more though it is there: an update like any other.
        let back = turn.wrapping_sub(AWAY / 2);
        match (inserts, turn < AWAY / 2) {
            (true, true) => route(self.place(self.prefixes - 1 - turn)),
            (true, false) => route(self.place(back)),
            (false, _) => v1::Op {
                op: Some(Op::DeletePrefix(v1::PrefixKey {
                    domain: domain(),
                    name: prefix(self.place(turn)).as_bytes().to_vec(),
                })),
            },
        }
    }

    /// The prefix whose turn it is: all of them in an order without neighbours.
    fn place(&self, turn: u64) -> u64 {
        // A multiple of no prime of any number of prefixes that people ask for, so that it goes through all of them.
        const STRIDE: u64 = 1_000_003 * 7_919;
        ((u128::from(turn) * u128::from(STRIDE)) % u128::from(self.prefixes)) as u64
    }
}

fn outcome(args: &ChurnArgs, rounds: &[Round], before_kib: u64) -> Outcome {
    let median = |of: &dyn Fn(&Round) -> f64| {
        let values: Vec<f64> = rounds.iter().map(of).collect();
        spread(&values).map_or(0.0, |s| s.median)
    };
    let dips: Vec<f64> = rounds.iter().map(|round| round.dip_percent).collect();
    let (Some(dip), Some(last)) = (spread(&dips), rounds.last()) else {
        return Outcome::default();
    };
    // As many phases of one kind as of the other: of more, the longest of all would be longer.
    let quiet: Vec<GapUs> = rounds.iter().map(|round| round.quiet[0].gap_us).collect();
    let churning: Vec<GapUs> = rounds.iter().map(|round| round.churning.gap_us).collect();
    let occupied: Vec<GapUs> = rounds.iter().map(|round| round.occupied.gap_us).collect();
    let (quiet, churning) = (GapUs::median(&quiet), GapUs::median(&churning));
    let visible: Vec<VisibleMs> = rounds.iter().map(|round| round.visible_ms).collect();
    Outcome {
        prefixes: args.prefixes,
        batch: args.batch,
        updates_per_s: median(&|r| r.updates_per_s),
        generations_per_s: median(&|r| r.generations_per_s),
        dip_percent: dip.median,
        dip_percent_min: dip.min,
        dip_percent_max: dip.max,
        gap_us: churning.less(&quiet),
        quiet_gap_us: quiet,
        occupied_gap_us: GapUs::median(&occupied),
        churning_gap_us: churning,
        visible_ms: VisibleMs::median(&visible),
        memory_grown_percent: 100.0 * (last.memory_kib as f64 / before_kib.max(1) as f64 - 1.0),
        mpps: median(&|r| r.quiet[0].pps / 1e6),
    }
}

fn rows(result: &Outcome) -> Vec<Row> {
    let visible = result.visible_ms;
    let (limit, text) = if result.updates_per_s <= 1_500.0 {
        (1.0, "1 ms")
    } else {
        (10.0, "10 ms")
    };
    vec![
        Row::new("prefixes", format!("{}", result.prefixes)),
        Row::new(
            "updates per second",
            format!(
                "{:.0}, {} to a transaction, {:.0} generations/s",
                result.updates_per_s, result.batch, result.generations_per_s
            ),
        ),
        Row::new("visible to all workers, p50, p99, max", visible.text()).at_most(
            visible.p99,
            limit,
            &format!("{text} at p99"),
        ),
        Row::new(
            "dip",
            format!(
                "{:.1} % ({:.1}–{:.1})",
                result.dip_percent, result.dip_percent_min, result.dip_percent_max
            ),
        )
        .at_most(result.dip_percent, 5.0, "5 %"),
        Row::new(
            "longest gap in 10 ms, p99.9, added",
            format!("{:.0} µs", result.gap_us.p999),
        )
        .at_most(result.gap_us.p999, 100.0, "100 µs"),
        Row::new(
            "  without updates, with them",
            GapUs::both(&result.quiet_gap_us, &result.churning_gap_us),
        ),
        Row::new(
            "  without updates, the other core busy",
            result.occupied_gap_us.text(),
        ),
        Row::new(
            "memory grown",
            format!("{:.1} %", result.memory_grown_percent),
        )
        .at_most(result.memory_grown_percent, 5.0, "5 %"),
        Row::new("throughput", format!("{:.2} Mpps", result.mpps)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn half_of_the_updates_delete_what_is_there_and_half_bring_it_back() {
        let prefixes = 200_000;
        let mut updates = Updates { next: 0, prefixes };
        let mut there: HashSet<Vec<u8>> = (0..prefixes)
            .map(|i| prefix(i).as_bytes().to_vec())
            .collect();
        for number in 0..150_000 {
            match updates.next().op {
                Some(Op::PutPrefix(p)) => {
                    assert_eq!(number % 2, 1);
                    there.insert(p.name);
                }
                Some(Op::DeletePrefix(p)) => assert!(there.remove(&p.name), "{number}"),
                other => panic!("{other:?}"),
            }
        }
        assert!(there.len() as u64 >= prefixes - AWAY);
    }
}
