//! Arguments of `dmsc-perf http`, and of the server that it starts.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::column::{Column, Protocol};
use super::membership::Membership;

/// How pods meet their gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Attach {
    /// In memory that both processes share
    Shared,
    /// By UDP, over a veth pair
    Udp,
}

/// Arguments of `dmsc-perf http`.
#[derive(Debug, Clone, Args)]
pub struct HttpArgs {
    /// Ways to compare; direct is what the others are compared to
    #[arg(long, value_delimiter = ',', value_name = "COLUMN,…", default_values_t = Column::ALL)]
    pub columns: Vec<Column>,
    /// What is spoken
    #[arg(long, value_delimiter = ',', value_name = "PROTOCOL,…", default_values_t = Protocol::ALL)]
    pub protocol: Vec<Protocol>,
    /// Rounds; every round has all columns. 0: only the load at 1,000/s, in `--latency-rounds`
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub rounds: u32,
    /// Rounds after these that have only the load at 1,000/s: what is added over direct there is little beside how much the machine differs from
    /// one minute to the next, so it needs more rounds than the rest
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub latency_rounds: u32,
    /// Of each load, s
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
    /// Length of an answer, bytes
    #[arg(long, default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub size: u32,
    /// How our edges, and programs that link the library, meet their gateways
    #[arg(long, value_enum, default_value_t = Attach::Shared)]
    pub attach: Attach,
    /// Services that a node has when memory is measured, beside one
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=400))]
    pub services: u32,
    /// One round, 1 s each, three rates: whether all of it runs, not what it costs
    #[arg(long, conflicts_with_all = ["rounds", "latency_rounds", "seconds"])]
    pub quick: bool,
    /// Write all figures to FILE as JSON; without FILE: to standard output, instead of the tables
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub json: Option<PathBuf>,
    /// Folder of our programs [default: that of dmsc-perf]
    #[arg(long, value_name = "DIR")]
    pub bin_dir: Option<PathBuf>,
    /// Folder in which Envoy is, or is installed [default: tools beside that of dmsc-perf]
    #[arg(long, value_name = "DIR")]
    pub tools: Option<PathBuf>,
}

/// Arguments of the server.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// Address and port; none: on names
    #[arg(long, conflicts_with = "gateway", required_unless_present = "gateway")]
    pub listen: Option<SocketAddr>,
    /// The pod that serves on names
    #[command(flatten)]
    pub membership: Option<Membership>,
    /// Services, on names
    #[arg(long, default_value_t = 1, requires = "gateway")]
    pub services: usize,
    /// Length of an answer, bytes
    #[arg(long, default_value_t = 1_024)]
    pub size: usize,
}
