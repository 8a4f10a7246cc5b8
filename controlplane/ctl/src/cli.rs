//! The command line: its words, their meaning and examples.

use std::path::PathBuf;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use dmsc_wire::NameBuf;

pub mod operator;
pub mod policy;
pub mod probe;

use crate::operator::Address;
use crate::span;
use crate::text::{Pin, parse_flow, parse_name, parse_pin};

const EXAMPLES: &str = "\
Examples:
  dmscctl show counters                     where did packets go, and why were some dropped?
  dmscctl show runtime --interval 1s        how busy is each worker?
  dmscctl ping /shop/b                      does anybody answer to this name?
  dmscctl probe /shop/b                     how good is the way there, and how busy is it?
  dmscctl pki issue --root pki --out sg1 node 1 sg
                                            credentials of a gateway, by the root that 'pki init' made
  dmscctl trace /shop/b                     which way, there and back, and how long at each hop?
  dmscctl explain /shop/b --flow 7          why would a packet go where it goes?
  dmscctl capture sr1 -w sr1.pcapng         the frames of one port, for Wireshark
  dmscctl trace add 3 --port pod1           the next three packets of a port, stage by stage
  dmscctl show prefixes --under /shop       who serves what, with which right, as the control plane computed it
  dmscctl show convergence                  how long does a change take until it is programmed?
  dmscctl show services                     what do the pods behind the edge of this node serve and call, and does it work?
  dmscctl --node /run/dmsc/sg1.operator.sock config diff sg1.toml
                                            what would this file change?
  dmscctl show policies                     who gets which share of the calls, for how long, and why?
  dmscctl drain                             take this node out of the network without losing a packet
  dmscctl --json show ports | jq '.ports[] | select(.carrier | not)'

Exit status: 0 done; 1 nobody answered (ping, probe, trace) or the packet would be dropped (explain); 2 failed, the reason is on standard error.
Looking never stops or slows forwarding. Only config apply, drain, undrain, revoke, policy and give change something; they need a role, and leave an audit record.";

/// Looks into one running DMSC dataplane, control plane or edge, and operates it (DMSC = Distributed Micro Service Communication)
#[derive(Debug, Parser)]
#[command(name = "dmscctl", version, after_help = EXAMPLES)]
pub struct Cli {
    /// Unix socket of the dataplane's agent; may be left out when /run/dmsc holds exactly one
    #[arg(long, global = true, env = "DMSC_AGENT", value_name = "SOCKET")]
    pub agent: Option<PathBuf>,
    /// Control plane to ask: Unix socket of its operator API, or https://HOST:PORT; may be left out when /run/dmsc holds exactly one *operator.sock
    #[arg(long, global = true, env = "DMSC_NODE", value_name = "SOCKET|URL")]
    pub node: Option<Address>,
    /// Unix socket of an edge, for show services and show connections; may be left out when /run/dmsc holds exactly one *edge.sock
    #[arg(long, global = true, env = "DMSC_EDGE", value_name = "SOCKET")]
    pub edge: Option<PathBuf>,
    /// Folder with cert.pem, key.pem and root.pem, for --node https://…
    #[arg(long, global = true, env = "DMSC_CREDENTIALS", value_name = "FOLDER")]
    pub credentials: Option<PathBuf>,
    /// JSON instead of tables: one document, or one line per event where the answer is a stream
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Reads the command line. A daemon named there counts more than one of the other kind named by the environment.
    ///
    /// # Errors
    /// What clap says about it; also help and version.
    pub fn read<I, T>(words: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<std::ffi::OsString> + Clone,
    {
        let matches = Self::command().try_get_matches_from(words)?;
        let mut cli = Self::from_arg_matches(&matches)?;
        let written = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
        match (written("node"), written("agent")) {
            (true, false) => cli.agent = None,
            (false, true) => cli.node = None,
            _ => {}
        }
        Ok(cli)
    }
}

/// The first word.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make, show and revoke credentials: files only, no daemon is asked
    #[command(subcommand)]
    Pki(crate::pki::cli::Pki),
    /// State and counters of this router
    #[command(subcommand)]
    Show(Show),
    /// Send echo requests to a name, as ping(8) does to an address
    Ping(PingArgs),
    /// Measure the way to a service now, and ask it how it is: delay, delay variation, loss, health, load
    Probe(probe::ProbeArgs),
    /// Show the way of one echo request, hop by hop (trace NAME), or the next packets stage by stage (trace add N)
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    Trace(TraceArgs),
    /// Say why a packet with this name would go where it goes: policy, prefix, group, member, gateway, next hop, backup
    Explain(ExplainArgs),
    /// Copy the frames of one port: one line each, or a pcapng file
    Capture(CaptureArgs),
    /// Print changes as they happen: adjacencies, carrier, attachments, generations
    Watch,
    /// Who this control plane is, what it has computed, and what is wrong
    About,
    /// The declarative file of a daemon: --node SOCKET names a control plane, --agent SOCKET a dataplane
    #[command(
        subcommand,
        after_help = "Examples:\n  dmscctl --node /run/dmsc/sg1.operator.sock config check sg1.toml\n  dmscctl --agent /run/dmsc/sg1.agent.sock config apply sg1.dataplane.toml\n\nA file is checked as a whole and taken as a whole; on a mistake the running daemon keeps what it has.\nWithout a running daemon: dmsc-controlplane sg --check --config FILE, dmsc-dataplane --check --config FILE."
    )]
    Config(operator::Config),
    /// Withdraw prefixes and transit, then wait until nothing depends on this node
    Drain(operator::DrainArgs),
    /// Take a drained node back into service
    Undrain,
    /// End authorisations early (at a prefix authority)
    #[command(
        after_help = "What any authority signed until now is ended, as far as this one may speak for it; and this one refuses to sign it again until the revocation is over.\nAnother authority that may speak for the same names would sign again: give the revocation to each of them, or take the names from its policy."
    )]
    Revoke(operator::RevokeArgs),
    /// Shares of the calls by hand, for a time (at a scheduling center)
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Give the network what the root took back: a node, an authority or keys
    Give(operator::GiveArgs),
}

