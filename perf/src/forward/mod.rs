//! `dmsc-perf forward`, `scale` and `cycles`: what forwarding costs, beside DPDK's testpmd on the same rig in the same run.
//!
//! `child` is the process that is measured, a whole dataplane; `belt` makes its frames go round and stamps them; `draw` makes names;
//! `tables` says what is programmed; `router` and `testpmd` start the two and take turns with them.

mod belt;
mod child;
mod cycles;
mod draw;
mod router;
mod scale;
mod tables;
mod testpmd;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, ValueEnum};
use comfy_table::Table;
use serde::{Deserialize, Serialize};

pub use child::{RouterArgs, run as serve};
pub use cycles::{CyclesArgs, run as cycles};
pub use scale::{ScaleArgs, run as scale};

use crate::record::{Progress, Record, spread};
use child::Count;
use router::Router;
use testpmd::Testpmd;

/// Time before each count, ms.
const WARM_MS: u64 = 300;

/// A set of words of the command line.
macro_rules! words {
    ($($(#[$meta:meta])* $name:ident)+) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.to_possible_value() {
                    Some(value) => f.write_str(value.get_name()),
                    None => Err(fmt::Error),
                }
            }
        }
    )+};
}

/// Kind of both ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pmd {
    /// Frames come without end and go nowhere: the cost of the program itself
    Null,
    /// Shared memory; both ends in one process, so frames go round
    Memif,
}

/// What is done with each frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Cross-connected: new MAC addresses, nothing else
    Mac,
    /// Transit: the destination gateway stands in the packet
    Gateway,
    /// The destination name is looked up
    Name,
}

/// How names are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Traffic {
    /// Every prefix alike
    Uniform,
    /// Prefix n as often as 1/n
    Zipf,
}

/// What carries the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Carrier {
    /// UDP over IPv4
    Udp4,
    /// Ethernet
    Ethernet,
}

impl Carrier {
    /// Bytes in front of the DMSC header.
    fn length(self) -> usize {
        match self {
            Carrier::Udp4 => 42,
            Carrier::Ethernet => 14,
        }
    }
}

/// Who is measured beside the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    /// DPDK's testpmd, mode mac
    Testpmd,
    /// Nobody
    None,
}

words!(Pmd Mode Traffic Carrier Peer);

/// Arguments of `forward`.
#[derive(Debug, Clone, Args)]
pub struct ForwardArgs {
    /// Kind of both ports
    #[arg(long, default_value_t = Pmd::Memif)]
    pmd: Pmd,
    /// What is done with each frame
    #[arg(long, default_value_t = Mode::Mac)]
    mode: Mode,
    /// Prefixes in the table
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(2..=20_000_000))]
    prefixes: usize,
    /// Prefixes from FILE, one a line, instead of made ones
    #[arg(long, value_name = "FILE")]
    names: Option<PathBuf>,
    /// How names are drawn from the prefixes
    #[arg(long, default_value_t = Traffic::Uniform)]
    traffic: Traffic,
    /// Names drawn beforehand
    #[arg(long, default_value_t = 4_194_304, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(64..=100_000_000))]
    draws: usize,
    /// Bytes of a frame
    #[arg(long, default_value_t = 192, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(128..=1500))]
    frame: usize,
    /// What carries the packets
    #[arg(long, default_value_t = Carrier::Udp4)]
    carrier: Carrier,
    /// Who is measured beside the router
    #[arg(long, default_value_t = Peer::Testpmd)]
    peer: Peer,
    /// Rounds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    rounds: u64,
    /// Length of each count, ms
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    ms: u64,
    /// Core that forwards; everything else runs on the others
    #[arg(long, default_value_t = 1)]
    core: usize,
    /// Write all figures to FILE as JSON; without FILE: to standard output, instead of the table
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,
}

/// One round; millions of frames per second.
#[derive(Debug, Clone, Default, Serialize)]
struct Round {
    /// Cross-connected, without the stamp.
    mac_mpps: f64,
    /// Cross-connected, stamped.
    #[serde(skip_serializing_if = "Option::is_none")]
    mac_stamp_mpps: Option<f64>,
    /// In the mode that was asked for, stamped.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode_stamp_mpps: Option<f64>,
    /// The peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_mpps: Option<f64>,
    /// Frames per poll that brought some.
    mean_burst: f64,
    /// Frames that the router sent.
    frames: u64,
    /// Frames that the router dropped.
    drops: u64,
}

