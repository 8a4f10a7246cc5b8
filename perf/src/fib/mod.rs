//! `dmsc-perf fib`: how fast the name table is, beside tables that others know, in one run.

mod args;
mod columns;
mod draw;
mod hostile;
mod huge;
mod measure;
mod names;
mod report;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use dmsc_dpdk::tsc;
use dmsc_fib::{Fib, HashKey};

pub use args::FibArgs;
use args::{Peer, Traffic};
use columns::{Column, Exact, Levels, LevelsColumn, Ours, TwoStage, TwoStageColumn, build};
use draw::Draws;
use measure::{cpu_time, pin, sample};
use names::Names;
use report::{Outcome, Round};

use crate::record::{Progress, Record};

/// Prefixes if nothing else is said.
const PREFIXES: u32 = 1_000_000;
/// Names that are checked against the plainest table before anything is measured.
const CHECKED: usize = 100_000;

/// Does what the arguments say.
pub fn run(args: &FibArgs) -> anyhow::Result<ExitCode> {
    huge::begin()?;
    pin();
    let mut record = Record::<Round, Outcome>::new("fib");
    if args.traffic == Traffic::Hostile {
        hostile_run(args, &mut record)?;
    } else {
        ordinary_run(args, &mut record)?;
    }
    record.complete = true;
    match &args.json {
        Some(path) => record.write(path)?,
        None => println!("{}", report::text(&record.result, &record.rounds)),
    }
    Ok(ExitCode::SUCCESS)
}

fn ordinary_run(args: &FibArgs, record: &mut Record<Round, Outcome>) -> anyhow::Result<()> {
    let mut progress = Progress::start("fib", 5 + args.rounds as usize);
    progress.step("names");
    let prefixes = match &args.names {
        Some(file) => names::from_file(file, args.prefixes)?,
        None => {
            let mut prefixes = Names::default();
            for i in 0..args.prefixes.unwrap_or(PREFIXES) {
                prefixes.push(dmsc_wire::Domain(1), names::made_up(i).as_name());
            }
            prefixes
        }
    };
    progress.step("draws");
    let draws = draw::draw(&prefixes, args.traffic, args.extra, args.draws, args.seed);
    progress.step("the name table");
    let fib = fill(&prefixes, &mut record.result)?;
    record.result.traffic = args.traffic.word().into();

    progress.step("the tables beside it");
    let levels = Levels::new(&prefixes);
    check(&fib, &levels, &draws)?;
    let two_stage = args
        .peers
        .contains(&Peer::TwoStage)
        .then(|| TwoStage::new(&prefixes));
    let eal = match args.peers.contains(&Peer::RteHash) {
        true => Some(columns::eal_for(prefixes.len())?),
        false => None,
    };
    let mut all: Vec<Box<dyn Column + '_>> = vec![Box::new(Ours::new("ours", &fib, &draws.names))];
    if let Some(eal) = &eal {
        all.push(Box::new(Exact::new(
            eal,
            prefixes.len(),
            &draws.of,
            args.seed,
        )?));
    }
    if args.peers.contains(&Peer::Levels) {
        all.push(Box::new(LevelsColumn::new(&levels, &draws.names)));
    }
    if let Some(two_stage) = &two_stage {
        all.push(Box::new(TwoStageColumn::new(two_stage, &draws.names)));
    }
    rounds(args, &mut all, record, &mut progress);
    let result = &mut record.result;
    for (table, column) in result.tables.iter_mut().zip(&all) {
        let per_prefix = |bytes: usize| bytes as f64 / prefixes.len() as f64;
        table.bytes_per_prefix = column.bytes().map(per_prefix);
    }
    if let Some(ratio) = report::ratio(&record.rounds, "ours", "rte_hash") {
        result.ratio = Some(ratio.median);
        result.ratio_min = Some(ratio.min);
        result.ratio_max = Some(ratio.max);
    }
    Ok(())
}

