//! `dmsc-perf failover`: a next hop dies without a word, over real veth, and beside a loop that keeps the worker busy.
//!
//! `veth` and `memif` are the two rigs; `flows` says which flows stayed; `outcome` is what came out.

mod flows;
mod memif;
mod outcome;
mod veth;

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::record::{Progress, Record};
use crate::rig::{Bench, Common};
use crate::table;
use outcome::Outcome;

/// Arguments of `dmsc-perf failover`.
#[derive(Debug, Clone, Args)]
pub struct FailoverArgs {
    /// veth: packets with sequence numbers through three veth pairs. memif: a closed loop that keeps the worker busy, and two neighbours beside it
    #[arg(long, value_delimiter = ',', value_name = "RIG,…", default_values_t = [Rig::Veth, Rig::Memif])]
    pub rig: Vec<Rig>,
    /// Packets per second over veth, with sequence numbers
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1_000..=500_000))]
    pub rate: u64,
    /// Flows over veth; half of them are to a gateway over two next hops, half to a name that two gateways serve
    #[arg(long, default_value_t = 2_048, value_parser = clap::value_parser!(u32).range(16..=65_536))]
    pub flows: u32,
    #[command(flatten)]
    pub common: Common,
}

/// Where a neighbour dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Rig {
    /// Over real veth.
    Veth,
    /// Beside the closed loop.
    Memif,
}

impl std::fmt::Display for Rig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Rig::Veth => "veth",
            Rig::Memif => "memif",
        })
    }
}

/// One death.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(tag = "rig", rename_all = "snake_case")]
enum Round {
    Veth(veth::Round),
    Memif(memif::Round),
}

/// Runs it.
///
/// # Errors
/// When it cannot be run to its end; what was measured until then is written.
pub fn run(args: &FailoverArgs) -> anyhow::Result<ExitCode> {
    let bench = Bench::new(&args.common, "failover")?;
    let mut record = Record::<Round, Outcome>::new("failover");
    let result = bench.run(all(&bench, args, &mut record.rounds));
    record.complete = result.is_ok();
    let (mut veth, mut memif) = (Vec::new(), Vec::new());
    for round in &record.rounds {
        match round {
            Round::Veth(round) => veth.push(*round),
            Round::Memif(round) => memif.push(*round),
        }
    }
    record.result = Outcome::new(&veth, &memif);
    table::show(&args.common, &record, &record.result.rows())?;
    result.map(|()| ExitCode::SUCCESS)
}

/// One rig after the other: each has a dataplane whose worker has the core for itself.
async fn all(bench: &Bench, args: &FailoverArgs, rounds: &mut Vec<Round>) -> anyhow::Result<()> {
    let rigs = [Rig::Veth, Rig::Memif];
    let rigs = rigs.into_iter().filter(|rig| args.rig.contains(rig));
    let count = args.common.rounds as usize;
    let mut progress = Progress::start("failover", count * rigs.clone().count());
    for rig in rigs {
        match rig {
            Rig::Veth => {
                let mut rig = veth::Rig::start(bench, args).await?;
                for _ in 0..count {
                    let round = rig.kill(bench, args).await?;
                    progress.step(&format!(
                        "veth: {:.1} intervals, {} lost",
                        round.detection_intervals, round.packets_lost
                    ));
                    rounds.push(Round::Veth(round));
                }
                rig.stop().await?;
            }
            Rig::Memif => {
                let mut rig = memif::Rig::start(bench).await?;
                for _ in 0..count {
                    let round = rig.kill(bench).await?;
                    progress.step(&format!(
                        "memif: {:.1} intervals, dip {:.1} %",
                        round.detection_intervals, round.dip_percent
                    ));
                    rounds.push(Round::Memif(round));
                }
                rig.stop().await?;
            }
        }
    }
    Ok(())
}
