//! What came out, for machines: every round as it was measured, and medians and ratios of them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::calibrate::Prices;
use super::column::{Column, Protocol};
use super::machine::Machine;
use super::measure::{COMPARED_RATE, Plan, Point, Round};
use super::memory::Memory;
use super::processes::Process;
use super::stages::Stages;
use super::statistics::{BreakEven, Spread, break_even, less, ratio, spread};

/// Version of the JSON: a field that changes its meaning raises it.
pub const SCHEMA: u32 = 1;

/// A column that was asked for and could not run.
#[derive(Debug, Clone, Serialize)]
pub struct LeftOut {
    /// Which.
    pub column: Column,
    /// Why, and what to do.
    pub reason: String,
}

/// All that is known before the first round.
#[derive(Debug, Clone, Serialize)]
pub struct Setting {
    /// How it was started.
    pub command: String,
    /// What it ran on.
    pub machine: Machine,
    /// How long and how fast.
    pub plan: Plan,
    /// Length of an answer, bytes.
    pub size: usize,
    /// Rounds that were asked for.
    pub rounds: u32,
    /// After these, rounds with nothing but the load at 1,000/s.
    pub latency_rounds: u32,
    /// What single things cost here.
    pub prices: Prices,
}

impl Setting {
    /// Numbers of rounds go from 1 to this.
    pub fn all_rounds(&self) -> u32 {
        self.rounds + self.latency_rounds
    }
}

/// Everything.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// How it was started.
    pub command: String,
    /// The subcommand.
    pub name: &'static str,
    /// All rounds were measured.
    pub complete: bool,
    /// What it ran on.
    pub machine: Machine,
    /// The rest of what is known before.
    pub setting: Setting,
    /// Columns that could not run.
    pub left_out: Vec<LeftOut>,
    /// As measured.
    pub rounds: Vec<Round>,
    /// Of each protocol and column.
    pub summary: Vec<Summary>,
    /// Of each protocol: ours with the others.
    pub comparison: BTreeMap<&'static str, BTreeMap<&'static str, Comparison>>,
    /// Of HTTP/1.1, or what was measured instead: ours with the others, medians only.
    pub result: BTreeMap<&'static str, Verdict>,
}

/// A column over all rounds.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// What was spoken.
    pub protocol: Protocol,
    /// The way.
    pub column: Column,
    /// Highest rate, per second.
    pub rps: Option<Spread>,
    /// At the highest rate: CPU time of all processes per answer, µs.
    pub cpu_us: Option<Spread>,
    /// Of it over direct.
    pub added_cpu_us: Option<Spread>,
    /// At 1,000/s, µs.
    pub p50_us: Option<Spread>,
    /// At 1,000/s, µs.
    pub p99_us: Option<Spread>,
    /// At 1,000/s, µs.
    pub p999_us: Option<Spread>,
    /// At 1,000/s, over direct.
    pub added_p50_us: Option<Spread>,
    /// At 1,000/s, over direct.
    pub added_p99_us: Option<Spread>,
    /// By rising rate; the highest rate last, without a rate.
    pub curve: Vec<CurvePoint>,
    /// Over direct, at the highest rates of both.
    pub stages_at_maximum: Option<Stages>,
    /// Over direct, at 1,000/s.
    pub stages_at_1000: Option<Stages>,
    /// Each process by itself, at the highest rate.
    pub processes_at_maximum: Vec<Process>,
    /// Each process by itself, at 1,000/s.
    pub processes_at_1000: Vec<Process>,
    /// Of the node that has more, MB, by the number of services.
    pub memory: Vec<Memory>,
    /// Of one connection, Gbit/s.
    pub throughput_gbps: Option<Spread>,
    /// Calls that failed or were not answered.
    pub failed: u64,
    /// Largest share of CPU time that somebody else used meanwhile.
    pub foreign: f64,
    /// The rate from which on it adds no more than another column.
    pub break_even: BTreeMap<&'static str, BreakEven>,
}

