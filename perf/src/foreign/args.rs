//! Arguments of `dmsc-perf foreign`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::transit::{Mode, Size};

/// Frames in the capture file where nothing is looked up: few, so that reading them costs the sender little.
const FEW: u32 = 2_048;
/// Where names are looked up: many, so that these are not all in the processor's cache.
const MANY: u32 = 16_384;

/// The same router under this project's sender and under one that nobody here wrote
///
/// Measures how many frames per second a real router forwards over memif when its sender never waits: this program's generator, which counts
/// what comes out, and dpdk-testpmd (Debian package dpdk), which replays a capture file with the same names in the same order by its pcap driver and whose own counters are
/// read. Both are at one router, each on two links of its own, and take turns of a fifth of a second, because a shared machine changes within
/// seconds; every round has a router of its own. What is compared is the rate over the share of time in which the router had work, because testpmd
/// cannot give it work all the time. The figures confirm each other if the ratio of turns that followed each other, the median of all, is
/// within 5 % of 1. Needs root and two cores; removes all that it makes.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  dmsc-perf foreign                                     all modes, five rounds
  dmsc-perf foreign --mode name --rounds 9 --json foreign.json

Exit status: 0 confirmed, 1 not within 5 %, 2 could not be run to its end.")]
pub struct ForeignArgs {
    /// By what the router forwards
    #[arg(long, value_delimiter = ',', value_name = "MODE,…", default_values_t = [Mode::Mac, Mode::Gateway, Mode::Name])]
    pub mode: Vec<Mode>,
    /// Length of frames, 128 to 9000 bytes, or imix
    #[arg(long, value_name = "BYTES", default_value_t = Size::Bytes(192))]
    pub frame: Size,
    /// Prefixes of each sender in the router's table; names are drawn from all of them
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=16_000_000))]
    pub prefixes: u32,
    /// Rounds; every round has both senders
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Of each sender in a round, s
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=15))]
    pub seconds: u64,
    /// Frames in the capture file, which testpmd reads into memory first, and names that the other sender goes through [default: 2048; in mode name 16384, or lookups would find all in the processor's cache]
    #[arg(long, value_parser = clap::value_parser!(u32).range(64..=65_536))]
    pub frames: Option<u32>,
    /// Write all figures to FILE as JSON; without FILE: to standard output, instead of the table
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub json: Option<PathBuf>,
    /// Folder of dmsc-dataplane [default: that of dmsc-perf]
    #[arg(long, value_name = "DIR")]
    pub bin_dir: Option<PathBuf>,
}

/// Turns of each sender per second.
const TURNS: u32 = 5;

impl ForeignArgs {
    /// Turns of each sender in a round, and how long each is.
    pub fn turns(&self) -> (u32, Duration) {
        (self.seconds as u32 * TURNS, Duration::from_secs(1) / TURNS)
    }

    /// Frames in the capture file.
    pub fn frames_of(&self, mode: Mode) -> u32 {
        self.frames.unwrap_or(match mode {
            Mode::Name => MANY,
            Mode::Mac | Mode::Gateway => FEW,
        })
    }
}
