//! One column in one round: the highest rates, then every rate of the curve, on processes that were started for it.

use std::collections::BTreeMap;
use std::time::Duration;

use dmsc_lab::{net, wait};
use serde::Serialize;

use super::column::{Column, Protocol};
use super::cost::{Cost, Part, Snapshot, Usage};
use super::load::{self, Load, Pace, Seen};
use super::memory::Memory;
use super::processes::Process;
use super::rig::Rig;

/// The rate at which latencies are compared, per second.
pub const COMPARED_RATE: u64 = 1_000;
/// Of a rate, from which on it counts as reached.
const REACHED: f64 = 0.99;

/// How long, and how fast.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// Of each point, s.
    pub seconds: f64,
    /// Before it, s.
    pub warm_up: f64,
    /// Calls under way in the closed loop.
    pub connections: Vec<usize>,
    /// Of the open loop, per second.
    pub rates: Vec<u64>,
    /// Cores that all runs on.
    pub cores: Vec<usize>,
}

impl Plan {
    /// One point of the curve, and nothing else.
    pub fn only_at(&self, rate: u64) -> Plan {
        Plan {
            connections: Vec::new(),
            rates: vec![rate],
            ..self.clone()
        }
    }
}

/// CPU time of a part, per answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct PerAnswer {
    /// All, µs.
    pub cpu_us: f64,
    /// Of it in the kernel, µs.
    pub kernel_us: f64,
    /// Times that a thread slept and was woken.
    pub wake_ups: f64,
}

/// One load and what it cost.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Point {
    /// Calls under way, of a closed loop.
    pub connections: Option<usize>,
    /// Requests per second that were due, of an open one.
    pub rate: Option<u64>,
    /// Of an open loop: it kept up.
    pub reached: bool,
    /// What the load generator saw.
    pub seen: Seen,
    /// CPU time of all processes on the path, client and server too, per answer, µs.
    pub cpu_us: f64,
    /// Time in which the cores were not idle, per answer, µs.
    pub busy_us: f64,
    /// Share of it that nobody on the path used.
    pub foreign: f64,
    /// By part.
    pub parts: BTreeMap<Part, PerAnswer>,
    /// One by one, in the order of [`Process`].
    pub processes: Vec<Process>,
}

impl Point {
    fn new(pace: Pace, seen: Seen, answers: u64, cost: &Cost) -> Self {
        let per = |ns: u64| ns as f64 / 1_000.0 / answers.max(1) as f64;
        let per_answer = |usage: &Usage| PerAnswer {
            cpu_us: per(usage.cpu_ns),
            kernel_us: per(usage.kernel_ns.min(usage.cpu_ns)),
            wake_ups: usage.sleeps as f64 / answers.max(1) as f64,
        };
        let (connections, rate) = match pace {
            Pace::Closed(connections) => (Some(connections), None),
            Pace::Open(rate) => (None, Some(rate)),
        };
        Self {
            connections,
            rate,
            reached: rate.is_none_or(|rate| seen.rps >= REACHED * rate as f64),
            seen,
            cpu_us: per(cost.cpu_ns()),
            busy_us: per(cost.busy_ns),
            foreign: cost.foreign(),
            parts: cost
                .parts()
                .iter()
                .map(|(part, usage)| (*part, per_answer(usage)))
                .collect(),
            processes: cost
                .ends
                .iter()
                .map(|((part, side), usage)| Process {
                    part: *part,
                    side: *side,
                    used: per_answer(usage),
                })
                .collect(),
        }
    }
}

/// A column in a round.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    /// From 1.
    pub round: u32,
    /// What was spoken.
    pub protocol: Protocol,
    /// The way.
    pub column: Column,
    /// Closed loops.
    pub maximum: Vec<Point>,
    /// Open loops, by rising rate, as far as the column keeps up.
    pub curve: Vec<Point>,
    /// Of what is between client and server; in the first round.
    pub memory: Vec<Memory>,
    /// Of one connection, Gbit/s.
    pub throughput_gbps: Option<f64>,
}

impl Round {
    /// The highest rate of it.
    pub fn best(&self) -> Option<&Point> {
        self.maximum
            .iter()
            .max_by(|a, b| a.seen.rps.total_cmp(&b.seen.rps))
    }

    /// The point at `rate`, if it kept up.
    pub fn at(&self, rate: u64) -> Option<&Point> {
        self.curve
            .iter()
            .find(|point| point.rate == Some(rate) && point.reached)
    }
}

