//! Arguments of `dmsc-perf schedule`.

use std::path::PathBuf;

use clap::Args;

/// What scheduling by measured quality saves, in virtual time, on a topology with demands
///
/// Every node of the file is a router and gateway with the SPF that routers run (dmsc-linkstate); one is the scheduling center (dmsc-scsc). For
/// every node with demands towards it there is a service group: that node and further random ones serve it, the others call it as
/// much as they demand. Calls have a target, the longest round trip of any caller's plain route times 1.25 and 5 ms. Brown-outs come to one
/// random link each: delay (20 to 120 ms on the round trip), jitter (up to as much), or other traffic that fills it to 105 to 200 %.
///
/// The same calls go four ways: by plain routes; by P2C over a moving peak of each caller's own latencies (Finagle's and Linkerd's, 10 s),
/// over all members; by the center's policies; and as somebody would send them who knows everything at once (greedy, best response). The center
/// hears what gateways' probes told, one a second and nine more when one is unusual, after the delay of the control path.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  dmsc-perf schedule --topology sndlib_abilene.json --demands       demands as in the file
  dmsc-perf schedule --topology a.json --demands d.json --json schedule.json
  dmsc-perf schedule --topology topozoo_AttMpls.json --demands uniform --brown-outs 100

Files: networkx node-link JSON: nodes[].id, edges[] (or links[]) with source, target, dist in km; graph.demands {SOURCE: {TARGET: VOLUME}}.
Virtual time: the figures do not depend on the machine, and are the same for the same seed.
Exit status: 0 run to its end, 2 not.")]
pub struct ScheduleArgs {
    /// Topology, node-link JSON
    #[arg(long, value_name = "FILE")]
    pub topology: PathBuf,
    /// Demands: `own` (those of the topology's file), `uniform`, or another file: {SOURCE: {TARGET: VOLUME}}, alone or as its graph.demands
    #[arg(long, value_name = "own|uniform|FILE", num_args = 0..=1, default_missing_value = "own")]
    pub demands: Option<PathBuf>,
    /// Brown-outs
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub brown_outs: u32,
    /// Members of each service group
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=16))]
    pub members: u32,
    /// How full the fullest link is by plain routes, percent
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=95))]
    pub load: u32,
    /// Calls per second in all
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub calls: u32,
    /// Of a group's traffic at most this much moves per second, percent
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub step: u32,
    /// Trials with a center that says anything
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub wrong: u32,
    /// Seed of everything random
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Write all figures to FILE as JSON; without FILE: to standard output, instead of the table
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub json: Option<PathBuf>,
}