/// CPU time at a rate.
#[derive(Debug, Clone, Serialize)]
pub struct CurvePoint {
    /// Per second; none: the highest.
    pub rate: Option<u64>,
    /// Of all processes per answer, µs.
    pub cpu_us: Spread,
    /// Of it over direct.
    pub added_us: Option<Spread>,
}

/// Ours with the others, taken within rounds. CPU and latency: what is added over direct, to what the other adds.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Comparison {
    /// At the highest rates.
    pub cpu_vs_envoy: Option<Spread>,
    /// At the highest rates; haproxy reads HTTP.
    pub cpu_vs_haproxy: Option<Spread>,
    /// At the highest rates; haproxy passes bytes.
    pub cpu_vs_haproxy_tcp: Option<Spread>,
    /// Highest rates.
    pub rps_vs_envoy: Option<Spread>,
    /// Highest rates.
    pub rps_vs_haproxy: Option<Spread>,
    /// At 1,000/s.
    pub p50_vs_envoy: Option<Spread>,
    /// At 1,000/s.
    pub p99_vs_envoy: Option<Spread>,
    /// At 1,000/s.
    pub p50_vs_haproxy: Option<Spread>,
    /// At 1,000/s.
    pub p99_vs_haproxy: Option<Spread>,
    /// One connection by iperf3.
    pub throughput_vs_haproxy_tcp: Option<Spread>,
    /// All of ours on a node, huge pages too, with as many services as were tried.
    pub memory_mb: Option<f64>,
}

/// The medians of a [`Comparison`]: null where something was not measured.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Verdict {
    cpu_vs_envoy: Option<f64>,
    cpu_vs_haproxy: Option<f64>,
    rps_vs_envoy: Option<f64>,
    p50_vs_envoy: Option<f64>,
    p99_vs_envoy: Option<f64>,
    throughput_vs_haproxy_tcp: Option<f64>,
    memory_mb: Option<f64>,
}

impl From<&Comparison> for Verdict {
    fn from(all: &Comparison) -> Self {
        let median = |spread: Option<Spread>| spread.map(|s| s.median);
        Self {
            cpu_vs_envoy: median(all.cpu_vs_envoy),
            cpu_vs_haproxy: median(all.cpu_vs_haproxy),
            rps_vs_envoy: median(all.rps_vs_envoy),
            p50_vs_envoy: median(all.p50_vs_envoy),
            p99_vs_envoy: median(all.p99_vs_envoy),
            throughput_vs_haproxy_tcp: median(all.throughput_vs_haproxy_tcp),
            memory_mb: all.memory_mb,
        }
    }
}

impl Report {
    /// Sums up `rounds`.
    pub fn new(
        setting: Setting,
        rounds: Vec<Round>,
        left_out: Vec<LeftOut>,
        complete: bool,
    ) -> Self {
        let data = Data {
            rounds: &rounds,
            count: setting.all_rounds(),
        };
        let mut summary = Vec::new();
        let mut comparison = BTreeMap::new();
        for protocol in Protocol::ALL {
            let measured = |column| data.of(protocol, column).next().is_some();
            let columns = Column::ALL.into_iter().filter(|column| measured(*column));
            summary.extend(columns.map(|column| data.summary(protocol, column, &setting)));
            if Column::ALL.into_iter().any(measured) {
                let ours = Column::OURS.map(|ours| (ours.text(), data.comparison(protocol, ours)));
                comparison.insert(protocol.text(), BTreeMap::from(ours));
            }
        }
        let first = Protocol::ALL
            .iter()
            .find_map(|protocol| comparison.get(protocol.text()));
        let result = Column::OURS
            .map(|ours| {
                let verdict = first.and_then(|all| all.get(ours.text()));
                (
                    ours.text(),
                    verdict.map_or_else(Verdict::default, Verdict::from),
                )
            })
            .into();
        Self {
            schema: SCHEMA,
            command: setting.command.clone(),
            name: "http",
            complete,
            machine: setting.machine.clone(),
            setting,
            left_out,
            rounds,
            summary,
            comparison,
            result,
        }
    }
}