/// Measures `rig`; `say` is told of every point.
///
/// # Errors
/// When calls fail, a process ends, or somebody asks to stop.
pub fn round(
    rig: &mut Rig,
    plan: &Plan,
    column: Column,
    number: u32,
    say: &dyn Fn(&Point),
) -> anyhow::Result<Round> {
    let mut done = Round {
        round: number,
        protocol: rig.question.protocol,
        column,
        maximum: Vec::new(),
        curve: Vec::new(),
        memory: Vec::new(),
        throughput_gbps: None,
    };
    for connections in &plan.connections {
        let point = point(rig, plan, Pace::Closed(*connections))?;
        say(&point);
        done.maximum.push(point);
    }
    let highest = done.best().map_or(f64::INFINITY, |point| point.seen.rps);
    for rate in &plan.rates {
        // Beyond its highest rate a queue would be measured.
        if *rate as f64 > 0.9 * highest {
            break;
        }
        let point = point(rig, plan, Pace::Open(*rate))?;
        say(&point);
        done.curve.push(point);
    }
    Ok(done)
}

/// Loads every service for a moment, and reads what the processes have then.
///
/// # Errors
/// When calls fail.
pub fn memory(rig: &mut Rig, plan: &Plan, services: usize) -> anyhow::Result<Memory> {
    point(rig, plan, Pace::Closed(16))?;
    Ok(Memory::take(rig.members(), services))
}

fn point(rig: &mut Rig, plan: &Plan, pace: Pace) -> anyhow::Result<Point> {
    let load = Load {
        target: rig.target.clone(),
        question: rig.question.clone(),
        pace,
        warm_up: plan.warm_up,
        seconds: plan.seconds,
    };
    let members = rig.members().to_vec();
    let cores = plan.cores.clone();
    let loaded = net::inside(&rig.namespace, move || {
        load::run(&load, || Snapshot::take(&members, &cores))
    });
    rig.check()?;
    let loaded = loaded?;
    let [before, after] = &loaded.samples;
    let cost = after.since(before);
    // What the last load left under way is none of the next one's.
    wait::pause(Duration::from_millis(100))?;
    Ok(Point::new(pace, loaded.seen, loaded.between, &cost))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::cost::Side;

    #[test]
    fn cost_is_per_answer_and_adds_up() {
        let usage = |cpu_ns, kernel_ns, sleeps| Usage {
            cpu_ns,
            kernel_ns,
            sleeps,
        };
        let cost = Cost {
            busy_ns: 50_000_000,
            ends: [
                (
                    (Part::Client, Side::Near),
                    usage(10_000_000, 4_000_000, 500),
                ),
                (
                    (Part::Proxy, Side::Near),
                    usage(20_000_000, 99_000_000, 1_500),
                ),
                ((Part::Proxy, Side::Far), usage(10_000_000, 0, 500)),
            ]
            .into(),
        };
        let seen = Seen {
            rps: 995.0,
            ..Seen::default()
        };
        let point = Point::new(Pace::Open(1_000), seen, 1_000, &cost);
        assert!(point.reached);
        assert!((point.cpu_us - 40.0).abs() < 1e-9);
        assert!((point.busy_us - 50.0).abs() < 1e-9);
        assert!((point.foreign - 0.2).abs() < 1e-9);
        let proxy = point.parts[&Part::Proxy];
        assert!((proxy.kernel_us - 30.0).abs() < 1e-9, "never more than all");
        assert!((proxy.cpu_us - 30.0).abs() < 1e-9, "both ends");
        assert!((proxy.wake_ups - 2.0).abs() < 1e-9);
        let [_client, near, far] = &point.processes[..] else {
            panic!("{:?}", point.processes)
        };
        assert_eq!((near.side, far.side), (Side::Near, Side::Far));
        assert!((near.used.cpu_us - 20.0).abs() < 1e-9);
    }

    #[test]
    fn a_rate_that_was_not_reached_is_no_point_of_the_curve() {
        let point = |reached| Point {
            rate: Some(COMPARED_RATE),
            reached,
            ..Point::default()
        };
        let mut round = Round {
            round: 1,
            protocol: Protocol::H1,
            column: Column::Direct,
            maximum: Vec::new(),
            curve: vec![point(false)],
            memory: Vec::new(),
            throughput_gbps: None,
        };
        assert!(round.at(COMPARED_RATE).is_none());
        round.curve[0] = point(true);
        assert!(round.at(COMPARED_RATE).is_some());
        assert!(round.best().is_none());
    }
}
