//! Arguments of `dmsc-perf`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Parser, Subcommand};

use crate::attach::{self, AttachArgs, EndArgs};
use crate::churn::{self, ChurnArgs};
use crate::failover::{self, FailoverArgs};
use crate::fib::{self, FibArgs};
use crate::foreign::{self, ForeignArgs};
use crate::forward::{self, CyclesArgs, ForwardArgs, RouterArgs, ScaleArgs};
use crate::http::{self, HttpArgs, ServerArgs};
use crate::idle::{self, IdleArgs};
use crate::load::{self, LoadArgs};
use crate::pcap::{self, PcapArgs};
use crate::report::{self, ReportArgs};
use crate::rfc2544::{self, Rfc2544Args};
use crate::schedule::{self, ScheduleArgs};
use crate::telemetry::{self, TelemetryArgs};
use crate::torture::{self, Kind, Options};
use crate::transit::{self, CrossedArgs};

/// Load on DMSC (Distributed Micro Service Communication) dataplanes, each a real process with real DPDK ports.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Attach(AttachArgs),
    /// The process at one end of `attach`
    #[command(hide = true)]
    AttachEnd(EndArgs),
    Foreign(ForeignArgs),
    /// Lookups of names in the dataplane's table, beside an exact-match table of DPDK and two others
    ///
    /// Fills all tables with the same prefixes, draws what is looked up beforehand, and lets every table look it up in bursts
    /// of 32 on one CPU, one after the other in every round. `ratio` is the name table's lookups per second over those of
    /// rte_hash_lookup_bulk of one exact 40-byte key (default CRC, lock-free readers, 2 MB pages, room for half as many
    /// keys again), taken within each round. Needs root and huge pages for rte_hash.
    #[command(after_help = "\
Examples:
  dmsc-perf fib                                         a million prefixes, each looked up equally often
  dmsc-perf fib --prefixes 10000000 --peers rte-hash    ten million; needs 1.3 GB of huge pages
  dmsc-perf fib --names names.txt --traffic zipf        prefixes of a file
  dmsc-perf fib --names names.txt --prefixes 1000000    the same names in as many domains as it takes
  dmsc-perf fib --extra 1                               every name has one component more than its prefix
  dmsc-perf fib --traffic hostile                       attacks beside ordinary names of 16 components
  dmsc-perf fib --json fib.json                         every round for a machine

Exit status: 0 measured, 2 could not be run, or the name table answered differently from the plainest table.")]
    Fib(FibArgs),
    /// Routes that come and go while a router forwards: throughput, gaps, time until they are visible, memory
    ///
    /// Starts a dataplane whose worker (core 1) is always busy with packets that go round over one of its own links, loads its
    /// tables, and then inserts and deletes routes over its agent's socket from core 0, between phases without updates. Needs root.
    #[command(after_help = "\
Examples:
  dmsc-perf churn --batch 1                             100,000 updates/s, each a transaction, 60 s
  dmsc-perf churn --updates-per-s 1000 --batch 1        one-route transactions at a million prefixes
  dmsc-perf churn --seconds 10 --rounds 2 --json c.json a short run, figures for a machine

The longest gap is that between two looks of the worker at its ports, in windows of 10 ms.
Exit status: 0 measured, 2 could not be run to its end; what was measured until then is shown.")]
    Churn(ChurnArgs),
    /// A next hop dies without a word: time, packets lost, flows moved, dip and gaps
    ///
    /// Two neighbours receive, and one of them stops saying hello, right after a hello, which is when it takes longest to be noticed; it
    /// comes back between two rounds. veth: a third neighbour sends calls with sequence numbers. memif: the worker (core 1) is always
    /// busy with packets that go round over one of its own links, the two are further next hops, and once the agent tells of the
    /// death all gateways are programmed without the dead one. Needs root.
    #[command(after_help = "\
Examples:
  dmsc-perf failover                                    50,000 packets/s over veth, and a full loop; five deaths each
  dmsc-perf failover --rig veth --rate 100000 --rounds 20 --json f.json
  dmsc-perf failover --rig memif                        dip and longest gaps only

