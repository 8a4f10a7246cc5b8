//! A run: every column in every round, one after the other.

use std::path::Path;

use anyhow::{Context as _, bail};
use dmsc_lab::wait;

use super::args::{Attach, HttpArgs};
use super::calibrate::Prices;
use super::certificates::Certificates;
use super::column::{Column, Protocol};
use super::machine::Machine;
use super::measure::{self, COMPARED_RATE, Plan, Point, Round};
use super::peers;
use super::report::{LeftOut, Report, Setting};
use super::rig::{Programs, Rig, Wanted};
use super::site::Site;

/// Rates of the curve, per second; a column leaves off where it no longer keeps up.
const RATES: [u64; 8] = [100, 300, 1_000, 3_000, 10_000, 20_000, 30_000, 100_000];
/// Calls under way when the highest rate is looked for.
const CONNECTIONS: [usize; 2] = [16, 64];
/// A run: what was asked for and what there is.
#[derive(Debug)]
pub struct Run {
    setting: Setting,
    columns: Vec<Column>,
    protocols: Vec<Protocol>,
    services: usize,
    attach: Attach,
    programs: Programs,
    left_out: Vec<LeftOut>,
    iperf: bool,
}

impl Run {
    /// Looks for what there is, and measures prices.
    ///
    /// # Errors
    /// When prices cannot be measured.
    pub fn prepare(args: &HttpArgs, cores: Vec<usize>) -> anyhow::Result<Self> {
        if !args.quick && args.rounds + args.latency_rounds == 0 {
            bail!("--rounds 0 and --latency-rounds 0: nothing is to be measured; give one of them");
        }
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
        let mut versions = Vec::new();
        let mut columns = args.columns.clone();
        if !columns.contains(&Column::Direct) {
            eprintln!("http: direct is measured too: the others are compared to it");
            columns.push(Column::Direct);
        }
        columns.sort_unstable();
        columns.dedup();
        columns.retain(|column| {
            let there = peers::find(*column, &tools, &mut programs, &mut versions);
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
        let iperf = peers::version("iperf3", "--version");
        if iperf.is_none() {
            eprintln!("http: throughput is left out: there is no iperf3; apt-get install iperf3");
        }
        versions.extend(iperf.clone());
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
                machine: Machine::read(versions),
                plan,
                size,
                rounds: if args.quick { 1 } else { args.rounds },
                latency_rounds: if args.quick { 0 } else { args.latency_rounds },
                prices: Prices::measure(size, &cores)?,
            },
            columns,
            protocols,
            services: args.services as usize,
            attach: args.attach,
            programs,
            left_out,
            iperf: iperf.is_some(),
        })
    }

    /// Measures all rounds. What was measured is in `rounds` also when it fails.
    ///
    /// # Errors
    /// What failed, where, and where logs are.
    pub fn all(&self, rounds: &mut Vec<Round>) -> anyhow::Result<()> {
        let site = Site::make()?;
        let files = Certificates::make(site.path())?;
        let mut complete = || -> anyhow::Result<()> {
            for number in 1..=self.setting.all_rounds() {
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

    /// What came out.
    pub fn report(self, rounds: Vec<Round>, complete: bool) -> Report {
        Report::new(self.setting, rounds, self.left_out, complete)
    }

    fn one(
        &self,
        site: &Site,
        files: &Certificates,
        column: Column,
        protocol: Protocol,
        number: u32,
    ) -> anyhow::Result<Round> {
        let all = self.setting.all_rounds();
        let title = format!(
            "round {number} of {all}: {} {}",
            protocol.text(),
            column.text()
        );
        let about = || format!("in {title}");
        let only_latency = number > self.setting.rounds;
        let plan = if only_latency {
            &self.setting.plan.only_at(COMPARED_RATE)
        } else {
            &self.setting.plan
        };
        let start = |services| {
            let wanted = Wanted {
                column,
                protocol,
                services,
                size: self.setting.size,
                attach: self.attach,
            };
            Rig::start(wanted, site, files, &self.programs).with_context(about)
        };
        let say = |point: &Point| eprintln!("http: {title}: {}", progress(point));
        let mut rig = start(1)?;
        let mut round = measure::round(&mut rig, plan, column, number, &say).with_context(about)?;
        let bytes = rig
            .iperf
            .filter(|_| self.iperf && !only_latency && protocol == Protocol::H1);
        if let Some(target) = bytes {
            let rate = beside(rig.throughput(site, target, plan.seconds), &title)?;
            round.throughput_gbps = rate;
        }
        if number == 1 && !only_latency && column != Column::Direct {
            let one = measure::memory(&mut rig, plan, 1);
            drop(rig);
            let many = || measure::memory(&mut start(self.services)?, plan, self.services);
            let both = one.and_then(|one| Ok(vec![one, many()?]));
            round.memory = beside(both, &title)?.unwrap_or_default();
        }
        if let Some(rate) = round.throughput_gbps {
            eprintln!("http: {title}: iperf3 {rate:.2} Gbit/s");
        }
        for memory in &round.memory {
            let (services, mb) = (memory.services, memory.node_mb());
            eprintln!("http: {title}: {mb:.0} MB, services {services}");
        }
        Ok(round)
    }
}

/// What is measured beside calls is left out when it fails: the calls are not lost for it.
///
/// # Errors
/// When somebody asks to stop.
fn beside<T>(result: anyhow::Result<T>, title: &str) -> anyhow::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if wait::interrupted() => Err(error),
        Err(error) => {
            eprintln!("http: {title}: left out: {error:#}");
            Ok(None)
        }
    }
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