/// Rounds, and series of figures out of them: one entry a round, so that columns can be compared within it.
struct Data<'a> {
    rounds: &'a [Round],
    count: u32,
}

type Series = Vec<Option<f64>>;

impl<'a> Data<'a> {
    fn of(&self, protocol: Protocol, column: Column) -> impl Iterator<Item = &'a Round> {
        self.rounds
            .iter()
            .filter(move |r| r.protocol == protocol && r.column == column)
    }

    fn series(
        &self,
        protocol: Protocol,
        column: Column,
        figure: impl Fn(&Round) -> Option<f64>,
    ) -> Series {
        (1..=self.count)
            .map(|number| {
                self.of(protocol, column)
                    .find(|r| r.round == number)
                    .and_then(&figure)
            })
            .collect()
    }

    fn maximum(&self, protocol: Protocol, column: Column, figure: fn(&Point) -> f64) -> Series {
        self.series(protocol, column, |r| r.best().map(figure))
    }

    fn at(
        &self,
        protocol: Protocol,
        column: Column,
        rate: u64,
        figure: fn(&Point) -> f64,
    ) -> Series {
        self.series(protocol, column, |r| r.at(rate).map(figure))
    }

    fn added_maximum(&self, protocol: Protocol, column: Column) -> Series {
        let of = |column| self.maximum(protocol, column, |p| p.cpu_us);
        less(&of(column), &of(Column::Direct))
    }

    fn added_at(
        &self,
        protocol: Protocol,
        column: Column,
        rate: u64,
        figure: fn(&Point) -> f64,
    ) -> Series {
        let of = |column| self.at(protocol, column, rate, figure);
        less(&of(column), &of(Column::Direct))
    }

    fn rates(&self, protocol: Protocol, column: Column) -> Vec<u64> {
        let mut rates: Vec<u64> = self
            .of(protocol, column)
            .flat_map(|r| r.curve.iter().filter_map(|p| p.rate))
            .collect();
        rates.sort_unstable();
        rates.dedup();
        rates
    }

    fn curve(&self, protocol: Protocol, column: Column) -> Vec<CurvePoint> {
        let mut curve: Vec<CurvePoint> = self
            .rates(protocol, column)
            .into_iter()
            .filter_map(|rate| {
                Some(CurvePoint {
                    rate: Some(rate),
                    cpu_us: spread(
                        self.at(protocol, column, rate, |p| p.cpu_us)
                            .into_iter()
                            .flatten(),
                    )?,
                    added_us: spread(
                        self.added_at(protocol, column, rate, |p| p.cpu_us)
                            .into_iter()
                            .flatten(),
                    ),
                })
            })
            .collect();
        let maximum = self.maximum(protocol, column, |p| p.cpu_us);
        if let Some(cpu_us) = spread(maximum.into_iter().flatten()) {
            curve.push(CurvePoint {
                rate: None,
                cpu_us,
                added_us: spread(self.added_maximum(protocol, column).into_iter().flatten()),
            });
        }
        curve
    }

    fn added_curve(&self, protocol: Protocol, column: Column) -> Vec<(u64, f64)> {
        self.curve(protocol, column)
            .iter()
            .filter_map(|point| Some((point.rate?, point.added_us?.median)))
            .collect()
    }

    fn stages(
        &self,
        protocol: Protocol,
        column: Column,
        prices: &Prices,
        of: impl Fn(&'a Round) -> Option<&'a Point>,
    ) -> Option<Stages> {
        let all: Vec<Stages> = self
            .of(protocol, column)
            .filter_map(|round| {
                let direct = self
                    .of(protocol, Column::Direct)
                    .find(|r| r.round == round.round)?;
                Some(Stages::of(column, of(round)?, of(direct)?, prices))
            })
            .collect();
        Stages::mean(&all)
    }

    fn processes(
        &self,
        protocol: Protocol,
        column: Column,
        of: impl Fn(&'a Round) -> Option<&'a Point>,
    ) -> Vec<Process> {
        let points = self.of(protocol, column).filter_map(of);
        let rounds: Vec<&[Process]> = points.map(|point| &point.processes[..]).collect();
        Process::means(&rounds)
    }

    fn summary(&self, protocol: Protocol, column: Column, setting: &Setting) -> Summary {
        let some = |series: Series| spread(series.into_iter().flatten());
        let at = |figure| some(self.at(protocol, column, COMPARED_RATE, figure));
        let added = |figure| some(self.added_at(protocol, column, COMPARED_RATE, figure));
        let points = || {
            self.of(protocol, column)
                .flat_map(|r| r.maximum.iter().chain(&r.curve))
        };
        let own = self.added_curve(protocol, column);
        let peers = Column::PEERS.iter().filter(|_| column.is_ours());
        Summary {
            protocol,
            column,
            rps: some(self.maximum(protocol, column, |p| p.seen.rps)),
            cpu_us: some(self.maximum(protocol, column, |p| p.cpu_us)),
            added_cpu_us: some(self.added_maximum(protocol, column)),
            p50_us: at(|p| p.seen.p50_us),
            p99_us: at(|p| p.seen.p99_us),
            p999_us: at(|p| p.seen.p999_us),
            added_p50_us: added(|p| p.seen.p50_us),
            added_p99_us: added(|p| p.seen.p99_us),
            curve: self.curve(protocol, column),
            stages_at_maximum: self.stages(protocol, column, &setting.prices, Round::best),
            stages_at_1000: self.stages(protocol, column, &setting.prices, |r| r.at(COMPARED_RATE)),
            processes_at_maximum: self.processes(protocol, column, Round::best),
            processes_at_1000: self.processes(protocol, column, |r| r.at(COMPARED_RATE)),
            memory: self
                .of(protocol, column)
                .flat_map(|r| r.memory.iter().copied())
                .collect(),
            throughput_gbps: some(self.series(protocol, column, |r| r.throughput_gbps)),
            failed: points().map(|p| p.seen.failed + p.seen.unanswered).sum(),
            foreign: points().map(|p| p.foreign).fold(0.0, f64::max),
            break_even: peers
                .filter_map(|peer| {
                    let theirs = self.added_curve(protocol, *peer);
                    Some((peer.text(), break_even(&own, &theirs)?))
                })
                .collect(),
        }
    }

    fn comparison(&self, protocol: Protocol, ours: Column) -> Comparison {
        let cpu = |peer| {
            ratio(
                &self.added_maximum(protocol, ours),
                &self.added_maximum(protocol, peer),
            )
        };
        let rps = |peer| {
            let of = |column| self.maximum(protocol, column, |p| p.seen.rps);
            ratio(&of(ours), &of(peer))
        };
        let latency = |peer, figure: fn(&Point) -> f64| {
            let of = |column| self.added_at(protocol, column, COMPARED_RATE, figure);
            ratio(&of(ours), &of(peer))
        };
        let throughput = |column| self.series(protocol, column, |r| r.throughput_gbps);
        let memory = self
            .of(protocol, ours)
            .flat_map(|r| &r.memory)
            .max_by_key(|memory| memory.services);
        Comparison {
            cpu_vs_envoy: cpu(Column::Envoy),
            cpu_vs_haproxy: cpu(Column::HaproxyHttp),
            cpu_vs_haproxy_tcp: cpu(Column::HaproxyTcp),
            rps_vs_envoy: rps(Column::Envoy),
            rps_vs_haproxy: rps(Column::HaproxyHttp),
            p50_vs_envoy: latency(Column::Envoy, |p| p.seen.p50_us),
            p99_vs_envoy: latency(Column::Envoy, |p| p.seen.p99_us),
            p50_vs_haproxy: latency(Column::HaproxyHttp, |p| p.seen.p50_us),
            p99_vs_haproxy: latency(Column::HaproxyHttp, |p| p.seen.p99_us),
            throughput_vs_haproxy_tcp: ratio(&throughput(ours), &throughput(Column::HaproxyTcp)),
            memory_mb: memory.map(Memory::node_mb),
        }
    }
}

#[cfg(test)]
mod tests;
