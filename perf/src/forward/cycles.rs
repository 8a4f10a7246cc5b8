//! `dmsc-perf cycles`: instructions per packet, counted by callgrind and the same on every run, and cycles by station from a build that
//! measures.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, bail};
use clap::{ArgGroup, Args};
use comfy_table::Table;
use dmsc_dataplane::meter::Station;
use dmsc_lab::wait;
use serde::Serialize;

use super::baseline::{Baseline, taken_with};
use super::child::RouterArgs;
use super::router::{Router, words};
use super::{Carrier, Folder, Mode, Pmd, Size, Traffic, WARM_MS, other_core};
use crate::record::{Progress, Record, Spread, spread};

/// Frames that are counted.
const FRAMES: u64 = 200_000;
/// Prefixes under callgrind, which is some fifty times slower.
const PREFIXES: usize = 2_000;
/// The function whose instructions are counted, all that it calls included.
const COUNTED: &str = "dmsc_dataplane::worker::Worker::run*";
/// The function within it that is this program's own: not counted.
const STAMP: &str = "*Gear>::received*";
/// Modes in the order of the table.
const MODES: [Mode; 3] = [Mode::Mac, Mode::Gateway, Mode::Name];

/// Arguments of `cycles`.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("measured").args(["stations", "stations_build"]))]
pub struct CyclesArgs {
    /// Compare with the instructions in FILE; more than 3 % above is a failure
    #[arg(long, value_name = "FILE", conflicts_with = "stations")]
    gate: Option<PathBuf>,
    /// Write the instructions to FILE, for --gate
    #[arg(long, value_name = "FILE", conflicts_with = "stations")]
    baseline: Option<PathBuf>,
    /// Cycles by station instead of instructions; needs a build with `--features cycles`
    #[arg(long)]
    stations: bool,
    /// Cycles by station beside the instructions, of the build in FILE, which `make perf-stations` makes: target/release/dmsc-perf-stations
    #[arg(long, value_name = "FILE")]
    stations_build: Option<PathBuf>,
    /// Kind of both ports while cycles are counted
    #[arg(long, default_value_t = Pmd::Memif, requires = "measured")]
    pmd: Pmd,
    /// Prefixes in the table while cycles are counted
    #[arg(long, default_value_t = 1_000_000, requires = "measured")]
    prefixes: usize,
    /// How often names are called while cycles are counted
    #[arg(long, default_value_t = Traffic::Uniform, requires = "measured")]
    traffic: Traffic,
    /// Core that forwards while cycles are counted
    #[arg(long, default_value_t = 1, requires = "measured")]
    core: usize,
    /// Times that each mode's cycles are counted for a second; medians are shown
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1_000), requires = "measured")]
    rounds: u64,
    /// Write all figures to FILE as JSON; without FILE: to standard output, instead of the table
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,
}

/// One mode as measured.
#[derive(Debug, Clone, Serialize)]
struct Round {
    mode: Mode,
    /// Instructions per packet, without the stamp's.
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<f64>,
    /// TSC cycles per packet by station.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    cycles: BTreeMap<&'static str, f64>,
    /// Nanoseconds per packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    ns: Option<f64>,
}

/// What came out.
#[derive(Debug, Clone, Default, Serialize)]
struct Outcome {
    /// Instructions per packet by mode.
    instructions: BTreeMap<String, f64>,
    /// Those of the baseline.
    baseline: BTreeMap<String, f64>,
    /// Cycles per packet by mode and station.
    cycles: BTreeMap<String, BTreeMap<&'static str, Spread>>,
    /// Nanoseconds per packet of the build that measures, by mode.
    ns: BTreeMap<String, Spread>,
    /// Nothing is more than 3 % above the baseline.
    within: Option<bool>,
}

