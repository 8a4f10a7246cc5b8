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
use dmsc_dpdk::{Eal, tsc};
use dmsc_fib::{Fib, Habit, HashKey, LookupKey, MAX_BURST};

pub use args::FibArgs;
use args::{Peer, Traffic};
use columns::{Exact, Filled, Levels, LevelsColumn, Ours, TwoStage, TwoStageColumn, build};
use draw::Draws;
use measure::{pin, sample, timed};
use names::Names;
use report::{Outcome, Round};

use crate::record::{Progress, Record};

/// Fewest prefixes of which some have every depth.
const HOSTILE_PREFIXES: u32 = 100_000;
/// Names that are checked against the plainest table before anything is measured.
const CHECKED: usize = 100_000;

/// Does what the arguments say.
///
/// # Errors
/// When it cannot be run to its end; what was found until then is written.
pub fn run(args: &FibArgs) -> anyhow::Result<ExitCode> {
    if args.traffic == Traffic::Hostile
        && (args.names.is_some() || args.prefixes() < HOSTILE_PREFIXES)
    {
        bail!(
            "hostile traffic needs prefixes of every depth: {HOSTILE_PREFIXES} or more that are made up, so --prefixes N without --names"
        );
    }
    huge::begin()?;
    pin();
    let mut record = Record::<Round, Outcome>::new("fib");
    record.result.traffic = args.traffic.word().into();
    let result = match args.traffic {
        Traffic::Hostile => hostile_run(args, &mut record),
        _ => ordinary_run(args, &mut record),
    };
    record.complete = result.is_ok();
    record.leave(args.json.as_deref(), |record| {
        report::text(&record.result, &record.rounds)
    })?;
    result.map(|()| ExitCode::SUCCESS)
}

fn ordinary_run(args: &FibArgs, record: &mut Record<Round, Outcome>) -> anyhow::Result<()> {
    let mut progress = Progress::start("fib", 5 + args.rounds as usize);
    progress.step("names");
    let prefixes = match &args.names {
        Some(file) => names::from_file(file, args.prefixes)?,
        None => {
            let mut prefixes = Names::default();
            for i in 0..args.prefixes() {
                prefixes.push(dmsc_wire::Domain(1), names::made_up(i).as_name());
            }
            prefixes
        }
    };
    // What may be missing is asked for before anybody waits for tables.
    let eal = eal(args, prefixes.len())?;
    progress.step("draws");
    let draws = draw::draw(&prefixes, args.traffic, args.extra, args.draws, args.seed);
    progress.step("the name table");
    let fib = fill(&prefixes, &mut record.result)?;

    progress.step("the tables beside it");
    let (levels, levels_s) = timed(|| Levels::new(&prefixes));
    check(&fib, &levels, &draws)?;
    let two_stage = args
        .peers
        .contains(&Peer::TwoStage)
        .then(|| timed(|| TwoStage::new(&prefixes)));
    let ours = Ours::new("ours", &fib, &draws.names);
    let mut all = vec![Filled::new(ours, record.result.build_s)];
    if let Some(eal) = &eal {
        let (exact, build_s) = Exact::new(eal, prefixes.len(), &draws.of, args.seed)?;
        all.push(Filled::new(exact, build_s));
    }
    if args.peers.contains(&Peer::Levels) {
        let levels = LevelsColumn::new("levels", &levels, &draws.names);
        all.push(Filled::new(levels, levels_s));
    }
    if let Some((two_stage, build_s)) = &two_stage {
        let two_stage = TwoStageColumn::new("two-stage", two_stage, &draws.names);
        all.push(Filled::new(two_stage, *build_s));
    }
    rounds(args, &mut all, record, &mut progress);
    let result = &mut record.result;
    for (table, filled) in result.tables.iter_mut().zip(&all) {
        table.fill(filled, prefixes.len());
    }
    result.compare(report::ratio(&record.rounds, "ours", "rte_hash"));
    Ok(())
}

