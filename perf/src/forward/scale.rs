//! `dmsc-perf scale`: what a second worker brings, on null ports with a queue per worker, beside what it brings testpmd.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use comfy_table::Table;
use dmsc_lab::wait;
use serde::Serialize;

use super::args::Peer;
use super::child::RouterArgs;
use super::router::Router;
use super::testpmd::{Looped, Plan};
use super::{Carrier, Folder, Mode, Pmd, Size, Traffic, WARM_MS, other_core, rate};
use crate::record::{Progress, Record, Spread, spread};

/// Arguments of `scale`.
#[derive(Debug, Clone, Args)]
pub struct ScaleArgs {
    /// Numbers of workers, the first being what the others are compared with
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    workers: Vec<usize>,
    /// What is done with each frame; the peer's mode is mac whatever this is
    #[arg(long, default_value_t = Mode::Mac)]
    mode: Mode,
    /// Prefixes in the table
    #[arg(long, default_value_t = 100_000, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(2..=20_000_000))]
    prefixes: usize,
    /// Bytes of a frame
    #[arg(long, default_value_t = 192, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(128..=1500))]
    frame: usize,
    /// Who is measured beside the router, with as many forwarding cores and queues
    #[arg(long, default_value_t = Peer::Testpmd)]
    peer: Peer,
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
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
struct Round {
    mpps: Vec<f64>,
    /// testpmd's; empty without it.
    peer_mpps: Vec<f64>,
}

/// By number of workers; what is of testpmd is empty without it.
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
    peer_mpps: Vec<f64>,
    peer_scale: Vec<f64>,
    peer_scale_min: Vec<f64>,
    peer_scale_max: Vec<f64>,
    peer_efficiency: Vec<f64>,
    /// The router's scale over the peer's, taken within each round.
    ratio: Vec<f64>,
    ratio_min: Vec<f64>,
    ratio_max: Vec<f64>,
}

/// Router and peer with one number of workers.
struct Pair {
    router: Router,
    peer: Option<Looped>,
}

/// Whose turn it is, by the place in `--workers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Router(usize),
    Peer(usize),
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
    let mut pairs = Vec::new();
    for &workers in &args.workers {
        progress.step(&format!("starting {workers} worker(s)"));
        // From the last core down: the first one has most of everything else.
        let cores: Vec<usize> = (0..workers).map(|n| there - 1 - n).collect();
        pairs.push(Pair::start(args, &dir, &cores)?);
    }
    for number in 0..args.rounds {
        progress.step("round");
        let round = round(args, &mut pairs, number as usize)?;
        record.rounds.push(round);
    }
    record.result = Outcome::new(args.mode, &args.workers, &record.rounds);
    record.complete = true;
    record.leave(args.json.as_deref(), |record| table(&record.result))?;
    Ok(ExitCode::SUCCESS)
}

impl Pair {
    /// Starts both, and stops them until it is their turn.
    fn start(args: &ScaleArgs, dir: &Folder, cores: &[usize]) -> anyhow::Result<Pair> {
        let main = other_core(cores)?;
        let workers = cores.len();
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
            cores: cores.to_vec(),
            no_huge: false,
            count: None,
            mode: None,
        })?;
        router.pause()?;
        let peer = match args.peer {
            Peer::Testpmd => {
                let mut peer = Looped::start(&Plan {
                    dir: &dir.0.join(format!("peer{workers}")),
                    pmd: Pmd::Null,
                    size: Size::Bytes(args.frame),
                    main,
                    cores,
                    ends: None,
                })?;
                peer.pause()?;
                Some(peer)
            }
            Peer::None => None,
        };
        Ok(Pair { router, peer })
    }
}

/// Everybody once, in an order that turns from round to round, so that a drift of the machine hits all alike.
fn turns(pairs: usize, has_peer: bool, round: usize) -> Vec<Turn> {
    let mut all: Vec<Turn> = (0..pairs)
        .flat_map(|place| {
            let peer = has_peer.then_some(Turn::Peer(place));
            [Some(Turn::Router(place)), peer].into_iter().flatten()
        })
        .collect();
    let first = round % all.len().max(1);
    all.rotate_left(first);
    all
}

fn round(args: &ScaleArgs, pairs: &mut [Pair], number: usize) -> anyhow::Result<Round> {
    let has_peer = args.peer == Peer::Testpmd;
    let mut round = Round {
        mpps: vec![0.0; pairs.len()],
        peer_mpps: vec![0.0; if has_peer { pairs.len() } else { 0 }],
    };
    for turn in turns(pairs.len(), has_peer, number) {
        wait::pause(Duration::ZERO)?;
        match turn {
            Turn::Router(place) => {
                let router = &mut pairs[place].router;
                router.set(args.mode, args.mode != Mode::Mac)?;
                router.measure(WARM_MS)?;
                let count = router.measure(args.ms)?;
                router.pause()?;
                round.mpps[place] = rate(&count, "null")?;
            }
            Turn::Peer(place) => {
                if let Some(peer) = &mut pairs[place].peer {
                    round.peer_mpps[place] = peer.measure(WARM_MS, args.ms)? / 1e6;
                    peer.pause()?;
                }
            }
        }
    }
    Ok(round)
}

/// A rate over that of the first number of workers, in one round; none where one is missing.
fn scale(mpps: &[f64], place: usize) -> Option<f64> {
    let first = mpps.first().filter(|first| **first > 0.0)?;
    Some(mpps.get(place)? / first)
}

