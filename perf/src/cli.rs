//! Arguments of `dmsc-perf`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Parser, Subcommand};

use crate::forward::{self, CyclesArgs, ForwardArgs, RouterArgs, ScaleArgs};
use crate::http::{self, HttpArgs, ServerArgs};
use crate::torture::{self, Kind, Options};

/// Load on DMSC (Distributed Micro Service Communication) dataplanes, each a real process with real DPDK ports.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What a call over HTTP or gRPC costs: directly, through pairs of Envoy and haproxy, over names
    ///
    /// Starts, round by round, each column's processes in network namespaces joined by veth pairs, and loads them: in a closed loop for
    /// the highest rate, in an open loop (latency counts from when a request was due) for everything else. CPU time is that of
    /// every process on the path. Needs root; removes all that it makes. A peer that is not installed is said and left out.
    #[command(after_help = "\
Examples:
  dmsc-perf http                                        everything, five rounds: most of an hour
  dmsc-perf http --quick                                whether it runs, in two minutes
  dmsc-perf http --columns direct,envoy,edge --protocol h1 --rounds 3
  dmsc-perf http --json http.json                       every round and all medians for a machine

Exit status: 0 measured, 2 could not be run to its end; what was measured until then is shown.")]
    Http(HttpArgs),
    /// The server that the columns of `http` call
    #[command(hide = true)]
    HttpServer(ServerArgs),
    /// What forwarding costs, beside testpmd on the same rig
    ///
    /// A whole dataplane with two ports, and DPDK's testpmd in its mode `mac` with two such ports, take turns on one core; the one that waits
    /// is stopped. On memif both ends of a port are in the same process, so 32 frames go round in each direction. Modes `gateway` and `name`
    /// are told by what they add: in every round frames are stamped with the next of the drawn headers in mode `mac` and in the mode
    /// that is asked for, and added = t(mode + stamp) − t(mac + stamp). Needs huge pages, and root for testpmd.
    #[command(after_help = "\
Examples:
  dmsc-perf forward                                     plain forwarding on memif, beside testpmd
  dmsc-perf forward --pmd null                          the same without the cost of ports
  dmsc-perf forward --mode gateway                      transit, with a million prefixes loaded
  dmsc-perf forward --mode name --traffic zipf          a look-up for every frame
  dmsc-perf forward --mode name --names FILE --json forward.json

Exit status: 0 measured, 1 frames were dropped meanwhile, 2 could not be run to its end.")]
    Forward(ForwardArgs),
    /// What further workers bring, on null ports with a queue per worker
    ///
    /// One dataplane per number of workers; in every round each is measured once, the others being stopped. With as many workers as
    /// cores the agent and this program share the first one, which costs little: they wait.
    #[command(after_help = "\
Examples:
  dmsc-perf scale                                       one worker and two, mode mac
  dmsc-perf scale --mode gateway --json scale.json      transit

Exit status: 0 measured, 2 could not be run to its end.")]
    Scale(ScaleArgs),
    /// Instructions per packet, the same on every run, and cycles by station
    ///
    /// Counts by callgrind what the worker of a dataplane on null ports executes for 200,000 frames, in each mode, the stamp included.
    /// What a change costs shows here whatever else the machine does; with --gate it fails above 3 %.
    #[command(after_help = "\
Examples:
  dmsc-perf cycles                                      instructions per packet
  dmsc-perf cycles --gate perf/instructions.json        and whether they are more than they were
  dmsc-perf cycles --baseline perf/instructions.json    from here on
  dmsc-perf cycles --stations                           cycles; needs cargo build --features cycles

Exit status: 0 measured, 1 more than the baseline and 3 %, 2 could not be run to its end.")]
    Cycles(CyclesArgs),
    /// The dataplane that `forward`, `scale` and `cycles` measure
    #[command(hide = true)]
    ForwardRouter(RouterArgs),
    /// Valid and mutated frames into every kind of port at once; then everything must still be right
    ///
    /// Starts a dataplane with a router port and a pod port of every kind in a network namespace of its own, programs its
    /// tables, and sends: half of the frames valid, half of them mutated, from a seed that is printed first. At the end the
    /// process must be the same, the packet equation must hold on every port, memory must not have grown, the rate must
    /// have been reached, and an echo into every port must be answered. Needs root.
    #[command(after_help = "\
Examples:
  dmsc-perf torture                                     ten minutes, every kind that runs here
  dmsc-perf torture --seconds 30 --kind memif,af_packet half a minute, two kinds
  dmsc-perf torture --seed 42                           the same frames in the same order, port by port
  dmsc-perf torture --each --seconds 60                 one kind after the other, a minute each
  dmsc-perf torture --json torture.json                 figures for a machine

