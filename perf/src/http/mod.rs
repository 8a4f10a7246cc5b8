//! What a call over HTTP costs: directly, through pairs of proxies, and over names; one run, interleaved, the same load, server, cores and hops.
//!
//! `column`: what is compared; `site`, `certificates`, `envoy`, `haproxy`, `ours`, `membership`, `rig`: what it runs on; `server`, `load`: the two ends; `cost`,
//! `memory`, `iperf`, `calibrate`, `machine`: what is read; `measure`: one column in one round; `statistics`, `stages`, `report`, `table`: what
//! comes out.

mod args;
mod calibrate;
mod certificates;
mod column;
mod cost;
mod envoy;
mod haproxy;
mod iperf;
mod load;
mod machine;
mod measure;
mod membership;
mod memory;
mod ours;
mod report;
mod rig;
mod server;
mod site;
mod stages;
mod statistics;
mod table;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};
use dmsc_lab::wait;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

pub use args::{HttpArgs, ServerArgs};
use calibrate::Prices;
use certificates::Certificates;
use column::{Column, Protocol};
use machine::Machine;
use measure::{Plan, Point, Round};
use report::{LeftOut, Report, Setting};
use rig::{Programs, Rig, Wanted};
use site::Site;

/// Rates of the curve, per second; a column leaves off where it no longer keeps up.
const RATES: [u64; 7] = [100, 300, 1_000, 3_000, 10_000, 30_000, 100_000];
/// Calls under way when the highest rate is looked for.
const CONNECTIONS: [usize; 2] = [16, 64];
/// Cores that everything shares.
const CORES: usize = 2;

