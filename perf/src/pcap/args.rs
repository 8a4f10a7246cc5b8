//! Arguments of `dmsc-perf pcap`.

use std::path::PathBuf;

use clap::Args;
use dmsc_dpdk::MacAddr;

use crate::transit::{Mode, Size};

/// The traffic of the measurements as capture files, for other senders
///
/// Writes one file for each mode and size: requests to names below /p/00000000, /p/00000001, …, as they come in by the first link of the
/// router of `rfc2544` and `foreign`. With --agent it also programs a running router for them (ports called in and out with the addresses
/// 10.1.0.1/24 and 10.2.0.1/24, neighbours at .2) and writes what these neighbours have to say to it: hellos that fit this one start of
/// the router, a second apart, each good for a minute.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  dmsc-perf pcap --dir perf/pktgen                      the files of perf/pktgen
  dmsc-perf pcap --dir /tmp/t --frame 256 --count 4096 --prefixes 1000000 --to 3c:fd:fe:00:00:01
  dmsc-perf pcap --dir /tmp/t --agent /run/dmsc/sr1.agent.sock --prefixes 1000000

Exit status: 0 written, 2 not.")]
pub struct PcapArgs {
    /// Folder of the files; made if it is not there
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
    /// By what the router forwards
    #[arg(long, value_delimiter = ',', value_name = "MODE,…", default_values_t = [Mode::Gateway, Mode::Name])]
    pub mode: Vec<Mode>,
    /// Lengths of frames, 128 to 9000 bytes, or imix
    #[arg(long, value_delimiter = ',', value_name = "BYTES,…", default_values_t = [Size::Bytes(128), Size::Bytes(192), Size::Bytes(256), Size::Bytes(512), Size::Bytes(1_500), Size::Bytes(9_000), Size::Imix])]
    pub frame: Vec<Size>,
    /// Frames in a file [default: about 16 kB of them]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub count: Option<u32>,
    /// Prefixes that names are drawn from, and that are programmed with --agent
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=16_000_000))]
    pub prefixes: u32,
    /// Ethernet address of the router's first port [default: 02:00:00:00:01:01]
    #[arg(long, value_name = "MAC")]
    pub to: Option<MacAddr>,
    /// Socket of a router's agent: program it, and write hellos for it
    #[arg(long, value_name = "SOCKET")]
    pub agent: Option<PathBuf>,
    /// Ethernet address of the router's second port, for its hellos [default: 02:00:00:00:02:01]
    #[arg(long, value_name = "MAC", requires = "agent")]
    pub to_out: Option<MacAddr>,
}