Exit status: 0 ok, 1 something was wrong with the router, 2 could not be run.
On failure configuration, log and the last frames into every port (pcap) are kept; their folder is printed.")]
    Torture {
        /// Kinds of ports [default: all]
        #[arg(long, value_delimiter = ',', value_name = "KIND,…")]
        kind: Vec<Kind>,
        /// How long frames are sent; with --each: per kind
        #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(5..=86_400))]
        seconds: u64,
        /// Frames per second into every kind
        #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1_000..=1_000_000))]
        rate: u64,
        /// Seed of all frames [default: from the clock]
        #[arg(long)]
        seed: Option<u64>,
        /// One kind after the other instead of all in one dataplane
        #[arg(long)]
        each: bool,
        /// Write all figures to FILE as JSON; without FILE: to standard output, instead of the table
        #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
        json: Option<PathBuf>,
        /// Folder of dmsc-dataplane [default: that of dmsc-perf]
        #[arg(long, value_name = "DIR")]
        bin_dir: Option<PathBuf>,
    },
}

/// Does what the command line says.
pub fn run() -> anyhow::Result<ExitCode> {
    let (mut kind, seconds, rate, seed, each, json, bin_dir) = match Cli::parse().command {
        Command::Forward(args) => return forward::run(&args),
        Command::ForwardRouter(args) => return forward::serve(&args),
        Command::Cycles(args) => return forward::cycles(&args),
        Command::Scale(args) => return forward::scale(&args),
        Command::Http(args) => return http::run(&args),
        Command::HttpServer(args) => return http::serve(&args),
        Command::Torture {
            kind,
            seconds,
            rate,
            seed,
            each,
            json,
            bin_dir,
        } => (kind, seconds, rate, seed, each, json, bin_dir),
    };
    let dir = match bin_dir {
        Some(dir) => dir,
        None => std::env::current_exe()?
            .parent()
            .map(PathBuf::from)
            .unwrap_or_default(),
    };
    let dataplane = dir.join("dmsc-dataplane");
    if !dataplane.is_file() {
        bail!(
            "dmsc-dataplane is not in {}: build it with `cargo build --release -p dmsc-dataplane`, or name its folder with --bin-dir",
            dir.display()
        );
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("torture makes a network namespace and interfaces and needs root: run it with sudo");
    }
    if kind.is_empty() {
        kind = Kind::ALL.to_vec();
    }
    kind.sort_unstable();
    kind.dedup();
    let from_clock = || {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(1, |d| d.as_nanos() as u64 & 0xffff_ffff)
    };
    torture::run(&Options {
        kinds: kind,
        seconds,
        rate,
        seed: seed.unwrap_or_else(from_clock),
        each,
        json,
        dataplane,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn kinds_are_called_as_in_the_configuration() {
        let words = ["dmsc-perf", "torture", "--kind", "af_packet,virtio_user"];
        let Command::Torture { kind, .. } = Cli::try_parse_from(words).expect("good").command
        else {
            panic!("another command");
        };
        assert_eq!(kind, [Kind::AfPacket, Kind::VirtioUser]);
        let error = Cli::try_parse_from(["dmsc-perf", "torture", "--kind", "veth"])
            .expect_err("no kind")
            .to_string();
        assert!(error.contains("af_packet"), "{error}");
    }

    #[test]
    fn the_server_listens_or_is_on_names() {
        let parse = |words: &str| {
            let words = format!("dmsc-perf http-server {words}");
            match Cli::try_parse_from(words.split_whitespace()) {
                Ok(cli) => match cli.command {
                    Command::HttpServer(args) => Ok(args),
                    _ => panic!("another command"),
                },
                Err(error) => Err(error.to_string()),
            }
        };
        let args = parse("--listen 127.0.0.1:80 --size 7").expect("good");
        assert!(args.membership.is_none() && args.size == 7);
        let args = parse("--gateway 10.1.1.1 --identity a/b --credentials /c --services 3");
        let membership = args.expect("good").membership.expect("a pod");
        assert_eq!(
            membership.words().join(" "),
            "--gateway 10.1.1.1:35030 --identity a/b --credentials /c"
        );
        assert!(parse("").is_err());
        assert!(parse("--gateway 10.1.1.1").is_err());
        assert!(parse("--identity a/b").is_err());
    }

    #[test]
    fn quick_says_how_long_by_itself() {
        let words = "dmsc-perf http --columns direct,haproxy-http --protocol grpc --quick";
        let Command::Http(args) = Cli::try_parse_from(words.split(' ')).expect("good").command
        else {
            panic!("another command");
        };
        assert!(args.quick && args.columns.len() == 2 && args.protocol.len() == 1);
        let both = format!("{words} --rounds 2");
        assert!(Cli::try_parse_from(both.split(' ')).is_err());
        let all = Cli::try_parse_from(["dmsc-perf", "http"]).expect("good");
        assert!(matches!(all.command, Command::Http(args) if args.columns.len() == 6));
    }
}
