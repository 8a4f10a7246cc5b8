//! Words that are said to a control plane.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use dmsc_wire::NameBuf;

use crate::span;
use crate::text::parse_name;

/// `show` words that a control plane answers.
#[derive(Debug, Subcommand)]
pub enum NodeShow {
    /// Routers and gateways of the network, with distance from here
    Nodes,
    /// Links of the network with what they are like as their nodes measure; own ones with hello, session and messages
    #[command(
        after_help = "measured, varies: one way, half of the round trip of probes; classes 6 and 7, and what a policy sends so, go by \"delay us\", which is configured.\nloss: of what the peer sends to the node, over a minute; that of the other direction is in the peer's line.\ncapacity, left: towards the peer; \"-\" where nobody knows: give capacity_mbps to the port or capacity_kbps to the adjacency.\nFigures change here after 10 %, ten points of load, or two minutes."
    )]
    Links,
    /// Link-state database: every object with its sequence and lifetime
    #[command(
        after_help = "Examples:\n  dmscctl show lsdb\n  dmscctl show lsdb --bodies             what each object says\n\nA sequence is EPOCH.COUNTER: starts of the originator's control plane, and changes since the last one."
    )]
    Lsdb(LsdbArgs),
    /// Computed ways to all nodes: next hops and loop-free alternates
    Routes,
    /// Pods registered at this gateway: lease, health, what they serve, and why something waits
    Pods,
    /// Service prefixes with their gateways and the state of their authorisations
    #[command(
        after_help = "Examples:\n  dmscctl show prefixes --under /shop\n  dmscctl show prefixes --limit 20\n\nStates: valid; stale (its authorisation expired: still forwarded, nothing new admitted); waiting (no authorisation yet: not forwarded)."
    )]
    Prefixes(PrefixesArgs),
    /// Authorisations and revocations, with the time that is left
    Authorisations,
    /// How long changes take, stage by stage, from announcement to programmed tables
    #[command(
        after_help = "Of the last 10,000 changes, from the time stamps in the objects. Stages between two nodes compare their wall clocks."
    )]
    Convergence,
    /// Changing calls: who, what, and what came of it; the latest last
    Audit(AuditArgs),
    /// What gateways measured between each other: delay, jitter, loss, bandwidth, load (at a scheduling center)
    #[command(
        after_help = "Examples:\n  dmscctl --node /run/dmsc-scsc/operator.sock show quality\n  dmscctl show quality --from 1\n  dmscctl --json show quality | jq '.pairs[] | select(.loss_percent > 1)'\n\nOf the last report of each pair. Delay is two-way, jitter the difference of consecutive delays; what nobody knows is a dash."
    )]
    Quality(QualityArgs),
    /// Policies: of a scheduling center those in force, with what nodes made of them; of a gateway those held, applied or not and why
    #[command(
        after_help = "Examples:\n  dmscctl --node /run/dmsc-scsc/operator.sock show policies\n  dmscctl --node /run/dmsc/sg1.operator.sock show policies\n\nStates at a gateway: applied; behind (another one counts); ignored (plain routes hold); no route."
    )]
    Policies,
    /// What a scheduling center changed and why; the latest last
    Decisions(DecisionsArgs),
}

/// `show quality`.
#[derive(Debug, Args)]
pub struct QualityArgs {
    /// Only what this gateway measured
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), value_name = "NODE")]
    pub from: Option<u32>,
    /// Only towards this gateway
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), value_name = "NODE")]
    pub to: Option<u32>,
    /// Most pairs to print; 0 = all
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub limit: u32,
}

/// `show decisions`.
#[derive(Debug, Args)]
pub struct DecisionsArgs {
    /// Most decisions to print
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000), value_name = "N")]
    pub limit: u32,
}

/// `show lsdb`.
#[derive(Debug, Args)]
pub struct LsdbArgs {
    /// Print what each object says
    #[arg(long)]
    pub bodies: bool,
    /// Most objects to print; 0 = all
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub limit: u32,
}

/// `show prefixes`.
#[derive(Debug, Args)]
pub struct PrefixesArgs {
    /// Only this name and names below it
    #[arg(long, value_parser = parse_name, value_name = "NAME")]
    pub under: Option<NameBuf>,
    /// Most prefixes to print; 0 = all
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub limit: u32,
}

/// `show audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Most records to print
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000), value_name = "N")]
    pub limit: u32,
}

/// `config …`.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Check this file as a whole, and tell all mistakes at once
    Check(ConfigArgs),
    /// Say what would change, one line per field
    Diff(ConfigArgs),
    /// Take this file: all of it, or nothing
    #[command(
        after_help = "The running daemon changes at once; its own file does not. Write the same there, or the next start reads the old one:\n  dmscctl --node SOCKET config dump > /etc/dmsc/sg1.toml"
    )]
    Apply(ConfigArgs),
    /// Print what is in force, in the format of the file, complete with defaults
    Dump,
}

/// A file for `config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// The daemon's declarative file (TOML); - is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// `drain`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  dmscctl --node /run/dmsc/sr5.operator.sock drain && systemctl stop dmsc-controlplane@sr5 dmsc-dataplane@sr5\n\nA gateway withdraws its prefixes, a router takes itself out of transit; then the command waits until nothing depends on this node. It stays so, also over a restart, until `dmscctl undrain` takes it back. With --stop all that the node said is purged from the network, and its control plane ends."
)]
pub struct DrainArgs {
    /// Most time to wait
    #[arg(long, default_value = "30s", value_parser = span::parse, value_name = "TIME")]
    pub timeout: Duration,
    /// Then leave the network for good: the control plane ends
    #[arg(long)]
    pub stop: bool,
}

/// `give FILE`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  dmscctl pki revoke --help                                  how to sign what the root takes back\n  dmscctl --node /run/dmsc/sr1.operator.sock give node5.revocation\n\nGive it to any one router: it verifies it, keeps it, and tells all others. The role admin is needed. `dmscctl show authorisations` lists what the root took back."
)]
pub struct GiveArgs {
    /// A statement signed by the root, written by 'dmscctl pki revoke'; - is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// `revoke NAME`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  dmscctl --node /run/dmsc-spa/operator.sock revoke /shop/a --identity pod1/a --reason \"key was lost\"\n  dmscctl --node /run/dmsc-spa/operator.sock revoke --gateway 4 --reason \"gateway was stolen\"\n\nAsk a prefix authority (spa). All routers drop what no other authorisation covers, also while no authority runs."
)]
pub struct RevokeArgs {
    /// Subtree whose authorisations end; left out: all that this authority may speak for
    #[arg(value_parser = parse_name, required_unless_present_any = ["gateway", "identity"])]
    pub name: Option<NameBuf>,
    /// Tenant
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..), value_name = "DOMAIN")]
    pub domain: u32,
    /// Only at this gateway
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), value_name = "NODE")]
    pub gateway: Option<u32>,
    /// Only of this pod, such as pod1/a
    #[arg(long, value_name = "IDENTITY")]
    pub identity: Option<String>,
    /// Why, for whoever reads the database or the audit; at most 255 bytes
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}