/// Measures.
///
/// # Errors
/// When valgrind is missing, or a process ends early.
pub fn run(args: &CyclesArgs) -> anyhow::Result<ExitCode> {
    let baseline = args.gate.as_deref().map(Baseline::read).transpose()?;
    let mut record = Record::<Round, Outcome>::new("cycles");
    wait::catch_signals()?;
    if let Some(program) = args
        .stations_build
        .as_deref()
        .filter(|file| !file.is_file())
    {
        bail!(
            "--stations-build {}: there is no such file; `make perf-stations` makes target/release/dmsc-perf-stations",
            program.display()
        );
    }
    let result = measure(args, &mut record);
    record.complete = result.is_ok();
    let found = record.result.instructions.clone();
    let taken_with = taken_with(&record.machine);
    let counted = baseline.as_ref().filter(|_| found.len() == MODES.len());
    let is_within = counted.map(|b| b.judge(&found, &taken_with));
    record.result.within = is_within;
    record.result.baseline = baseline.map_or_else(BTreeMap::new, |b| b.instructions);
    if let Some(path) = args.baseline.as_ref().filter(|_| record.complete) {
        let baseline = Baseline {
            instructions: found,
            taken_with,
        };
        baseline.write(path)?;
    }
    let left = record.leave(args.json.as_deref(), table);
    result?;
    left?;
    Ok(ExitCode::from(u8::from(is_within == Some(false))))
}

fn measure(args: &CyclesArgs, record: &mut Record<Round, Outcome>) -> anyhow::Result<()> {
    if args.stations {
        return stations(args, &std::env::current_exe()?, record);
    }
    instructions(record)?;
    match &args.stations_build {
        Some(program) => stations(args, program, record),
        None => Ok(()),
    }
}

fn router(dir: PathBuf, pmd: Pmd, prefixes: usize, core: usize) -> RouterArgs {
    RouterArgs {
        dir,
        pmd,
        carrier: Carrier::Udp4,
        prefixes,
        names: None,
        traffic: Traffic::Uniform,
        draws: if pmd == Pmd::Null { 16_384 } else { 4_194_304 },
        frame: Size::Bytes(192),
        interfaces: Vec::new(),
        cores: vec![core],
        no_huge: false,
        count: None,
        mode: None,
    }
}

fn instructions(record: &mut Record<Round, Outcome>) -> anyhow::Result<()> {
    let dir = Folder::new()?;
    let core = other_core(&[])?;
    let mut progress = Progress::start("cycles", 1);
    progress.step("three modes under callgrind");
    // Instructions do not depend on what else runs: all at once, as far as there are cores.
    let counts = std::thread::scope(|scope| {
        let dir = &dir.0;
        MODES
            .map(|mode| scope.spawn(move || instructions_of(mode, dir, core)))
            .map(|count| count.join().unwrap_or_else(|_| bail!("a thread panicked")))
    });
    for (mode, each) in MODES.into_iter().zip(counts) {
        let each = each?;
        record.rounds.push(Round {
            mode,
            instructions: Some(each),
            cycles: BTreeMap::new(),
            ns: None,
        });
        record.result.instructions.insert(mode.to_string(), each);
    }
    Ok(())
}

