//! `dmsc-perf failover`: a next hop dies without a word, over real veth.

mod rig;

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use crate::record::{Progress, Record, spread};
use crate::rig::{Bench, Common};
use crate::table::{self, Row};

/// Largest burst of a worker.
const BURST: f64 = 32.0;

/// Arguments of `dmsc-perf failover`.
#[derive(Debug, Clone, Args)]
pub struct FailoverArgs {
    /// Packets per second, with sequence numbers
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1_000..=500_000))]
    pub rate: u64,
    /// Flows; half of them are to a gateway over two next hops, half to a name that two gateways serve
    #[arg(long, default_value_t = 2_048, value_parser = clap::value_parser!(u32).range(16..=65_536))]
    pub flows: u32,
    #[command(flatten)]
    pub common: Common,
}

/// One death.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Round {
    /// From the last hello until the last packet to the dead neighbour, ms.
    detection_ms: f64,
    /// In hello intervals.
    detection_intervals: f64,
    /// Sent after the death and not arrived at a living neighbour.
    packets_lost: u64,
    /// What went to the neighbour before it died, packets/s.
    dead_rate: f64,
    /// Rate × detection + one burst.
    packets_lost_limit: f64,
    /// Flows of the living neighbour that did not all stay there.
    flows_moved: u64,
    /// Flows of the dead one that came to the living one.
    flows_rescued: u64,
    /// Flows of the dead one.
    flows_of_dead: u64,
    /// Packets that were really sent, per second.
    sent_per_s: f64,
}

/// Medians over the rounds.
#[derive(Debug, Default, Serialize)]
struct Outcome {
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

/// Runs it.
///
/// # Errors
/// When it cannot be run to its end; what was measured until then is written.
pub fn run(args: &FailoverArgs) -> anyhow::Result<ExitCode> {
    let bench = Bench::new(&args.common, "failover")?;
    let mut record = Record::<Round, Outcome>::new("failover");
    let mut progress = Progress::start("failover", args.common.rounds as usize);
    let result = bench.run(async {
        let mut rig = rig::Rig::start(&bench, args).await?;
        for number in 0..args.common.rounds {
            let round = rig.kill(&bench, args).await?;
            progress.step(&format!(
                "round {} of {}: {:.1} intervals, {} lost",
                number + 1,
                args.common.rounds,
                round.detection_intervals,
                round.packets_lost
            ));
            record.rounds.push(round);
        }
        rig.stop().await
    });
    record.complete = result.is_ok();
    record.result = outcome(&record.rounds);
    table::show(&args.common, &record, &rows(&record.result))?;
    result.map(|()| ExitCode::SUCCESS)
}

fn outcome(rounds: &[Round]) -> Outcome {
    let of = |get: &dyn Fn(&Round) -> f64| {
        let values: Vec<f64> = rounds.iter().map(get).collect();
        spread(&values).map_or((0.0, 0.0), |s| (s.median, s.max))
    };
    let intervals = of(&|r| r.detection_intervals);
    let lost = of(&|r| r.packets_lost as f64);
    Outcome {
        detection_ms: of(&|r| r.detection_ms).0,
        detection_intervals: intervals.0,
        detection_intervals_max: intervals.1,
        packets_lost: lost.0,
        packets_lost_max: lost.1,
        packets_lost_limit: of(&|r| r.packets_lost_limit).0,
        packets_lost_of_limit: of(&|r| r.packets_lost as f64 / r.packets_lost_limit.max(1.0)).1,
        flows_moved: rounds.iter().map(|r| r.flows_moved).sum(),
        flows_rescued: of(&|r| r.flows_rescued as f64).0,
        flows_of_dead: of(&|r| r.flows_of_dead as f64).0,
        sent_per_s: of(&|r| r.sent_per_s).0,
    }
}

fn rows(result: &Outcome) -> Vec<Row> {
    vec![
        Row::new("packets per second", format!("{:.0}", result.sent_per_s)),
        Row::new(
            "detection after the last hello",
            format!(
                "{:.0} ms = {:.2} intervals (at most {:.2})",
                result.detection_ms, result.detection_intervals, result.detection_intervals_max
            ),
        )
        .at_most(result.detection_intervals_max, 3.5, "3.5 intervals"),
        Row::new(
            "packets lost",
            format!(
                "{:.0} (at most {:.0}) of {:.0} = rate × detection + {BURST}",
                result.packets_lost, result.packets_lost_max, result.packets_lost_limit
            ),
        )
        .at_most(result.packets_lost_of_limit, 1.0, "that, in every round"),
        Row::new(
            "flows of the living moved",
            format!("{}", result.flows_moved),
        )
        .at_most(result.flows_moved as f64, 0.0, "0"),
        Row::new(
            "flows of the dead rescued",
            format!("{:.0} of {:.0}", result.flows_rescued, result.flows_of_dead),
        ),
    ]
}