The longest gap is that between two looks of the worker at its ports, in windows of 10 ms.
Exit status: 0 measured, 2 could not be run to its end; what was measured until then is shown.")]
    Failover(FailoverArgs),
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
    Pcap(PcapArgs),
    Report(ReportArgs),
    Rfc2544(Rfc2544Args),
    Schedule(ScheduleArgs),
    Telemetry(TelemetryArgs),
    /// What a router without much to do costs, and what its sleep costs packets
    ///
    /// CPU time of all threads of a dataplane, by each thread's own clock, without traffic and at 1,000, 10,000 and 100,000 packets/s
    /// over two af_packet ports on veth; latency against the same with busy polling; the first packet after silence over memif,
    /// which has nothing to wait on. Hellos go on at their default interval. Needs root.
    #[command(after_help = "\
Examples:
  dmsc-perf idle                                        everything, five rounds: three minutes
  dmsc-perf idle --seconds 10 --rounds 3 --json idle.json

Exit status: 0 measured, 2 could not be run to its end; what was measured until then is shown.")]
    Idle(IdleArgs),
    /// A million prefixes into a router that forwards: time, gaps, dip
    ///
    /// Every round starts a dataplane whose worker (core 1) is always busy with packets that go round over one of its own links, and
    /// sends all prefixes over its agent's socket from core 0. Needs root.
    #[command(after_help = "\
Examples:
  dmsc-perf load                                        a million prefixes, five rounds
  dmsc-perf load --prefixes 10000000 --rounds 1         ten million
  dmsc-perf load --batch 65536 --json load.json         fewer, larger transactions; figures for a machine

The longest gap is that between two looks of the worker at its ports, in windows of 10 ms.
Exit status: 0 measured, 2 could not be run to its end; what was measured until then is shown.")]
    Load(LoadArgs),
    /// What forwarding costs, beside testpmd on the same rig
    ///
    /// A whole dataplane with two ports, and DPDK's testpmd in its mode `mac` with two such ports, take turns on one core; the one that waits
    /// is stopped. The two ports are the ends of one link (but null ports), so 32 frames go round in each direction. Modes `gateway` and `name`
    /// are told by what they add: in every round frames are stamped with the next of the drawn headers in mode `mac` and in the mode
    /// that is asked for, and added = t(mode + stamp) − t(mac + stamp). Needs huge pages, and root for testpmd
    /// and kernel interfaces.
    #[command(after_help = "\
Examples:
  dmsc-perf forward                                     plain forwarding on memif, beside testpmd
  dmsc-perf forward --pmd null                          the same without the cost of ports
  dmsc-perf forward --mode gateway                      transit, with a million prefixes loaded
  dmsc-perf forward --mode name --traffic zipf          a look-up for every frame
  dmsc-perf forward --pmd virtio,af_packet,af_xdp       other kinds of ports, one after the other
  dmsc-perf forward --mode name --frame 256,imix        cores that 10 Gbit/s of named packets take
  dmsc-perf forward --mode name --names FILE --json forward.json
  dmsc-perf forward --mode mac,gateway,name --prefixes 2,1000,10000,100000,1000000 --plot prefixes.svg
  dmsc-perf forward --static-build target/release/dmsc-perf-static    with that of `make perf-static` beside it

Exit status: 0 measured, 1 frames were dropped meanwhile, 2 could not be run to its end.")]
    Forward(ForwardArgs),
    /// What further workers bring, on null ports with a queue per worker, beside what they bring testpmd
    ///
    /// One dataplane per number of workers, and one testpmd (mode mac) with as many forwarding cores and queues; in every round each is
    /// measured once, the others being stopped. With as many workers as cores the agent and this program share the first one,
    /// which costs little: they wait. `ratio` is the dataplane's scale over testpmd's, taken within each round. Needs huge pages, and
    /// root for testpmd.
    #[command(after_help = "\
Examples:
  dmsc-perf scale                                       one worker and two, mode mac, beside testpmd
  dmsc-perf scale --peer none                           without testpmd
  dmsc-perf scale --mode gateway --json scale.json      transit