/// Serves pages until the process is ended.
///
/// # Errors
/// When it cannot listen.
pub fn serve(args: &ServerArgs) -> anyhow::Result<ExitCode> {
    let size = args.size;
    if let Some(membership) = &args.membership {
        server::run_on_names(membership, args.services, size)?;
    }
    if let Some(listen) = args.listen {
        server::run(listen, size, |address| {
            eprintln!("serving pages of {size} bytes on {address}");
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Measures, and shows what came out.
///
/// # Errors
/// When it cannot be run, or somebody asks to stop; what was measured until then is shown all the same.
pub fn run(args: &HttpArgs) -> anyhow::Result<ExitCode> {
    if !nix::unistd::geteuid().is_root() {
        bail!("http makes network namespaces and needs root: run it with sudo");
    }
    dmsc_lab::tools::check(false)?;
    wait::catch_signals()?;
    let cores = share_cores()?;
    let run = Run::prepare(args, cores)?;
    let mut rounds = Vec::new();
    let result = run.all(&mut rounds);
    let report = Report::new(run.setting, rounds, run.left_out, result.is_ok());
    let text = serde_json::to_string_pretty(&report)? + "\n";
    match &args.json {
        Some(path) if path.as_os_str() == "-" => print!("{text}"),
        Some(path) => {
            std::fs::write(path, text)
                .with_context(|| format!("cannot write {}", path.display()))?;
            println!("{}", table::show(&report));
        }
        None => println!("{}", table::show(&report)),
    }
    result?;
    Ok(ExitCode::SUCCESS)
}

/// Everything that is started from here on runs on the first two cores that this process may use.
fn share_cores() -> anyhow::Result<Vec<usize>> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let cores: Vec<usize> = (0..CpuSet::count())
        .filter(|core| allowed.is_set(*core).unwrap_or(false))
        .take(CORES)
        .collect();
    let mut set = CpuSet::new();
    for core in &cores {
        set.set(*core)?;
    }
    sched_setaffinity(Pid::from_raw(0), &set)?;
    Ok(cores)
}

/// A run: what was asked for and what there is.
struct Run {
    setting: Setting,
    columns: Vec<Column>,
    protocols: Vec<Protocol>,
    services: usize,
    programs: Programs,
    left_out: Vec<LeftOut>,
    iperf: bool,
}

impl Run {
    fn prepare(args: &HttpArgs, cores: Vec<usize>) -> anyhow::Result<Self> {
        let own = std::env::current_exe()?;
        let beside = own.parent().unwrap_or(Path::new("."));
        let tools = args
            .tools
            .clone()
            .unwrap_or_else(|| beside.parent().unwrap_or(beside).join("tools"));
        let mut programs = Programs {
            own: own.clone(),
            ours: args.bin_dir.clone().unwrap_or_else(|| beside.into()),
            envoy: None,
        };
        let mut left_out = Vec::new();
        let mut peers = Vec::new();
        let mut columns = args.columns.clone();
        if !columns.contains(&Column::Direct) {
            eprintln!("http: direct is measured too: the others are compared to it");
            columns.push(Column::Direct);
        }
        columns.sort_unstable();
        columns.dedup();
        columns.retain(|column| {
            let there = find(*column, &tools, &mut programs, &mut peers);
            if let Err(reason) = &there {
                let reason = format!("{reason:#}");
                eprintln!("http: {} is left out: {reason}", column.text());
                left_out.push(LeftOut {
                    column: *column,
                    reason,
                });
            }
            there.is_ok()
        });
        let iperf = version("iperf3", "--version");
        if iperf.is_none() {
            eprintln!("http: throughput is left out: there is no iperf3; apt-get install iperf3");
        }
        peers.extend(iperf.clone());
        let mut protocols = args.protocol.clone();
        protocols.sort_unstable();
        protocols.dedup();
        let size = args.size as usize;
        let plan = Plan {
            seconds: if args.quick { 1.0 } else { args.seconds as f64 },
            warm_up: if args.quick { 0.3 } else { 0.7 },
            connections: CONNECTIONS.to_vec(),
            rates: if args.quick {
                vec![300, 1_000, 3_000]
            } else {
                RATES.to_vec()
            },
            cores: cores.clone(),
        };
        Ok(Self {
            setting: Setting {
                command: std::env::args().collect::<Vec<_>>().join(" "),
                machine: Machine::read(&cores, peers),
                plan,
                size,
                rounds: if args.quick { 1 } else { args.rounds },
                prices: Prices::measure(size)?,
            },
            columns,
            protocols,
            services: args.services as usize,
            programs,
            left_out,
            iperf: iperf.is_some(),
        })
    }

    fn all(&self, rounds: &mut Vec<Round>) -> anyhow::Result<()> {
        let site = Site::make()?;
        let files = Certificates::make(site.path())?;
        let mut complete = || -> anyhow::Result<()> {
            for number in 1..=self.setting.rounds {
                for protocol in &self.protocols {
                    for column in &self.columns {
                        rounds.push(self.one(&site, &files, *column, *protocol, number)?);
                    }
                }
            }
            Ok(())
        };
        let result = complete();
        if result.is_ok() || wait::interrupted() {
            let _ = std::fs::remove_dir_all(site.logs()); // nobody needs them any more
            return result;
        }
        result.with_context(|| format!("logs are in {}", site.logs().display()))
    }

    fn one(
        &self,
        site: &Site,
        files: &Certificates,
        column: Column,
        protocol: Protocol,
        number: u32,
    ) -> anyhow::Result<Round> {
        let all = self.setting.rounds;
        let title = format!(
            "round {number} of {all}: {} {}",
            protocol.text(),
            column.text()
        );
        let about = || format!("in {title}");
        let plan = &self.setting.plan;
        let start = |services| {
            let wanted = Wanted {
                column,
                protocol,
                services,
                size: self.setting.size,
            };
            Rig::start(wanted, site, files, &self.programs).with_context(about)
        };
        let say = |point: &Point| eprintln!("http: {title}: {}", progress(point));
        let mut rig = start(1)?;
        let mut round = measure::round(&mut rig, plan, column, number, &say).with_context(about)?;
        if let (Some(target), true, Some(Protocol::H1)) =
            (rig.iperf, self.iperf, self.protocols.first())
            && protocol == Protocol::H1
        {
            let rate = rig
                .throughput(site, target, plan.seconds)
                .with_context(about)?;
            eprintln!("http: {title}: iperf3 {rate:.2} Gbit/s");
            round.throughput_gbps = Some(rate);
        }
        if number == 1 && column != Column::Direct {
            round
                .memory
                .push(measure::memory(&mut rig, plan, 1).with_context(about)?);
            drop(rig);
            let mut rig = start(self.services)?;
            let memory = measure::memory(&mut rig, plan, self.services).with_context(about)?;
            eprintln!(
                "http: {title}: {:.0} MB with one service, {:.0} MB with {}",
                round.memory[0].node_mb(),
                memory.node_mb(),
                self.services
            );
            round.memory.push(memory);
        }
        Ok(round)
    }
}

/// Looks for what `column` needs; `programs` gets it, `peers` its version.
fn find(
    column: Column,
    tools: &Path,
    programs: &mut Programs,
    peers: &mut Vec<String>,
) -> anyhow::Result<()> {
    match column {
        Column::Direct => {}
        Column::Envoy => {
            let program: PathBuf = envoy::locate(tools)?;
            peers.extend(version(&program.display().to_string(), "--version"));
            programs.envoy = Some(program);
        }
        Column::HaproxyHttp | Column::HaproxyTcp => {
            let version =
                version("haproxy", "-v").context("there is no haproxy: apt-get install haproxy")?;
            if !peers.contains(&version) {
                peers.push(version);
            }
        }
        Column::Edge => {
            dmsc_lab::tools::Programs::locate(Some(&programs.ours))?;
            if !programs.ours.join("dmsc-edge").is_file() {
                bail!(
                    "dmsc-edge is not in {}: build it, or name its folder with --bin-dir",
                    programs.ours.display()
                );
            }
        }
        Column::Library => {
            dmsc_lab::tools::Programs::locate(Some(&programs.ours))?;
        }
    }
    Ok(())
}

/// The first line that says something.
fn version(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .map(String::from)
}

/// A point in a line.
fn progress(point: &Point) -> String {
    let seen = &point.seen;
    let load = match (point.connections, point.rate) {
        (Some(connections), _) => format!("{connections} connections: {:.0}/s", seen.rps),
        (_, Some(rate)) => format!("{rate}/s"),
        _ => String::new(),
    };
    let mut text = format!(
        "{load}, CPU {:.1} µs, p50 {:.0}, p99 {:.0}, p99.9 {:.0} µs",
        point.cpu_us, seen.p50_us, seen.p99_us, seen.p999_us
    );
    if !point.reached {
        text.push_str(", did not keep up");
    }
    if seen.failed + seen.unanswered > 0 {
        text.push_str(&format!(
            ", {} failed {:?}, {} not answered",
            seen.failed, seen.reasons, seen.unanswered
        ));
    }
    if point.foreign > 0.1 {
        text.push_str(&format!(
            ", {:.0} % of the busy time was others'",
            point.foreign * 100.0
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_said() {
        assert_eq!(version("no-such-program-anywhere", "-v"), None);
        let mut peers = Vec::new();
        let error = find(
            Column::Edge,
            Path::new("/nowhere"),
            &mut Programs::default(),
            &mut peers,
        );
        assert!(error.is_err());
    }

    #[test]
    fn progress_says_what_is_not_as_it_should_be() {
        let point = Point {
            rate: Some(1_000),
            foreign: 0.5,
            ..Point::default()
        };
        let text = progress(&point);
        assert!(
            text.contains("did not keep up") && text.contains("50 %"),
            "{text}"
        );
    }
}