/// The word after `show`.
#[derive(Debug, Subcommand)]
pub enum Show {
    /// Who this is: node, role, versions, generation, uptime
    Node,
    /// Ports with kind, role, carrier, addresses and frames
    Ports,
    /// Workers: sums since the start of the dataplane
    Workers,
    /// Workers at work: the difference of two readings
    #[command(
        after_help = "Example:\n  dmscctl show runtime --interval 500ms --count 10\n\nNothing is stopped for a reading: workers write their own counters, this command reads them twice."
    )]
    Runtime(RuntimeArgs),
    /// Calls that enter here, by service prefix, member and next hop: packets, bytes, and how long answers take
    #[command(
        after_help = "Examples:\n  dmscctl show traffic\n  dmscctl --json show traffic --interval 10s | jq '.prefixes[] | {prefix, p99_us}'\n\nOne row for each next hop, the adjacency and the neighbour by which calls to a member left.\nPackets and bytes (DMSC header and payload) are exact: a call is counted where it enters from a pod, or where its name is resolved first.\nTimes are of one in 64 calls of pods here, from the arrival of the request at this gateway to that of its answer. QUIC datagrams are encrypted: only their ends know\nwhich answers which, so of calls over QUIC (all HTTP and gRPC) the pods here tell, once a second, how long each took from the first byte sent to the head of the answer, uploads with it."
    )]
    Traffic(TrafficArgs),
    /// Forwarding tables: a summary, and the contents that are asked for
    #[command(
        after_help = "Examples:\n  dmscctl show tables                    summary, gateways, groups and access rules\n  dmscctl show tables --prefixes         only the prefixes\n\nPrefixes are printed only when asked for: they may be a million."
    )]
    #[command(visible_alias = "fib")]
    Tables(TablesArgs),
    /// Endpoints of pods that are registered at this gateway
    Attachments,
    /// Neighbour routers with state, path MTU and changes
    Adjacencies,
    /// Where packets went: rx + originated = sent + consumed + drops, per port, each drop by reason
    Counters {
        /// Only this port
        port: Option<String>,
    },
    /// What the pods behind an edge serve and call: health, requests, errors, calls under way
    #[command(
        after_help = "Examples:\n  dmscctl --edge /run/dmsc/edge.sock show services\n  dmscctl show services --pod pod1/curl\n\nHealth is what the edge's own checks of the program say. An error is a status 5xx, another gRPC status than OK, a connection that was reset, or an answer that broke off."
    )]
    Services(EdgeArgs),
    /// QUIC connections between the pods behind an edge and others: peer, instance, round trip, losses
    #[command(
        after_help = "Examples:\n  dmscctl --edge /run/dmsc/edge.sock show connections\n  dmscctl --json show connections | jq '.connections[] | select(.lost_packets > 0)'"
    )]
    Connections(EdgeArgs),
    /// What a control plane knows.
    #[command(flatten)]
    Network(operator::NodeShow),
}

/// `show services`, `show connections`.
#[derive(Debug, Default, Args)]
pub struct EdgeArgs {
    /// Only this pod, such as pod1/curl
    #[arg(long, value_name = "IDENTITY")]
    pub pod: Option<String>,
}

/// `show runtime`.
#[derive(Debug, Args)]
pub struct RuntimeArgs {
    /// Time between two readings
    #[arg(long, default_value = "1s", value_parser = span::parse, value_name = "TIME")]
    pub interval: Duration,
    /// How many intervals; 0 = until interrupted
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub count: u32,
}