impl Outcome {
    /// Of all rounds.
    fn new(mode: Mode, workers: &[usize], rounds: &[Round]) -> Outcome {
        let mut result = Outcome {
            mode: mode.to_string(),
            ..Outcome::default()
        };
        let of = |figure: &dyn Fn(&Round) -> Option<f64>| -> Option<Spread> {
            spread(&rounds.iter().filter_map(figure).collect::<Vec<f64>>())
        };
        for (place, count) in workers.iter().enumerate() {
            let more = *count as f64 / workers[0] as f64;
            let rates = of(&|r| r.mpps.get(place).copied());
            let Some((mpps, ours)) = rates.zip(of(&|r| scale(&r.mpps, place))) else {
                continue;
            };
            result.workers.push(*count);
            result.mpps.push(mpps.median);
            result.scale.push(ours.median);
            result.scale_min.push(ours.min);
            result.scale_max.push(ours.max);
            result.efficiency.push(ours.median / more);
            let rates = of(&|r| r.peer_mpps.get(place).copied());
            let ratio = of(&|r| Some(scale(&r.mpps, place)? / scale(&r.peer_mpps, place)?));
            let Some(((mpps, theirs), ratio)) =
                rates.zip(of(&|r| scale(&r.peer_mpps, place))).zip(ratio)
            else {
                continue;
            };
            result.peer_mpps.push(mpps.median);
            result.peer_scale.push(theirs.median);
            result.peer_scale_min.push(theirs.min);
            result.peer_scale_max.push(theirs.max);
            result.peer_efficiency.push(theirs.median / more);
            result.ratio.push(ratio.median);
            result.ratio_min.push(ratio.min);
            result.ratio_max.push(ratio.max);
        }
        result
    }
}

fn table(result: &Outcome) -> Table {
    let has_peer = !result.peer_mpps.is_empty();
    let mut header = vec!["workers", "Mpps", "scale", "efficiency"];
    if has_peer {
        header.extend([
            "testpmd Mpps",
            "its scale",
            "its efficiency",
            "ratio of scales",
        ]);
    }
    let mut table = Table::new();
    table.set_header(header);
    let range = |median: f64, min: f64, max: f64| format!("{median:.3} ({min:.3}–{max:.3})");
    for (index, workers) in result.workers.iter().enumerate() {
        let [scale, min, max] = [&result.scale, &result.scale_min, &result.scale_max];
        let mut row = vec![
            workers.to_string(),
            format!("{:.2}", result.mpps[index]),
            range(scale[index], min[index], max[index]),
            format!("{:.3}", result.efficiency[index]),
        ];
        if has_peer {
            let [scale, min, max] = [
                &result.peer_scale,
                &result.peer_scale_min,
                &result.peer_scale_max,
            ];
            let [ratio, least, most] = [&result.ratio, &result.ratio_min, &result.ratio_max];
            row.extend([
                format!("{:.2}", result.peer_mpps[index]),
                range(scale[index], min[index], max[index]),
                format!("{:.3}", result.peer_efficiency[index]),
                range(ratio[index], least[index], most[index]),
            ]);
        }
        table.add_row(row);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds() -> Vec<Round> {
        [([10.0, 15.0], [20.0, 32.0]), ([10.0, 18.0], [10.0, 18.0])]
            .map(|(mpps, peer)| Round {
                mpps: mpps.to_vec(),
                peer_mpps: peer.to_vec(),
            })
            .to_vec()
    }

    #[test]
    fn scales_are_compared_within_a_round() {
        let result = Outcome::new(Mode::Mac, &[1, 2], &rounds());
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert_eq!(result.workers, [1, 2]);
        assert!(near(result.scale[1], 1.65) && near(result.efficiency[1], 0.825));
        assert!(near(result.peer_scale[1], 1.7) && near(result.peer_efficiency[1], 0.85));
        // 1.5 / 1.6 and 1.8 / 1.8.
        assert!(near(result.ratio_min[1], 0.9375) && near(result.ratio_max[1], 1.0));
        assert!(near(result.ratio[1], 0.968_75) && near(result.ratio[0], 1.0));
        let text = table(&result).to_string();
        assert!(text.contains("0.969 (0.938–1.000)"), "{text}");
    }

    #[test]
    fn without_a_peer_there_is_nothing_of_it() {
        let mut rounds = rounds();
        for round in &mut rounds {
            round.peer_mpps.clear();
        }
        let result = Outcome::new(Mode::Mac, &[1, 2], &rounds);
        assert_eq!(result.scale.len(), 2);
        assert!(result.peer_mpps.is_empty() && result.ratio.is_empty());
        assert!(!table(&result).to_string().contains("testpmd"));
    }

    #[test]
    fn everybody_has_a_turn_and_everybody_is_first_once() {
        let all = turns(2, true, 0);
        let expected = [
            Turn::Router(0),
            Turn::Peer(0),
            Turn::Router(1),
            Turn::Peer(1),
        ];
        assert_eq!(all, expected);
        let mut firsts: Vec<Turn> = Vec::new();
        for round in 0..4 {
            let all = turns(2, true, round);
            firsts.push(all[0]);
            assert!(all.len() == 4 && expected.iter().all(|turn| all.contains(turn)));
        }
        assert!(expected.iter().all(|turn| firsts.contains(turn)));
        assert_eq!(turns(1, false, 3), [Turn::Router(0)]);
    }
}
