//! Arguments of `dmsc-perf forward`, and the words of its rigs.

use std::fmt;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::transit::{Mode, Size};

/// A set of words of the command line.
macro_rules! words {
    ($($name:ident)+) => {$(
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

/// Kind of both ports, which are the two ends of one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Pmd {
    /// Frames come without end and go nowhere: the cost of the program itself
    Null,
    /// Shared memory
    Memif,
    /// vhost-user: one port is the host, the other one the guest
    Virtio,
    /// veth through packet sockets
    AfPacket,
    /// veth through AF_XDP, by copy
    AfXdp,
}

impl Pmd {
    /// Whether the ports stand on kernel interfaces.
    pub fn is_of_kernel(self) -> bool {
        matches!(self, Pmd::AfPacket | Pmd::AfXdp)
    }
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
    pub fn length(self) -> usize {
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

words!(Pmd Traffic Carrier Peer);

/// Arguments of `forward`. Every combination of `pmd`, `frame` and `prefixes` is a rig of its own; all modes are measured on each.
#[derive(Debug, Clone, Args)]
pub struct ForwardArgs {
    /// Kinds of both ports
    #[arg(long, value_delimiter = ',', value_name = "PMD,…", default_values_t = [Pmd::Memif])]
    pub pmd: Vec<Pmd>,
    /// What is done with each frame
    #[arg(long, value_delimiter = ',', value_name = "MODE,…", default_values_t = [Mode::Mac])]
    pub mode: Vec<Mode>,
    /// Prefixes in the table; half of them lead out of each port (one alone, not on null ports: frames go round in one direction)
    #[arg(long, value_delimiter = ',', value_name = "N,…", default_values_t = [1_000_000], value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=20_000_000))]
    pub prefixes: Vec<usize>,
    /// Prefixes from FILE, one a line, instead of made ones
    #[arg(long, value_name = "FILE")]
    pub names: Option<PathBuf>,
    /// How names are drawn from the prefixes
    #[arg(long, default_value_t = Traffic::Uniform)]
    pub traffic: Traffic,
    /// Names drawn beforehand
    #[arg(long, default_value_t = 4_194_304, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(64..=100_000_000))]
    pub draws: usize,
    /// Lengths of frames, 128 to 9000 bytes, or imix (7 × 128, 4 × 576, 1 × 1,500)
    #[arg(long, value_delimiter = ',', value_name = "BYTES,…", default_values_t = [Size::Bytes(192)])]
    pub frame: Vec<Size>,
    /// What carries the packets
    #[arg(long, default_value_t = Carrier::Udp4)]
    pub carrier: Carrier,
    /// Who is measured beside the router
    #[arg(long, default_value_t = Peer::Testpmd)]
    pub peer: Peer,
    /// This program built with `--features static`: measured in the same rounds, for ratio_static
    #[arg(long, value_name = "FILE")]
    pub static_build: Option<PathBuf>,
    /// Rounds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub rounds: u64,
    /// Rounds after which all processes are started anew, because where their memory happens to lie makes one or the other faster
    #[arg(long, default_value_t = 1, value_name = "ROUNDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub restart_every: u64,
    /// Length of each count, ms
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    pub ms: u64,
    /// Core that forwards; everything else runs on the others
    #[arg(long, default_value_t = 1)]
    pub core: usize,
    /// Draw rates over the number of prefixes into FILE, as SVG
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// Write all figures to FILE as JSON; without FILE: to standard output, instead of the table
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub json: Option<PathBuf>,
}