/// `show traffic`.
#[derive(Debug, Args)]
pub struct TrafficArgs {
    /// Time between two readings; the dataplane adds up once a second and when it is asked
    #[arg(long, default_value = "1s", value_parser = span::parse, value_name = "TIME")]
    pub interval: Duration,
}

/// `show tables`.
#[derive(Debug, Default, Args)]
pub struct TablesArgs {
    /// Print prefixes with domain and group
    #[arg(long)]
    pub prefixes: bool,
    /// Print gateways with metric, next hops and alternates
    #[arg(long)]
    pub gateways: bool,
    /// Print service groups with their members
    #[arg(long)]
    pub groups: bool,
    /// Print access rules
    #[arg(long)]
    pub access: bool,
}

/// What everything that goes to a name and is answered has in common.
#[derive(Debug, Args)]
pub struct WayArgs {
    /// Tenant in which the name is looked up
    #[arg(long, default_value_t = 1, value_name = "DOMAIN")]
    pub domain: u32,
    /// Pin to a gateway, or to one attachment of it, instead of letting the network choose
    #[arg(long, value_parser = parse_pin, value_name = "GW[:ATT]")]
    pub pin: Option<Pin>,
    /// Flow label: selects among equal choices
    #[arg(long, default_value = "0", value_parser = parse_flow, value_name = "LABEL")]
    pub flow: u32,
    /// How long to wait for an answer
    #[arg(long, default_value = "1s", value_parser = span::parse, value_name = "TIME")]
    pub timeout: Duration,
}

/// An echo request.
#[derive(Debug, Args)]
pub struct EchoArgs {
    /// The way there.
    #[command(flatten)]
    pub way: WayArgs,
    /// Class: 0 to 5 take the least metric, unless a policy says otherwise, 6 and 7 the least delay
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=7), value_name = "CLASS")]
    pub class: u32,
    /// Bytes of payload
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=65_000), value_name = "BYTES")]
    pub size: u32,
}

/// `ping NAME`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  dmscctl ping /shop/b\n  dmscctl ping /shop/b --pin 4 --count 100 --interval 10ms\n  dmscctl ping /shop/b --vary-flow       every request may choose another instance or path\n  dmscctl ping /dmsc/7                   a router answers to /dmsc/ and its node id\n\nThe request starts at this router, under its own name. Exit status 1 when no request was answered."
)]
pub struct PingArgs {
    /// Name to ask, such as /shop/cart
    #[arg(value_parser = parse_name)]
    pub name: NameBuf,
    /// How many requests, at most 1000
    #[arg(short, long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000), value_name = "N")]
    pub count: u32,
    /// Time between requests
    #[arg(short, long, default_value = "1s", value_parser = span::parse, value_name = "TIME")]
    pub interval: Duration,
    /// Give each request the next flow label
    #[arg(long)]
    pub vary_flow: bool,
    /// The request.
    #[command(flatten)]
    pub echo: EchoArgs,
}

/// `trace NAME`, or `trace add N`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  dmscctl trace /shop/b                  nodes, ports and residence times, there and back\n  dmscctl trace /shop/b --pin 4 --flow 7\n  dmscctl trace add 5                    the next five packets, stage by stage\n  dmscctl trace add 5 --port pod1"
)]
pub struct TraceArgs {
    /// `add N`.
    #[command(subcommand)]
    pub mode: Option<TraceMode>,
    /// Name to trace, such as /shop/cart
    #[arg(value_parser = parse_name, required = true)]
    pub name: Option<NameBuf>,
    /// The request.
    #[command(flatten)]
    pub echo: EchoArgs,
}

/// The other meaning of `trace`; names start with '/', so they cannot be confused.
#[derive(Debug, Subcommand)]
pub enum TraceMode {
    /// Print the next N packets through every stage: receive, parse, admit, resolve, rewrite, transmit
    Add(TraceAddArgs),
}

/// `trace add N`.
#[derive(Debug, Args)]
pub struct TraceAddArgs {
    /// How many packets, at most 1000
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub count: u32,
    /// Only packets received on this port
    #[arg(long)]
    pub port: Option<String>,
}

