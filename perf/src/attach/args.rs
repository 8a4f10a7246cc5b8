//! Arguments of `dmsc-perf attach`.

use std::path::PathBuf;

use clap::Args;

use super::site::{By, LARGEST, SMALLEST, Side};

/// How a process beside a gateway reaches it best: UDP through the kernel, memif, or vhost-user with DPDK's driver (virtio) or one of its own (vhost)
///
/// Starts dmsc-dataplane as a gateway with two attachments of one kind and a process at each, as edges are: a caller and a server that
/// echoes. One kind after the other in every round, on the same two cores: the worker of the gateway on the second, both processes on the
/// first. Everybody sleeps when there is nothing to do: on its socket, on the interrupts of vhost-user, and over memif, which has none, in
/// steps from 50 µs to 1 ms. Needs root and two cores; removes all that it makes.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  dmsc-perf attach                                      four kinds, two sizes, three rounds: three minutes
  dmsc-perf attach --by udp,virtio --sizes 1200         two kinds, one size
  dmsc-perf attach --seconds 10 --rounds 5 --json attach.json

low: one call at a time comes due, at --rate; high: 64 calls under way; bulk: messages one way, 128 under way, every 16th acknowledged.
CPU time is that of whole processes by the scheduler's clocks, softirqs included.
Exit status: 0 measured, 2 could not be run to its end; what was measured until then is shown.")]
pub struct AttachArgs {
    /// Kinds of attachment
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND,…", default_values_t = By::ALL)]
    pub by: Vec<By>,
    /// Calls per second of the low rate
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub rate: u64,
    /// Lengths of messages in bytes, DMSC header and payload; what an answer has, too
    #[arg(long, value_delimiter = ',', value_name = "BYTES,…", default_values_t = [1_200, 8_900], value_parser = clap::value_parser!(u16).range(i64::from(SMALLEST)..=i64::from(LARGEST)))]
    pub sizes: Vec<u16>,
    /// Each load, s
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
    /// Rounds; medians of them are shown
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,
    /// Write all figures to FILE as JSON; without FILE: to standard output, instead of the table
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub json: Option<PathBuf>,
    /// Folder of dmsc-dataplane [default: that of dmsc-perf]
    #[arg(long, value_name = "DIR")]
    pub bin_dir: Option<PathBuf>,
}

/// Arguments of the process at one end. Orders come as lines of JSON.
#[derive(Debug, Clone, Args)]
pub struct EndArgs {
    /// How it is attached
    #[arg(long, value_enum)]
    pub by: By,
    /// Which end it is
    #[arg(long, value_enum)]
    pub side: Side,
    /// Folder of sockets
    #[arg(long)]
    pub dir: PathBuf,
    /// Core that it runs on
    #[arg(long)]
    pub core: usize,
}
