//! `dmsc-perf scale`: what a second worker brings, on null ports with a queue per worker.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use comfy_table::Table;
use dmsc_lab::wait;
use serde::Serialize;

use super::child::RouterArgs;
use super::router::Router;
use super::{Carrier, Folder, Mode, Pmd, Size, Traffic, WARM_MS, other_core, rate};
use crate::record::{Progress, Record, spread};

/// Arguments of `scale`.
#[derive(Debug, Clone, Args)]
pub struct ScaleArgs {
    /// Numbers of workers, the first being what the others are compared with
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    workers: Vec<usize>,
    /// What is done with each frame
    #[arg(long, default_value_t = Mode::Mac)]
    mode: Mode,
    /// Prefixes in the table
    #[arg(long, default_value_t = 100_000, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(2..=20_000_000))]
    prefixes: usize,
    /// Bytes of a frame
    #[arg(long, default_value_t = 192, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(128..=1500))]
    frame: usize,
    /// Rounds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    rounds: u64,
    /// Length of each count, ms
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    ms: u64,
    /// Write all figures to FILE as JSON; without FILE: to standard output, instead of the table
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,
}

/// Millions of frames per second by number of workers, in the order of the command line.
#[derive(Debug, Clone, Default, Serialize)]
struct Round {
    mpps: Vec<f64>,
}

#[derive(Debug, Clone, Default, Serialize)]
struct Outcome {
    mode: String,
    workers: Vec<usize>,
    mpps: Vec<f64>,
    /// The rate of each number of workers over that of the first.
    scale: Vec<f64>,
    scale_min: Vec<f64>,
    scale_max: Vec<f64>,
    /// Scale over the quotient of the numbers of workers.
    efficiency: Vec<f64>,
}

/// Measures.
///
/// # Errors
/// When there are fewer cores than workers, or a process ends early.
pub fn run(args: &ScaleArgs) -> anyhow::Result<ExitCode> {
    let there = std::thread::available_parallelism()?.get();
    if args.workers.is_empty() || args.workers.iter().any(|n| !(1..=there).contains(n)) {
        bail!("--workers: 1 to {there} are possible here, one per core");
    }
    let mut record = Record::<Round, Outcome>::new("scale");
    wait::catch_signals()?;
    let dir = Folder::new()?;
    let mut progress = Progress::start("scale", args.workers.len() + args.rounds as usize);
    let mut routers = Vec::new();
    for &workers in &args.workers {
        progress.step(&format!("starting {workers} worker(s)"));
        // From the last core down: the first one has most of everything else.
        let cores: Vec<usize> = (0..workers).map(|n| there - 1 - n).collect();
        other_core(&cores)?;
        let (mut router, _) = Router::start(&RouterArgs {
            dir: dir.0.join(format!("{workers}")),
            pmd: Pmd::Null,
            carrier: Carrier::Udp4,
            prefixes: args.prefixes,
            names: None,
            traffic: Traffic::Uniform,
            draws: 1 << 20,
            frame: Size::Bytes(args.frame),
            interfaces: Vec::new(),
            cores,
            no_huge: false,
            count: None,
            mode: None,
        })?;
        router.pause()?;
        routers.push(router);
    }
    for _ in 0..args.rounds {
        progress.step("round");
        let mut round = Round::default();
        for router in &mut routers {
            router.set(args.mode, args.mode != Mode::Mac)?;
            router.measure(WARM_MS)?;
            let count = router.measure(args.ms)?;
            router.pause()?;
            round.mpps.push(rate(&count, "null")?);
        }
        record.rounds.push(round);
    }
    let result = &mut record.result;
    result.mode = args.mode.to_string();
    for (index, &workers) in args.workers.iter().enumerate() {
        let mpps: Vec<f64> = record.rounds.iter().map(|r| r.mpps[index]).collect();
        let scale: Vec<f64> = record
            .rounds
            .iter()
            .map(|r| r.mpps[index] / r.mpps[0])
            .collect();
        let (Some(mpps), Some(scale)) = (spread(&mpps), spread(&scale)) else {
            continue;
        };
        result.workers.push(workers);
        result.mpps.push(mpps.median);
        result.scale.push(scale.median);
        result.scale_min.push(scale.min);
        result.scale_max.push(scale.max);
        let more = workers as f64 / args.workers[0] as f64;
        result.efficiency.push(scale.median / more);
    }
    record.complete = true;
    record.leave(args.json.as_deref(), |record| table(&record.result))?;
    Ok(ExitCode::SUCCESS)
}

fn table(result: &Outcome) -> Table {
    let mut table = Table::new();
    table.set_header(["workers", "Mpps", "scale", "efficiency"]);
    for (index, workers) in result.workers.iter().enumerate() {
        table.add_row([
            workers.to_string(),
            format!("{:.2}", result.mpps[index]),
            format!(
                "{:.3} ({:.3}–{:.3})",
                result.scale[index], result.scale_min[index], result.scale_max[index]
            ),
            format!("{:.3}", result.efficiency[index]),
        ]);
    }
    table
}