Exit status: 0 measured, 2 could not be run to its end.")]
    Scale(ScaleArgs),
    /// Instructions per packet, the same on every run, and cycles by station
    ///
    /// Counts by callgrind what the worker of a dataplane on null ports executes for 200,000 frames, in each mode.
    /// What a change costs shows here whatever else the machine does; with --gate it fails above 3 %.
    #[command(after_help = "\
Examples:
  dmsc-perf cycles                                      instructions per packet
  dmsc-perf cycles --gate perf/baseline.json            and whether they are more than they were
  dmsc-perf cycles --baseline perf/baseline.json        from here on
  dmsc-perf cycles --stations-build target/release/dmsc-perf-stations
                                                        and cycles by station, of what `make perf-stations` builds

Exit status: 0 measured, 1 more than the baseline and 3 %, 2 could not be run to its end.")]
    Cycles(CyclesArgs),
    /// The dataplane that `foreign` and `rfc2544` measure in mode mac
    #[command(hide = true)]
    CrossedRouter(CrossedArgs),
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
        Command::Attach(args) => return attach::run(&args),
        Command::AttachEnd(args) => return attach::serve(&args),
        Command::Foreign(args) => return foreign::run(&args),
        Command::Fib(args) => return fib::run(&args),
        Command::Churn(args) => return churn::run(&args),
        Command::Failover(args) => return failover::run(&args),
        Command::Idle(args) => return idle::run(&args),
        Command::Load(args) => return load::run(&args),
        Command::Forward(args) => return forward::run(&args),
        Command::CrossedRouter(args) => return transit::serve_crossed(&args),
        Command::ForwardRouter(args) => return forward::serve(&args),
        Command::Cycles(args) => return forward::cycles(&args),
        Command::Scale(args) => return forward::scale(&args),
        Command::Http(args) => return http::run(&args),
        Command::HttpServer(args) => return http::serve(&args),
        Command::Pcap(args) => return pcap::run(&args),
        Command::Report(args) => return report::run(&args),
        Command::Rfc2544(args) => return rfc2544::run(&args),
        Command::Schedule(args) => return schedule::run(&args),
        Command::Telemetry(args) => return telemetry::run(&args),
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
    let dataplane = transit::find_dataplane(bin_dir.as_deref())?;
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
    fn attachments_are_compared_at_sizes_that_fit() {
        let parse = |words: &str| {
            let words = format!("dmsc-perf attach {words}");
            Cli::try_parse_from(words.split_whitespace()).map(|cli| cli.command)
        };
        let Ok(Command::Attach(all)) = parse("") else {
            panic!("another command");
        };
        assert!(all.by.len() == 4 && all.sizes == [1_200, 8_900] && all.rate == 1_000);
        for (bad, says) in [
            ("--sizes 8969", "8968"),
            ("--sizes 64", "128"),
            ("--by veth", "virtio"),
            ("--rate 0", "1..=100000"),
            ("--rounds 0", "1..=1000"),
        ] {
            let error = parse(bad).expect_err(bad).to_string();
            assert!(error.contains(says), "{bad}: {error}");
        }
    }

    #[test]
    fn both_rigs_of_failover_run_unless_one_is_named() {
        let parse = |words: &str| {
            let words = format!("dmsc-perf failover {words}");
            match Cli::try_parse_from(words.split_whitespace()) {
                Ok(cli) => match cli.command {
                    Command::Failover(args) => Ok(args.rig),
                    _ => panic!("another command"),
                },
                Err(error) => Err(error.to_string()),
            }
        };
        assert_eq!(parse("").expect("good").len(), 2);
        assert_eq!(parse("--rig memif").expect("good").len(), 1);
        let error = parse("--rig tap").expect_err("no rig");
        assert!(error.contains("veth, memif"), "{error}");
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
        let shared = "--shared /run/a.sock,pod1-memory,10.1.2.2";
        let all = "--gateway 10.1.1.1 --identity a/b --credentials /c";
        let args = parse(&format!("{all} {shared}"));
        let membership = args.expect("good").membership.expect("a pod");
        assert!(membership.words().join(" ").ends_with(shared));
        assert!(parse(&format!("{all} --shared /run/a.sock,pod1-memory")).is_err());
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