fn hostile_run(args: &FibArgs, record: &mut Record<Round, Outcome>) -> anyhow::Result<()> {
    let prefixes = args.prefixes.unwrap_or(PREFIXES);
    if args.names.is_some() || prefixes < 100_000 {
        bail!(
            "hostile traffic needs prefixes of every depth: 100000 or more that are made up, so --prefixes N without --names"
        );
    }
    let mut progress = Progress::start("fib, hostile", 2 + args.rounds as usize);
    progress.step("names, climbing");
    let draws = args.draws.min(1_000_000);
    let hostile = hostile::prepare(prefixes, draws, args.seed)?;
    progress.step("the name table");
    let fib = fill(&hostile.prefixes, &mut record.result)?;
    record.result.traffic = args.traffic.word().into();
    let mut all: Vec<Box<dyn Column + '_>> =
        vec![Box::new(Ours::new("ordinary", &fib, &hostile.ordinary))];
    for (word, names) in &hostile.attacks {
        all.push(Box::new(Ours::new(word, &fib, names)));
    }
    rounds(args, &mut all, record, &mut progress);
    let worst = hostile
        .attacks
        .iter()
        .filter_map(|(word, _)| report::ratio(&record.rounds, "ordinary", word))
        .max_by(|a, b| a.median.total_cmp(&b.median));
    let result = &mut record.result;
    result.hostile_ratio = worst.map(|worst| worst.median);
    result.hostile_ratio_min = worst.map(|worst| worst.min);
    result.hostile_ratio_max = worst.map(|worst| worst.max);
    Ok(())
}

/// Builds the table and says what it takes.
fn fill(prefixes: &Names, result: &mut Outcome) -> anyhow::Result<Fib> {
    let before = huge::resident();
    let start = cpu_time();
    let fib = build(prefixes, HashKey::random())?;
    result.build_s = (cpu_time() - start).as_secs_f64();
    let after = huge::resident();
    let per_prefix = |bytes: u64| bytes as f64 / prefixes.len() as f64;
    result.resident_bytes_per_prefix = per_prefix(after.bytes.saturating_sub(before.bytes));
    result.huge_page_share = after.huge.saturating_sub(before.huge) as f64
        / after.bytes.saturating_sub(before.bytes).max(1) as f64;
    result.prefixes = fib.len();
    result.bytes_per_prefix = per_prefix(fib.bytes() as u64);
    (result.mean_name_bytes, result.mean_components) = prefixes.means();
    Ok(fib)
}

/// The name table must say what the plainest one says.
fn check(fib: &Fib, levels: &Levels, draws: &Draws) -> anyhow::Result<()> {
    for key in draws.names.iter().take(CHECKED) {
        let found = fib
            .lookup(key.domain, key.name)
            .and_then(|found| Some((found.value.local?.0, found.components)));
        let expected = levels.lookup(key.domain, key.name);
        if found != expected {
            bail!(
                "the name table is wrong: {} of domain {} gave {found:?} instead of {expected:?} (prefix, components)",
                key.name,
                key.domain
            );
        }
    }
    Ok(())
}

fn rounds(
    args: &FibArgs,
    all: &mut [Box<dyn Column + '_>],
    record: &mut Record<Round, Outcome>,
    progress: &mut Progress,
) {
    let (start, tsc_start) = (Instant::now(), tsc());
    for number in 1..=args.rounds {
        progress.step(&format!("round {number} of {}", args.rounds));
        let time = Duration::from_millis(args.milliseconds);
        let samples = all
            .iter_mut()
            .map(|column| sample(column.as_mut(), time))
            .collect();
        record.rounds.push(Round { samples });
    }
    let tsc_hz = (tsc() - tsc_start) as f64 / start.elapsed().as_secs_f64();
    let result = &mut record.result;
    result.tables = report::tables(&record.rounds, tsc_hz);
    if let Some(first) = result.tables.first() {
        (result.lookups_per_s, result.ns, result.cycles) =
            (first.lookups_per_s, first.ns, first.cycles);
    }
}
