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
        Some(path) if path.as_os_str() != "own" => topology.load_demands(path)?,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring of five with a chord.
    const RING: &str = r#"{"nodes": [{"id": 0}, {"id": 1}, {"id": 2}, {"id": 3}, {"id": 4}], "edges": [
{"source": 0, "target": 1, "dist": 400}, {"source": 1, "target": 2, "dist": 500},
{"source": 2, "target": 3, "dist": 300}, {"source": 3, "target": 4, "dist": 600},
{"source": 4, "target": 0, "dist": 700}, {"source": 1, "target": 3, "dist": 900}]}"#;

    fn ring() -> (Topology, Tables, Services) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ring.json");
        std::fs::write(&path, RING).expect("written");
        let (topology, none) = Topology::load(&path).expect("good");
        assert!(none.is_none());
        let tables = Tables::compute(&topology, None);
        let demands = topology.uniform();
        let services = Services::make(&topology, &tables, &demands, 2, 50, 1).expect("services");
        (topology, tables, services)
    }

    #[test]
    fn the_same_seed_gives_the_same() {
        let (_, tables, services) = ring();
        let play = |number| episode::play(&services, &tables, 100, 25, 7, number, false);
        let one = side_by_side(0..4, play).expect("played");
        let two: Vec<Episode> = (0..4).map(|n| play(n).expect("played")).collect();
        let figures = |all: &[Episode]| -> Vec<_> {
            all.iter()
                .map(|e| (e.link, e.calls, e.out, e.first_s, e.helped))
                .collect()
        };
        assert_eq!(figures(&one), figures(&two));
        assert!(one.iter().all(|e| e.calls > 5_000 && e.counts.loops == 0));
    }

    #[test]
    fn the_fullest_link_is_as_full_as_asked() {
        let (_, _, services) = ring();
        let fullest = services.plain_loads().into_iter().fold(0.0, f64::max);
        assert!((fullest / services::CAPACITY_KBPS - 0.5).abs() < 1e-9);
        for (number, caller) in services.callers.iter().enumerate() {
            let sum: f64 = caller.plain_shares(&services).iter().sum();
            assert!((sum - 1.0).abs() < 1e-9);
            assert!(services.target_us(number) > 5_000.0);
        }
    }

    #[test]
    fn quiet_says_nothing_and_a_wrong_center_does_no_harm() {
        let (topology, tables, services) = ring();
        let quiet = noise::quiet(&services, &tables, 25, 1).expect("an hour");
        assert_eq!(quiet.policies.iter().sum::<u32>(), 0);
        let down: Vec<Tables> = (0..topology.links.len())
            .map(|link| Tables::compute(&topology, Some(link)))
            .collect();
        let wrong = wrong::play(&services, &tables, &down, 500, 1).expect("trials");
        assert_eq!((wrong.loops, wrong.unreachable, wrong.outside), (0, 0, 0));
        assert!(wrong.walks > 1_000 && wrong.ignored > 0);
    }
}
