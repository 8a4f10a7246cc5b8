//! Arguments of `dmsc-perf fib`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Prefixes if nothing else is said.
const PREFIXES: u32 = 1_000_000;

/// What is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Traffic {
    /// Prefixes of the table, each equally often
    Uniform,
    /// Prefixes of the table, the n-th most wanted 1/n as often as the first
    Zipf,
    /// Names of the same shape that no prefix covers
    Miss,
    /// Prefixes of the table with another last component
    WrongTail,
    /// What an attacker would send: four kinds, beside ordinary names of as many components
    Hostile,
}

impl Traffic {
    /// As on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipf => "zipf",
            Self::Miss => "miss",
            Self::WrongTail => "wrong-tail",
            Self::Hostile => "hostile",
        }
    }
}

/// Tables to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "kebab-case")]
pub enum Peer {
    /// rte_hash_lookup_bulk of DPDK, one exact key of 40 bytes
    RteHash,
    /// A hash map of the standard library per number of components
    Levels,
    /// Two-stage longest-prefix match over SipHash and chained buckets, as NDN-DPDK describes it
    TwoStage,
}

/// Arguments of `dmsc-perf fib`.
#[derive(Debug, Clone, Args)]
pub struct FibArgs {
    /// Prefixes in the table; with --names: how many, the file's names being repeated in further domains
    /// [default: 1000000, or as many as FILE has]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=50_000_000))]
    pub prefixes: Option<u32>,
    /// Names of prefixes, one a line, pieces separated by `.` or `/`, instead of names that are made up
    #[arg(long, value_name = "FILE")]
    pub names: Option<PathBuf>,
    /// What is looked up
    #[arg(long, value_enum, default_value_t = Traffic::Uniform)]
    pub traffic: Traffic,
    /// Components that names have behind their prefix (uniform and zipf)
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=4))]
    pub extra: u8,
    /// Components of all names that are looked up (hostile)
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u8).range(2..=16))]
    pub components: u8,
    /// Tables beside ours; only rte-hash is compared with in `ratio`
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PEER,…", default_values_t = [Peer::RteHash, Peer::Levels, Peer::TwoStage])]
    pub peers: Vec<Peer>,
    /// Rounds; every round has all tables
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// CPU time of each table in each round, ms
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub milliseconds: u64,
    /// Names drawn beforehand; they are looked up in this order, again and again
    #[arg(long, default_value_t = 4_000_000, value_parser = clap::value_parser!(u32).range(1_024..=100_000_000))]
    pub draws: u32,
    /// Seed of the draws
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Write all figures to FILE as JSON; without FILE: to standard output, instead of the table
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub json: Option<PathBuf>,
}

impl FibArgs {
    /// Prefixes that are made up.
    pub fn prefixes(&self) -> u32 {
        self.prefixes.unwrap_or(PREFIXES)
    }
}
