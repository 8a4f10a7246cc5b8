//! `dmsc-perf schedule`: what scheduling by measured quality saves on a given topology, in virtual time.
//!
//! `topology` files · `network` routers · `services` groups, callers, ways · `world` links · `center` the scheduling center and gateways ·
//! `balance`, `oracle` the others · `episode` one brown-out · `noise`, `wrong` what must not happen · `outcome` figures.

mod args;
mod balance;
mod center;
mod episode;
mod network;
mod noise;
mod oracle;
mod outcome;
mod services;
mod topology;
mod world;
mod wrong;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::bail;

pub use args::ScheduleArgs;
use episode::Episode;
use network::Tables;
use outcome::Outcome;
use services::Services;
use topology::{Demands, Topology};

use crate::record::{Progress, Record};

/// Hours at the threshold.
const HOURS: u32 = 10;
/// Brown-outs whose telemetry is encoded.
const MEASURED: u32 = 20;
/// Tables with a link down for the trials with a wrong center.
const DOWN: usize = 16;
/// Steps of the progress of brown-outs.
const PARTS: u32 = 20;

/// Does what the arguments say.
pub fn run(args: &ScheduleArgs) -> anyhow::Result<ExitCode> {
    let mut record = Record::<Episode, Outcome>::new("schedule");
    let (topology, demands) = read(args)?;
    let mut progress = Progress::start("schedule", PARTS as usize + 4);
    progress.step(&format!("tables of {} routers", topology.nodes.len()));
    let tables = Tables::compute(&topology, None);
    let services = Services::make(
        &topology,
        &tables,
        &demands,
        args.members as usize,
        args.load,
        args.seed,
    )?;
    let brown_outs = args.brown_outs.div_ceil(PARTS).max(1);
    let mut from = 0;
    while from < args.brown_outs {
        let to = (from + brown_outs).min(args.brown_outs);
        progress.step(&format!(
            "brown-outs {} to {to} of {}",
            from + 1,
            args.brown_outs
        ));
        let play = |number| {
            let measure = number < MEASURED;
            let (calls, step) = (args.calls, args.step);
            episode::play(&services, &tables, calls, step, args.seed, number, measure)
        };
        record.rounds.extend(side_by_side(from..to, play)?);
        from = to;
    }
    progress.step("an hour of quiet");
    let quiet = noise::quiet(&services, &tables, args.step, args.seed)?;
    progress.step(&format!("{HOURS} hours at the threshold"));
    let hovering = side_by_side(0..HOURS, |number| {
        noise::hovering(&services, &tables, args.step, args.seed, number)
    })?;
    progress.step(&format!("{} trials with a wrong center", args.wrong));
    let links = topology.links.len();
    let down = (0..links.min(DOWN))
        .map(|at| Tables::compute(&topology, Some(at * links / links.min(DOWN))));
    let down: Vec<Tables> = down.collect();
    let wrong = wrong::play(&services, &tables, &down, args.wrong, args.seed)?;
    record.result = Outcome::of(
        &topology,
        &services,
        &record.rounds,
        &quiet,
        &hovering,
        wrong,
    );
    record.complete = true;
    record.leave(args.json.as_deref(), |record| outcome::text(&record.result))?;
    Ok(ExitCode::SUCCESS)
}

fn read(args: &ScheduleArgs) -> anyhow::Result<(Topology, Demands)> {
    let (topology, own) = Topology::load(&args.topology)?;
    let demands = match args.demands.as_deref() {
        Some(word) if word.as_os_str() == "uniform" => topology.uniform(),
        Some(path) if !path.as_os_str().is_empty() => topology.load_demands(path)?,
        _ => match own {
            Some(demands) => demands,
            None => bail!(
                "{}: graph.demands: is missing or empty: give --demands FILE, or --demands uniform for as much between all pairs",
                args.topology.display()
            ),
        },
    };
    Ok((topology, demands))
}

/// Runs all numbers on all cores; results in order, so that they do not depend on how many there are.
fn side_by_side<T: Send>(
    numbers: std::ops::Range<u32>,
    play: impl Fn(u32) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<Vec<T>> {
    let next = AtomicU32::new(numbers.start);
    let found = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= numbers.end {
                        return;
                    }
                    let played = play(number);
                    if let Ok(mut found) = found.lock() {
                        found.push((number, played));
                    }
                }
            });
        }
    });
    let mut found = match found.into_inner() {
        Ok(found) => found,
        Err(_) => bail!("a thread ended within a brown-out"),
    };
    found.sort_by_key(|(number, _)| *number);
    found.into_iter().map(|(_, played)| played).collect()
}