/// `explain NAME`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  dmscctl explain /shop/b\n  dmscctl explain /shop/b --flow 7 --in-port pod1\n  dmscctl explain /shop/b --gateway 4    as if gateway 4 had been stamped already\n\nThe same code chooses as on the data path, on the present tables; no packet is sent.\nThe dataplane is asked for that, and the control plane for the policy that applies and why it was made; when one of the two does not answer, the other's part is told.\nThe control plane's socket is the one named by --node, else the one beside the agent's (sg1.operator.sock beside sg1.sock), else the only one in /run/dmsc."
)]
pub struct ExplainArgs {
    /// Name in the packet
    #[arg(value_parser = parse_name)]
    pub name: NameBuf,
    /// Tenant in which the name is looked up
    #[arg(long, default_value_t = 1, value_name = "DOMAIN")]
    pub domain: u32,
    /// Flow label: selects among equal choices
    #[arg(long, default_value = "0", value_parser = parse_flow, value_name = "LABEL")]
    pub flow: u32,
    /// Class: 0 to 5 take the least metric, unless a policy says otherwise, 6 and 7 the least delay
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=7), value_name = "CLASS")]
    pub class: u32,
    /// Destination gateway as if stamped already; 0 = resolve the name
    #[arg(long, default_value_t = 0, value_name = "NODE")]
    pub gateway: u32,
    /// It says that it goes by the topology of least delay; with --gateway and --in-port
    #[arg(long, requires = "gateway", requires = "in_port")]
    pub by_delay: bool,
    /// Port the packet came in by; without it, it starts at this router
    #[arg(long, value_name = "PORT")]
    pub in_port: Option<String>,
}

/// `capture PORT`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  dmscctl capture sr1 --count 20\n  dmscctl capture sr1 -w sr1.pcapng --seconds 10\n  dmscctl capture sr1 -w - | wireshark -k -i - -X lua_script:dataplane/wire/wireshark/dmsc.lua\n\nCopies are made by the workers and dropped, and counted, when this command is slow. Forwarding never waits for it."
)]
pub struct CaptureArgs {
    /// Name of the port
    pub port: String,
    /// Write a pcapng file (nanosecond time stamps, direction flags) instead of lines; - is standard output
    #[arg(short = 'w', long = "write", value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// Stop after this many frames
    #[arg(short, long, value_name = "N")]
    pub count: Option<u64>,
    /// Stop after this time
    #[arg(short, long, value_parser = span::parse, value_name = "SECONDS")]
    pub seconds: Option<Duration>,
    /// Bytes kept of each frame; 0 = the whole frame
    #[arg(long, default_value_t = 0, value_name = "BYTES")]
    pub snap: u32,
    /// UDP port of DMSC in this network, for the one-line summaries
    #[arg(long, default_value_t = dmsc_wire::UDP_PORT, value_name = "PORT")]
    pub udp_port: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
        Cli::read(std::iter::once("dmscctl").chain(words.iter().copied()))
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn trace_means_two_things() {
        match parse(&["trace", "/shop/b", "--flow", "0x7"])
            .expect("name")
            .command
        {
            Command::Trace(args) => {
                assert_eq!(args.name.expect("name").to_string(), "/shop/b");
                assert_eq!(args.echo.way.flow, 7);
                assert!(args.mode.is_none());
            }
            other => panic!("{other:?}"),
        }
        match parse(&["trace", "add", "3", "--port", "pod1", "--json"])
            .expect("add")
            .command
        {
            Command::Trace(TraceArgs {
                mode: Some(TraceMode::Add(add)),
                ..
            }) => {
                assert_eq!(add.count, 3);
                assert_eq!(add.port.as_deref(), Some("pod1"));
            }
            other => panic!("{other:?}"),
        }
        assert!(parse(&["trace"]).is_err());
        assert!(parse(&["trace", "add"]).is_err());
    }

    #[test]
    fn configurations_and_revocations_need_to_be_meant() {
        let cli = parse(&["config", "diff", "a.toml", "--node", "/run/x.sock"]).expect("diff");
        assert!(matches!(
            cli.command,
            Command::Config(operator::Config::Diff(_))
        ));
        assert_eq!(cli.node, "/run/x.sock".parse().ok());
        assert!(parse(&["config", "apply"]).is_err());
        assert!(parse(&["revoke", "--reason", "x"]).is_err());
        assert!(parse(&["revoke", "/a"]).is_err());
        assert!(parse(&["revoke", "--gateway", "4", "--reason", "x"]).is_ok());
        assert!(parse(&["show", "fib", "--prefixes"]).is_ok());
        assert!(parse(&["about", "--node", "http://a:1"]).is_err());
    }

    #[test]
    fn mistakes_are_shown_where_they_are() {
        let error = parse(&["ping", "/a//b"]).unwrap_err().to_string();
        assert!(error.contains("/a//b\n"), "{error}");
        assert!(error.contains('^'), "{error}");
        let error = parse(&["ping", "/a", "--interval", "1h"])
            .unwrap_err()
            .to_string();
        assert!(error.contains("unit 'h' is not known"), "{error}");
        assert!(parse(&["ping", "/a", "--count", "1001"]).is_err());
        assert!(parse(&["ping", "/a", "--class", "8"]).is_err());
    }
}
