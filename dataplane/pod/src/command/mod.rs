//! Command line: what all subcommands have in common, and one file for each.

mod bench;
mod call;
mod calls;
mod flood;
mod load;
mod ping;
mod resolve;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use dmsc_pod::{CallOptions, GatewayAddress, Pin, Pod, PodConfig};
use dmsc_wire::{Class, FlowLabel, NameBuf};

/// A pod on the command line: serve, call, ping and load services by name, through the pod's gateway.
///
/// DMSC is Distributed Micro Service Communication: services call each other by name (/shop/cart), through the gateway of their pod.
#[derive(Debug, Parser)]
#[command(version, after_help = HELP)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const HELP: &str = "\
Every command registers at the gateway under --identity, and withdraws at its end. The identity must be one that the gateway lets
register on this pod's port: [[identity]] in its routes file, or the one in the pod's certificate (--credentials).

Examples:
  export DMSC_GATEWAY=10.1.1.1
  dmsc-pod --identity pod1/a serve --name /shop/a
  dmsc-pod --identity pod1/c call /shop/a --data hello
  dmsc-pod --identity pod1/c ping /shop/b --record
  dmsc-pod --identity pod1/c bench /shop/b --rate 1000 --duration 10";

#[derive(Debug, Args)]
struct Global {
    /// The gateway's address; with a port if its registrar is not on 35030
    #[arg(long, global = true, env = "DMSC_GATEWAY", value_name = "ADDRESS")]
    gateway: Option<GatewayAddress>,
    /// Who this pod is, e.g. pod1/a
    #[arg(long, global = true, env = "DMSC_IDENTITY", value_name = "ID")]
    identity: Option<String>,
    /// Folder with cert.pem, key.pem and root.pem; without it the registrar is a static one, over plain TCP
    #[arg(long, global = true, env = "DMSC_CREDENTIALS", value_name = "DIR")]
    credentials: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    /// UDP port to receive on [default: any that is free]
    #[arg(
        long,
        global = true,
        value_name = "UDP-PORT",
        default_value_t = 0,
        hide_default_value = true
    )]
    port: u16,
    /// How long to try while the gateway does not answer, in seconds
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 10)]
    wait: u32,
    /// Leave checksum offload of this pod's veth as it is
    #[arg(long, global = true)]
    keep_offload: bool,
}

impl Global {
    fn config(&self) -> anyhow::Result<PodConfig> {
        let (Some(gateway), Some(identity)) = (&self.gateway, &self.identity) else {
            anyhow::bail!(
                "--gateway and --identity are needed (or DMSC_GATEWAY and DMSC_IDENTITY in the environment): \
                 the address of this pod's gateway, and a name that it lets register, e.g. --gateway 10.1.1.1 --identity pod1/a"
            );
        };
        let mut config = PodConfig::new(gateway.clone(), identity.clone());
        config.credentials.clone_from(&self.credentials);
        config.udp_port = self.port;
        config.patience = Duration::from_secs(u64::from(self.wait));
        config.fix_offload = !self.keep_offload;
        Ok(config)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer calls under names
    Serve(serve::Serve),
    /// Call a name
    Call(call::Call),
    /// Ping a name; --record shows every router on the way
    Ping(ping::Ping),
    /// List the instances of a name that this pod may call
    Resolve(resolve::Resolve),
    /// Call names at a fixed rate and measure (open loop)
    Bench(bench::Bench),
    /// Call every name of a file once
    Calls(calls::Calls),
    /// Send garbage to the gateway, to see that nobody else suffers
    Flood(flood::Flood),
}

/// Where and how a call goes.
#[derive(Debug, Clone, Args)]
struct Placement {
    /// Go to this gateway, and attachment, only
    #[arg(long, value_name = "GATEWAY[:ATTACHMENT]")]
    pin: Option<Pin>,
    /// Traffic class, 0 to 7
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=7))]
    class: u8,
    /// How long to wait for an answer, in ms
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    timeout: u64,
}

impl Placement {
    fn options(&self, flow: Option<u32>) -> CallOptions {
        CallOptions {
            timeout: self.timeout(),
            flow_label: flow.map(FlowLabel),
            pin: self.pin,
            class: Class(self.class),
            idempotent: false,
        }
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout)
    }
}

/// A name in text form, for clap.
fn name(text: &str) -> Result<NameBuf, dmsc_wire::NameTextError> {
    NameBuf::parse(text)
}

impl Cli {
    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let global = self.global;
        match self.command {
            Command::Serve(serve) => block_on(serve.run(&global)),
            Command::Call(call) => block_on(call.run(&global)),
            Command::Ping(ping) => block_on(ping.run(&global)),
            Command::Resolve(resolve) => block_on(resolve.run(&global)),
            Command::Bench(bench) => bench.run(&global),
            Command::Calls(calls) => calls.run(&global),
            Command::Flood(flood) => flood.run(&global),
        }
    }
}

/// One thread: the cores of a node are for its router.
fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(future)
}

/// Withdraws at the end of a command. What the command did stands also while the control plane is away: the lease then ends by itself.
async fn leave(pod: Pod) {
    if let Err(error) = pod.close().await {
        eprintln!("dmsc-pod: not withdrawn, the lease ends by itself: {error}");
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn contract_of_the_lab() {
        for line in [
            "dmsc-pod serve --gateway 10.1.1.1 --identity a/b --name /x --name /y --instance i --delay-ms 5",
            "dmsc-pod serve --names-file f --split --json",
            "dmsc-pod call /x --pin 4:17 --flow 3 --data hi --timeout 50 --count 2",
            "dmsc-pod call /x --size 64",
            "dmsc-pod call /x --credentials /etc/dmsc/pod1",
            "dmsc-pod ping /x --count 3 --record",
            "dmsc-pod bench /x /y --rate 1000 --duration 2 --pin 4 --flows fixed:9 --size 10 --timeout 1000 --records f --start-at 5",
            "dmsc-pod calls f --rate 10 --out o --timeout 5",
            "dmsc-pod flood --rate max --seconds 1 --mode garbage",
            "dmsc-pod flood --rate 100 --seconds 1 --mode spoof",
        ] {
            Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        for line in [
            "dmsc-pod call x",
            "dmsc-pod bench /x --rate 0 --duration 1",
            "dmsc-pod bench /x --rate 1 --duration 3601",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