/// Instructions per packet in one mode.
fn instructions_of(mode: Mode, dir: &Path, core: usize) -> anyhow::Result<f64> {
    let mut args = router(dir.join(mode.to_string()), Pmd::Null, PREFIXES, core);
    (args.no_huge, args.count, args.mode) = (true, Some(FRAMES), Some(mode));
    std::fs::create_dir_all(&args.dir)?;
    let out = args.dir.join("callgrind.out");
    let log = std::fs::File::create(args.dir.join("router.log"))?;
    let status = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(format!("--toggle-collect={COUNTED}"))
        // Where it is called counting is on, so it goes off, and on again.
        .arg(format!("--toggle-collect={STAMP}"))
        .arg(std::env::current_exe()?)
        .arg("forward-router")
        .args(words(&args))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .status()
        .context("valgrind does not start: `apt-get install valgrind`")?;
    let text = std::fs::read_to_string(&out).unwrap_or_default();
    let total = text.lines().find_map(|line| {
        let rest = line.strip_prefix("totals:")?;
        rest.split_whitespace().next()?.parse::<u64>().ok()
    });
    let Some(total) = total.filter(|total| *total > 0 && status.success()) else {
        let log = std::fs::read_to_string(args.dir.join("router.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        bail!(
            "callgrind counted nothing in mode {mode} ({status}):\n{}",
            lines[lines.len().saturating_sub(8)..].join("\n")
        );
    };
    Ok(total as f64 / FRAMES as f64)
}

fn stations(
    args: &CyclesArgs,
    program: &Path,
    record: &mut Record<Round, Outcome>,
) -> anyhow::Result<()> {
    other_core(&[args.core])?;
    let dir = Folder::new()?;
    let mut progress = Progress::start("cycles", 1 + args.rounds as usize * MODES.len());
    progress.step(&format!("loading {} prefixes", args.prefixes));
    let mut started = router(dir.0.join("router"), args.pmd, args.prefixes, args.core);
    started.traffic = args.traffic;
    let (mut router, _) = Router::start_by(program, &started)
        .with_context(|| format!("{} does not start", program.display()))?;
    for round in 1..=args.rounds {
        for mode in MODES {
            progress.step(&format!("round {round}, mode {mode}"));
            router.set(mode, true)?;
            router.measure(WARM_MS)?;
            let count = router.measure(1_000)?;
            let Some(cycles) = count.stations else {
                bail!(
                    "{} does not measure stations: `make perf-stations` builds target/release/dmsc-perf-stations, which does",
                    program.display()
                );
            };
            let packets = count.packets.max(1) as f64;
            let cycles = Station::ALL
                .iter()
                .zip(cycles)
                .map(|(station, cycles)| (station.name(), cycles as f64 / packets))
                .collect();
            record.rounds.push(Round {
                mode,
                instructions: None,
                cycles,
                ns: Some(count.ns as f64 / packets),
            });
        }
    }
    for mode in MODES {
        let rounds = record.rounds.iter().filter(|round| round.mode == mode);
        let all_of = |what: &dyn Fn(&Round) -> Option<f64>| {
            let all: Vec<f64> = rounds.clone().filter_map(what).collect();
            spread(&all)
        };
        let by_station = Station::ALL.iter().filter_map(|station| {
            let name = station.name();
            Some((name, all_of(&|round| round.cycles.get(name).copied())?))
        });
        let (cycles, ns) = (by_station.collect(), all_of(&|round| round.ns));
        let (of, result) = (mode.to_string(), &mut record.result);
        result.cycles.insert(of.clone(), cycles);
        result.ns.extend(ns.map(|ns| (of, ns)));
    }
    Ok(())
}

fn table(record: &Record<Round, Outcome>) -> Table {
    let result = &record.result;
    let (counted, measured) = (!result.instructions.is_empty(), !result.cycles.is_empty());
    let mut table = Table::new();
    let mut head = vec!["mode"];
    if counted {
        head.extend(["instructions per packet", "baseline", ""]);
    }
    if measured {
        head.push("cycles per packet");
        head.extend(Station::ALL.map(Station::name));
        head.push("ns");
    }
    table.set_header(head);
    for mode in MODES.map(|mode| mode.to_string()) {
        let mut row = vec![mode.clone()];
        if counted {
            let found = result.instructions.get(&mode).copied();
            let baseline = result.baseline.get(&mode).copied();
            let show = |figure: Option<f64>| figure.map_or(String::new(), |n| format!("{n:.1}"));
            row.extend([show(found), show(baseline)]);
            row.push(found.zip(baseline).map_or(String::new(), |(found, n)| {
                format!("{:+.2} %", (found / n - 1.0) * 100.0)
            }));
        }
        if let Some(cycles) = result.cycles.get(&mode) {
            let show = |figure: Option<&Spread>| {
                figure.map_or(String::new(), |f| format!("{:.1}", f.median))
            };
            row.push(format!(
                "{:.1}",
                cycles.values().map(|of| of.median).sum::<f64>()
            ));
            row.extend(Station::ALL.map(|station| show(cycles.get(station.name()))));
            row.push(show(result.ns.get(&mode)));
        }
        table.add_row(row);
    }
    table
}