impl Round {
    /// More than one frame in 100,000 was dropped: a null port gives back the hellos that were sent into it.
    fn is_lossy(&self) -> bool {
        self.drops as f64 > self.frames as f64 / 1e5
    }
}

/// What came out; medians of rounds.
#[derive(Debug, Clone, Default, Serialize)]
struct Outcome {
    pmd: String,
    mode: String,
    carrier: String,
    traffic: String,
    frame: usize,
    prefixes: usize,
    /// Prefixes whose names do not fit into the frame: in the table, never called.
    names_too_long: usize,
    /// Seconds until all prefixes were in the workers' tables.
    load_s: f64,
    /// Frames per second, in millions: in mode mac as measured, otherwise of t(mac) + added.
    mpps: f64,
    ns: f64,
    peer_mpps: Option<f64>,
    peer_ns: Option<f64>,
    /// The router's rate over the peer's.
    ratio: Option<f64>,
    ratio_min: Option<f64>,
    ratio_max: Option<f64>,
    /// t(mode + stamp) − t(mac + stamp), ns per packet.
    added_ns: Option<f64>,
    added_ns_min: Option<f64>,
    added_ns_max: Option<f64>,
    mean_burst: f64,
    drops: u64,
}

/// Measures.
///
/// # Errors
/// When a process cannot be started or ends early.
pub fn run(args: &ForwardArgs) -> anyhow::Result<ExitCode> {
    let main = other_core(&[args.core])?;
    let mut record = Record::<Round, Outcome>::new("forward");
    let dir = Folder::new()?;
    let steps = 1 + args.rounds as usize;
    let mut progress = Progress::start("forward", steps);
    progress.step(&format!("loading {} prefixes", args.prefixes));
    let (mut router, loaded) = Router::start(&RouterArgs {
        dir: dir.0.join("router"),
        pmd: args.pmd,
        carrier: args.carrier,
        prefixes: args.prefixes,
        names: args.names.clone(),
        traffic: args.traffic,
        draws: args.draws,
        frame: args.frame,
        cores: vec![args.core],
        no_huge: false,
        count: None,
        mode: None,
    })?;
    router.pause()?;
    let mut peer = match args.peer {
        Peer::Testpmd => {
            let dir = dir.0.join("peer");
            let mut peer = Testpmd::start(&dir, args.pmd, args.frame, main, &[args.core])?;
            peer.pause()?;
            Some(peer)
        }
        Peer::None => None,
    };
    for number in 0..args.rounds {
        progress.step("round");
        let round = round(args, &mut router, peer.as_mut(), number)?;
        record.rounds.push(round);
    }
    record.result = outcome(args, &loaded, &record.rounds);
    record.complete = true;
    if let Some(path) = &args.json {
        record.write(path)?;
    }
    if args.json.as_deref() != Some(Path::new("-")) {
        println!("{}", table(&record));
    }
    if record.rounds.iter().any(Round::is_lossy) {
        eprintln!("frames were dropped while counting: the figures are not of forwarding alone");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// All series once, in an order that turns from round to round, so that a drift of the machine hits all alike.
fn round(
    args: &ForwardArgs,
    router: &mut Router,
    mut peer: Option<&mut Testpmd>,
    number: u64,
) -> anyhow::Result<Round> {
    let mut round = Round::default();
    let mut series = vec!["mac", "mac+stamp", "mode+stamp", "peer"];
    series.rotate_left(number as usize % 4);
    for what in series {
        match (what, &mut peer) {
            ("peer", Some(peer)) => {
                round.peer_mpps = Some(peer.measure(WARM_MS, args.ms)? / 1e6);
                peer.pause()?;
            }
            ("peer", None) => {}
            ("mac+stamp" | "mode+stamp", _) if args.mode == Mode::Mac => {}
            _ => {
                let mode = if what == "mode+stamp" {
                    args.mode
                } else {
                    Mode::Mac
                };
                router.set(mode, what != "mac")?;
                router.measure(WARM_MS)?;
                let count = router.measure(args.ms)?;
                router.pause()?;
                let mpps = rate(&count, what)?;
                round.drops += count.drops;
                round.frames += count.packets;
                match what {
                    "mac" => round.mac_mpps = mpps,
                    "mac+stamp" => round.mac_stamp_mpps = Some(mpps),
                    _ => round.mode_stamp_mpps = Some(mpps),
                }
                if mode == args.mode {
                    round.mean_burst = count.packets as f64 / count.bursts.max(1) as f64;
                }
            }
        }
    }
    Ok(round)
}

fn rate(count: &Count, what: &str) -> anyhow::Result<f64> {
    if count.packets == 0 {
        bail!(
            "no frame goes round in the series {what}: the router dropped {}",
            count.drops
        );
    }
    Ok(count.packets as f64 * 1e3 / count.ns as f64)
}

fn outcome(args: &ForwardArgs, loaded: &router::Loaded, rounds: &[Round]) -> Outcome {
    let median = |values: &[f64]| spread(values).map(|s| s.median);
    let of = |f: &dyn Fn(&Round) -> Option<f64>| rounds.iter().filter_map(f).collect::<Vec<f64>>();
    let added_of = |r: &Round| Some(1e3 / r.mode_stamp_mpps? - 1e3 / r.mac_stamp_mpps?);
    let ns_of = |r: &Round| 1e3 / r.mac_mpps + added_of(r).unwrap_or(0.0);
    let added = spread(&of(&added_of));
    let ratio = spread(&of(&|r| Some(1e3 / r.peer_mpps? / ns_of(r))));
    let ns = median(&of(&|r| Some(ns_of(r)))).unwrap_or(0.0);
    let peer_mpps = median(&of(&|r| r.peer_mpps));
    Outcome {
        pmd: args.pmd.to_string(),
        mode: args.mode.to_string(),
        carrier: args.carrier.to_string(),
        traffic: args.traffic.to_string(),
        frame: args.frame,
        prefixes: loaded.prefixes,
        names_too_long: loaded.too_long,
        load_s: loaded.seconds,
        mpps: 1e3 / ns,
        ns,
        peer_mpps,
        peer_ns: peer_mpps.map(|mpps| 1e3 / mpps),
        ratio: ratio.map(|s| s.median),
        ratio_min: ratio.map(|s| s.min),
        ratio_max: ratio.map(|s| s.max),
        added_ns: added.map(|s| s.median),
        added_ns_min: added.map(|s| s.min),
        added_ns_max: added.map(|s| s.max),
        mean_burst: median(&of(&|r| Some(r.mean_burst))).unwrap_or(0.0),
        drops: rounds.iter().map(|r| r.drops).sum(),
    }
}

fn table(record: &Record<Round, Outcome>) -> Table {
    let result = &record.result;
    let mut table = Table::new();
    table.set_header(["", "Mpps", "ns per packet", "ratio", "added ns"]);
    let range = |median: Option<f64>, min: Option<f64>, max: Option<f64>, digits: usize| match (
        median, min, max,
    ) {
        (Some(median), Some(min), Some(max)) => {
            format!("{median:.digits$} ({min:.digits$}–{max:.digits$})")
        }
        _ => String::new(),
    };
    table.add_row([
        format!(
            "router, {} on {}, {} bytes",
            result.mode, result.pmd, result.frame
        ),
        format!("{:.2}", result.mpps),
        format!("{:.2}", result.ns),
        range(result.ratio, result.ratio_min, result.ratio_max, 3),
        range(result.added_ns, result.added_ns_min, result.added_ns_max, 1),
    ]);
    if let (Some(mpps), Some(ns)) = (result.peer_mpps, result.peer_ns) {
        table.add_row([
            "testpmd, mac".to_owned(),
            format!("{mpps:.2}"),
            format!("{ns:.2}"),
            String::new(),
            String::new(),
        ]);
    }
    table
}

/// A core that is none of `cores`, for everything else.
fn other_core(cores: &[usize]) -> anyhow::Result<usize> {
    let allowed = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0))?;
    let all: Vec<usize> = (0..nix::sched::CpuSet::count())
        .filter(|core| allowed.is_set(*core).unwrap_or(false))
        .collect();
    if let Some(missing) = cores.iter().find(|core| !all.contains(core)) {
        bail!("core {missing} is not there, or this process may not use it; there are {all:?}");
    }
    // Where all cores forward, the rest shares the first one.
    let other = all.iter().find(|core| !cores.contains(core));
    Ok(other.or(all.first()).copied().unwrap_or(0))
}

/// A folder that goes with this value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Folder> {
        let path = std::env::temp_dir().join(format!("dmsc-perf-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // what cannot be removed is in the way of nobody
    }
}