fn hostile_run(args: &FibArgs, record: &mut Record<Round, Outcome>) -> anyhow::Result<()> {
    let mut progress = Progress::start("fib, hostile", 3 + args.rounds as usize);
    progress.step("names, climbing");
    let draws = args.draws.min(1_000_000);
    let components = usize::from(args.components);
    let hostile = hostile::prepare(args.prefixes(), draws, components, args.seed)?;
    let has = |peer| args.peers.contains(&peer);
    let eal = eal(args, hostile.prefixes.len())?;
    progress.step("the name table");
    let fib = fill(&hostile.prefixes, &mut record.result)?;
    progress.step("the tables beside it");
    let levels = has(Peer::Levels).then(|| timed(|| Levels::new(&hostile.prefixes)));
    let two_stage = has(Peer::TwoStage).then(|| timed(|| TwoStage::new(&hostile.prefixes)));
    // One table, under different names.
    let build_s = record.result.build_s;
    let ordinary = Ours::new("ordinary", &fib, &hostile.ordinary);
    let mut all = vec![Filled::new(ordinary, build_s)];
    for (word, names) in &hostile.attacks {
        all.push(Filled::new(Ours::new(word, &fib, names), build_s));
    }
    // The others under ordinary names, and under an attack, if they look at names at all.
    let (ordinary, [(_, deep), ..]) = (&hostile.ordinary, &hostile.attacks);
    if let Some(eal) = &eal {
        let keys = hostile.prefixes.len();
        let (exact, build_s) = Exact::new(eal, keys, &hostile.of, args.seed)?;
        all.push(Filled::new(exact, build_s));
    }
    if let Some((levels, build_s)) = &levels {
        for (word, names) in [("levels", ordinary), ("levels, deep", deep)] {
            all.push(Filled::new(
                LevelsColumn::new(word, levels, names),
                *build_s,
            ));
        }
    }
    if let Some((table, build_s)) = &two_stage {
        for (word, names) in [("two-stage", ordinary), ("two-stage, deep", deep)] {
            all.push(Filled::new(
                TwoStageColumn::new(word, table, names),
                *build_s,
            ));
        }
    }
    rounds(args, &mut all, record, &mut progress);
    for (table, filled) in record.result.tables.iter_mut().zip(&all) {
        table.fill(filled, hostile.prefixes.len());
    }
    let worst = hostile
        .attacks
        .iter()
        .filter_map(|(word, _)| report::ratio(&record.rounds, "ordinary", word))
        .max_by(|a, b| a.median.total_cmp(&b.median));
    let result = &mut record.result;
    result.compare(report::ratio(&record.rounds, "ordinary", "rte_hash"));
    result.hostile_components = Some(args.components);
    result.hostile_ratio = worst.map(|worst| worst.median);
    result.hostile_ratio_min = worst.map(|worst| worst.min);
    result.hostile_ratio_max = worst.map(|worst| worst.max);
    Ok(())
}

/// DPDK for a table of `keys` keys, if `rte_hash` is to be measured.
fn eal(args: &FibArgs, keys: usize) -> anyhow::Result<Option<Eal>> {
    let wanted = args.peers.contains(&Peer::RteHash);
    let eal = wanted.then(|| columns::eal_for(keys)).transpose()?;
    // DPDK puts the thread that starts it on a core of its choice.
    pin();
    Ok(eal)
}

/// Builds the table and says what it takes.
fn fill(prefixes: &Names, result: &mut Outcome) -> anyhow::Result<Fib> {
    let before = huge::resident();
    let (fib, build_s) = timed(|| build(prefixes, HashKey::random()));
    let fib = fib?;
    result.build_s = build_s;
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

/// The name table must say what the plainest one says, asked as it is when it is measured.
fn check(fib: &Fib, levels: &Levels, draws: &Draws) -> anyhow::Result<()> {
    let all: Vec<LookupKey<'_>> = draws.names.iter().take(CHECKED).collect();
    let mut habit = Habit::default();
    for keys in all.chunks(MAX_BURST) {
        let mut burst = [None; MAX_BURST];
        fib.lookup_burst_as(&mut habit, keys, &mut burst);
        for (key, found) in keys.iter().zip(burst) {
            let found = found.and_then(|found| Some((found.value.local?.0, found.components)));
            let expected = levels.lookup(key.domain, key.name);
            if found != expected {
                bail!(
                    "the name table is wrong: {} of domain {} gave {found:?} instead of {expected:?} (prefix, components)",
                    key.name,
                    key.domain
                );
            }
        }
    }
    Ok(())
}

fn rounds(
    args: &FibArgs,
    all: &mut [Filled<'_>],
    record: &mut Record<Round, Outcome>,
    progress: &mut Progress,
) {
    let (start, tsc_start) = (Instant::now(), tsc());
    for number in 1..=args.rounds {
        progress.step(&format!("round {number} of {}", args.rounds));
        let time = Duration::from_millis(args.milliseconds);
        let samples = all
            .iter_mut()
            .map(|filled| sample(filled.column.as_mut(), time))
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
