//! Arguments of `dmsc-lab`, and what each subcommand does with them.

mod running;

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use dmsc_lab::demo::{self, DemoOptions};
use dmsc_lab::http::bad::{self, Target};
use dmsc_lab::http::check::{self, CheckOptions};
use dmsc_lab::lab::{self, Lab, Options, wire_socket};
use dmsc_lab::names::{self, NamesOptions};
use dmsc_lab::old_pod::{self, OldPod};
use dmsc_lab::plan::Middle;
use dmsc_lab::topology::{self, TopologyOptions};
use dmsc_lab::wire::control;
use dmsc_lab::wire::pump::{Handle, Pump};
use dmsc_lab::wire::settings::{Change, Command as WireCommand, Way};
use dmsc_lab::{table, units, wait};
use dmsc_pod::GatewayAddress;
use dmsc_wire::NameBuf;

use running::{explore, load, running, status};

/// Labs of DMSC (Distributed Micro Service Communication) routers on one machine.
///
/// Every router is its real processes in a network namespace of its own; links are veth pairs. Needs root.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:
  dmsc-lab demo                                    what the routers do when things fail, in some seven minutes
  dmsc-lab topology germany50.json                 anybody's topology: all pairs, shortest paths, failing links
  dmsc-lab up conf/lab/figure2.toml                a lab until Ctrl-C; with --keep: until `dmsc-lab down`
  dmsc-lab exec sg1 -- ip address                  a command inside a router's or pod's namespace
  dmsc-lab wire set sr1-sr3 --loss 1% --delay 30ms a bad cable
  dmsc-lab names --file names.txt                  names from a file, checked against a naive model"
)]
struct Cli {
    /// Folder of dmsc-dataplane, dmsc-controlplane, dmsc-pod and dmscctl [default: that of dmsc-lab]
    #[arg(long, global = true, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// Lab that is meant, if more than one is up
    #[arg(long, global = true, value_name = "NAME")]
    lab: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring up the lab of a file
    Up {
        /// Lab file, e.g. conf/lab/figure2.toml
        file: PathBuf,
        /// Return, and leave the lab up until `dmsc-lab down`
        #[arg(long)]
        keep: bool,
        /// Seed of the wires' decisions
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Remove a lab that was kept, or left by a crash
    Down,
    /// Routers, adjacencies and wires of a lab that is up
    Status {
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Run the demo on Figure 2: exit status 0 only if every step is ok
    Demo {
        /// Leave the lab up and print commands to explore it
        #[arg(long)]
        keep: bool,
        /// Write all figures to FILE as JSON; without FILE: to standard output
        #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
        json: Option<PathBuf>,
        /// Only these steps
        #[arg(long, value_delimiter = ',', value_name = "STEP,…")]
        only: Vec<String>,
        /// Lab file
        #[arg(long, default_value = "conf/lab/figure2.toml")]
        file: PathBuf,
        /// Seed of the wires' decisions
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Call names of a file from pods that do not own them and compare with a naive model
    Names {
        /// One name per line, pieces separated by '.' or '/'
        #[arg(long)]
        file: PathBuf,
        /// Calls to names that somebody owns
        #[arg(long, default_value_t = 10_000)]
        calls: usize,
        /// Lab file
        #[arg(long, default_value = "conf/lab/figure2.toml")]
        topology: PathBuf,
        /// Seed of owners and choices
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Print JSON instead of a line
        #[arg(long)]
        json: bool,
    },
    /// Bring up a topology of at most 50 nodes, call all pairs, trace all ways, break links under a stream
    ///
    /// Each node is a gateway with one pod that announces /lab/<id>; metrics are distances, rounded, at least 1.
    #[command(
        after_help = "Example: dmsc-lab topology ../shared/data/topologies/sndlib_geant.json --failures 5 --seed 7"
    )]
    Topology {
        /// Networkx node-link JSON: nodes[].id, edges[] or links[] with source, target, dist
        file: PathBuf,
        /// Links to break and mend, one after the other
        #[arg(long, default_value_t = 20)]
        failures: usize,
        /// Seed of links and pairs
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Print JSON after the lines
        #[arg(long)]
        json: bool,
    },
    /// Print the failure-domain table of a demo's figures, in Markdown
    Table {
        /// What `dmsc-lab demo --json FILE` wrote
        file: PathBuf,
    },
    /// Run a command inside the namespace of a router, a pod, or `outside`
    Exec {
        /// Short name, e.g. sg1 or pod1
        node: String,
        /// Program and arguments
        #[arg(trailing_var_arg = true, required = true)]
        command: Vec<String>,
    },
    /// The impairment process of a link
    #[command(subcommand)]
    Wire(Wire),
    /// Call an HTTP service at a steady rate, and write down what became of every call
    #[command(hide = true)]
    HttpCheck {
        /// Host name and port, e.g. web.shop.dmsc:80
        host: String,
        #[arg(long, default_value_t = 100)]
        rate: u32,
        #[arg(long, default_value_t = 10.0)]
        seconds: f64,
        /// A call that takes longer has no answer
        #[arg(long, value_parser = units::duration, default_value = "8s")]
        timeout: Duration,
        /// POST instead of GET
        #[arg(long)]
        post: bool,
        #[arg(long)]
        records: PathBuf,
    },
    /// Send an HTTP server what nobody should send, and print how each case ended
    #[command(hide = true)]
    HttpBad {
        /// Address that takes HTTP
        #[arg(long)]
        http: SocketAddr,
        /// Address of a TCP program that speaks first
        #[arg(long)]
        tcp: SocketAddr,
        /// Host that answers
        #[arg(long)]
        host: String,
    },
    /// Be a pod that answers calls and knows no probes, until SIGTERM
    #[command(hide = true)]
    OldPod {
        #[arg(long)]
        gateway: GatewayAddress,
        #[arg(long)]
        identity: String,
        #[arg(long)]
        credentials: PathBuf,
        #[arg(long)]
        name: NameBuf,
    },
    /// Count datagrams that arrive on a UDP port, print the number at the end
    #[command(hide = true)]
    Sink {
        #[arg(long)]
        port: u16,
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
}

#[derive(Debug, Subcommand)]
enum Wire {
    /// Be a wire between two interfaces of this network namespace, until killed
    #[command(
        after_help = "Example: dmsc-lab wire run --a veth0 --b veth2 --control /tmp/w.sock --loss 1%"
    )]
    Run {
        /// First interface
        #[arg(long)]
        a: String,
        /// Second interface
        #[arg(long)]
        b: String,
        /// Unix socket for commands: one line of JSON each
        #[arg(long)]
        control: PathBuf,
        /// Seed of all decisions
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Change a wire while it runs; what is not given stays
    #[command(after_help = "Examples:
  dmsc-lab wire set sr1-sr3 --cut               silence in both directions, carrier stays
  dmsc-lab wire set sr1-sr3 --way a-to-b --cut  only from sr1 to sr3
  dmsc-lab wire set sr1-sr3 --loss 1% --delay 30ms --jitter 5ms --rate 100mbit
  dmsc-lab wire set sr1-sr3 --reset             a perfect cable again")]
    Set {
        /// Link, e.g. sr1-sr3
        link: String,
        #[command(flatten)]
        change: ChangeArgs,
        /// One direction only
        #[arg(long, value_enum, default_value_t = Way::Both)]
        way: Way,
        /// A perfect cable before the changes
        #[arg(long)]
        reset: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Settings and counters of a wire
    Get {
        /// Link, e.g. sr1-sr3
        link: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct ChangeArgs {
    /// Every frame later, e.g. 30ms
    #[arg(long, value_parser = units::duration)]
    delay: Option<Duration>,
    /// Up to this much later still, in order
    #[arg(long, value_parser = units::duration)]
    jitter: Option<Duration>,
    /// Probability of loss, e.g. 1%
    #[arg(long, value_parser = units::probability)]
    loss: Option<f64>,
    /// Probability of being overtaken
    #[arg(long, value_parser = units::probability)]
    reorder: Option<f64>,
    /// How much later an overtaken frame is
    #[arg(long, value_parser = units::duration)]
    reorder_hold: Option<Duration>,
    /// Probability of arriving twice
    #[arg(long, value_parser = units::probability)]
    duplicate: Option<f64>,
    /// Bits per second, e.g. 100mbit; 0 = no limit
    #[arg(long, value_parser = units::rate)]
    rate: Option<u64>,
    /// Frames that may wait
    #[arg(long)]
    queue: Option<u32>,
    /// Nothing arrives any more (`--cut=false`: again)
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    cut: Option<bool>,
}

impl ChangeArgs {
    fn change(&self) -> Change {
        let ns = |time: Option<Duration>| time.map(|t| t.as_nanos() as u64);
        Change {
            delay_ns: ns(self.delay),
            jitter_ns: ns(self.jitter),
            loss: self.loss,
            reorder: self.reorder,
            reorder_hold_ns: ns(self.reorder_hold),
            duplicate: self.duplicate,
            rate_bps: self.rate,
            queue_frames: self.queue,
            cut: self.cut,
        }
    }
}

/// Runs the command line of this process.
pub fn run() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    match &cli.command {
        Command::Up { file, keep, seed } => up(&cli, file, *keep, *seed),
        Command::Down => {
            let name = running(&cli)?;
            if lab::remove(&name)? {
                println!("lab {name}: removed");
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Status { json } => status(&cli, *json),
        Command::Demo {
            keep,
            json,
            only,
            file,
            seed,
        } => {
            wait::catch_signals()?;
            let result = demo::run(&DemoOptions {
                lab: file.clone(),
                only: only.clone(),
                json: json.clone().filter(|j| j.as_os_str() != "-"),
                up: options(&cli, *keep, *seed),
            })?;
            if json.as_ref().is_some_and(|j| j.as_os_str() == "-") {
                println!("{}", serde_json::to_string_pretty(&result)?);
            }
            println!(
                "demo: {} of {} steps ok in {:.0} s",
                result.steps.iter().filter(|s| s.ok).count(),
                result.steps.len(),
                result.seconds
            );
            if *keep {
                explore(&cli)?;
            }
            Ok(exit(result.ok))
        }
        Command::Names {
            file,
            calls,
            topology,
            seed,
            json,
        } => {
            wait::catch_signals()?;
            let result = names::run(&NamesOptions {
                lab: topology.clone(),
                file: file.clone(),
                calls: *calls,
                seed: *seed,
                up: options(&cli, false, *seed),
            })?;
            for example in &result.examples {
                eprintln!("{example}");
            }
            if result.unrepresentable > 0 {
                eprintln!(
                    "{} lines cannot be names and were left out",
                    result.unrepresentable
                );
            }
            if *json {
                println!("{}", serde_json::to_string_pretty(&result)?);
            } else {
                println!("{}", result.line());
            }
            Ok(exit(result.ok()))
        }
        Command::Topology {
            file,
            failures,
            seed,
            json,
        } => {
            wait::catch_signals()?;
            let result = topology::run(&TopologyOptions {
                file: file.clone(),
                failures: *failures,
                seed: *seed,
                up: options(&cli, false, *seed),
            })?;
            let wrong = result.examples.iter().chain(&result.not_shortest);
            for example in wrong.take(20) {
                eprintln!("{example}");
            }
            if *json {
                println!("{}", serde_json::to_string_pretty(&result)?);
            }
            println!("topology: {}", if result.ok() { "ok" } else { "FAILED" });
            Ok(exit(result.ok()))
        }
        Command::Table { file } => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            print!("{}", table::markdown(&serde_json::from_str(&text)?)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Exec { node, command } => exec(&cli, node, command),
        Command::Wire(command) => wire(&cli, command),
        Command::HttpCheck {
            host,
            rate,
            seconds,
            timeout,
            post,
            records,
        } => {
            wait::catch_signals()?;
            check::run(&CheckOptions {
                host: host.clone(),
                rate: *rate,
                seconds: *seconds,
                timeout: *timeout,
                post: *post,
                records: records.clone(),
            })?;
            Ok(ExitCode::SUCCESS)
        }
        Command::HttpBad { http, tcp, host } => {
            let ended = bad::run(&Target {
                http: *http,
                tcp: *tcp,
                host: host.clone(),
            })?;
            println!("{}", serde_json::to_string(&ended)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::OldPod {
            gateway,
            identity,
            credentials,
            name,
        } => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(old_pod::run(&OldPod {
                gateway: gateway.clone(),
                identity: identity.clone(),
                credentials: credentials.clone(),
                name: name.clone(),
            }))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Sink { port, seconds } => sink(*port, *seconds),
    }
}

fn exit(ok: bool) -> ExitCode {
    if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn options(cli: &Cli, keep: bool, seed: u64) -> Options {
    Options {
        keep,
        programs: cli.bin_dir.clone(),
        seed,
        ..Options::default()
    }
}

fn up(cli: &Cli, file: &Path, keep: bool, seed: u64) -> anyhow::Result<ExitCode> {
    wait::catch_signals()?;
    let lab = Lab::up(file, &options(cli, keep, seed))?;
    let name = lab.plan.name.clone();
    if keep {
        drop(lab);
        println!("lab {name} is up; `dmsc-lab down` removes it");
        explore(cli)?;
        return Ok(ExitCode::SUCCESS);
    }
    println!("lab {name} is up; Ctrl-C removes it");
    while !wait::interrupted() {
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(lab);
    println!("lab {name}: removed");
    Ok(ExitCode::SUCCESS)
}

fn exec(cli: &Cli, node: &str, command: &[String]) -> anyhow::Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    let (_, _, plan) = load(cli)?;
    let namespace = plan.namespace_of(node)?;
    // Does not return: this process becomes the command.
    let error = std::process::Command::new("ip")
        .args(["netns", "exec", &namespace])
        .args(command)
        .exec();
    Err(error).context("cannot run ip")
}

fn wire(cli: &Cli, command: &Wire) -> anyhow::Result<ExitCode> {
    let (answer, json) = match command {
        Wire::Run {
            a,
            b,
            control: socket,
            seed,
            change,
        } => {
            let handle = Handle::default();
            handle.set(Way::Both, true, &change.change())?;
            let pump = Pump::open(a, b, *seed, handle.clone())?;
            control::listen(socket, handle)
                .with_context(|| format!("cannot listen on {}", socket.display()))?;
            pump.run();
            return Ok(ExitCode::SUCCESS);
        }
        Wire::Set {
            link,
            change,
            way,
            reset,
            json,
        } => {
            let command = WireCommand::Set {
                way: *way,
                reset: *reset,
                change: change.change(),
            };
            (control::tell(&socket_of(cli, link)?, &command)?, *json)
        }
        Wire::Get { link, json } => (
            control::tell(&socket_of(cli, link)?, &WireCommand::Get)?,
            *json,
        ),
    };
    if json {
        println!("{}", serde_json::to_string_pretty(&answer)?);
    } else {
        for (way, index) in [("a to b", 0), ("b to a", 1)] {
            println!("{way}: {}", serde_json::to_string(&answer.settings[index])?);
            println!("{way}: {}", serde_json::to_string(&answer.counters[index])?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn socket_of(cli: &Cli, link: &str) -> anyhow::Result<PathBuf> {
    let (dir, _, plan) = load(cli)?;
    let link = &plan.links[plan.link(link)?];
    if !matches!(link.middle, Middle::Wire { .. }) {
        bail!(
            "link {} has no wire; set `wire = true` in the lab file",
            link.name
        );
    }
    Ok(wire_socket(&dir, &link.name))
}

fn sink(port: u16, seconds: u64) -> anyhow::Result<ExitCode> {
    wait::catch_signals()?;
    let socket = UdpSocket::bind(("0.0.0.0", port))?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    eprintln!("listening");
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut count, mut buffer) = (0u64, [0u8; 65_536]);
    while Instant::now() < end && !wait::interrupted() {
        if socket.recv(&mut buffer).is_ok() {
            count += 1;
        }
    }
    println!("{count}");
    Ok(ExitCode::SUCCESS)
}
