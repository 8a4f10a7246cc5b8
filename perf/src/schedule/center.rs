//! The scheduling center and what gateways do for it, in virtual time: probes, reports, policies on their way, policies in effect.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use dmsc_linkstate::action::Topology as Metric;
use dmsc_scsc::stream::Encoder;
use dmsc_scsc::threshold::Level;
use dmsc_scsc::{
    GroupId, Held, LinkKey, Pair, PlainMember, Policy, Report, Scsc, ScscConfig, Thresholds, apply,
};
use dmsc_wire::{Domain, NameBuf, PortId};

use super::network::{Direction, Tables, node_id};
use super::services::{CAPACITY_KBPS, Services, WayId};
use super::world::{Fault, Luck, Scene, unit};
use crate::prng::Prng;

/// The tenant of all groups.
pub const TENANT: Domain = Domain(1);
/// From a probe to the report with it: a burst, and its answers.
const COLLECT_US: u64 = 400_000;
/// From a report's arrival to the decision.
const DECIDE_US: u64 = 20_000;
/// From a policy's arrival to the generation with it in force: verification, transaction, publication.
const PROGRAM_US: u64 = 15_000;
/// From the end of a second of counting to when everybody knows.
const FLOOD_US: u64 = 100_000;
/// Probes in a burst after an unusual one.
const BURST: usize = dmsc_scsc::probe::BURST as usize;
const SECOND_US: u64 = 1_000_000;

/// Virtual time, µs.
pub type Micros = u64;

#[derive(Debug)]
enum Event {
    /// Every gateway, every second, each at its own moment.
    Probe(usize),
    Reports(Vec<(Pair, Report)>),
    Step,
    Policy(usize, Box<Policy>),
    /// Every link counted for a second.
    Count,
    Advertise(Vec<f64>),
}

/// What a gateway knows of a pair by itself.
#[derive(Debug, Clone)]
struct Probed {
    way: WayId,
    pair: Pair,
    usual_us: f64,
    before_us: Option<u32>,
    /// Bursts go on while delay varies.
    varies: bool,
}

/// Something that came into effect.
#[derive(Debug, Clone, Copy)]
pub struct Effect {
    pub at: Micros,
    pub caller: usize,
}

/// What is counted.
#[derive(Debug, Default, Clone)]
pub struct Counts {
    /// Policies that changed something, by group.
    pub policies: Vec<u32>,
    /// The same by caller: by prefix and gateway.
    pub by_caller: Vec<u32>,
    pub renewals: u64,
    /// Most of a group's traffic that moved in a step.
    pub moved_share: f64,
    pub loops: u64,
    pub probes: u64,
    pub reports: u64,
    /// Reports that were encoded, their bytes, and the longest.
    pub encoded: u64,
    pub bytes: u64,
    pub longest: usize,
}

pub struct Center<'a> {
    services: &'a Services,
    tables: &'a Tables,
    scsc: Scsc,
    held: Vec<Held>,
    probed: Vec<Vec<Probed>>,
    /// Callers by group and gateway.
    callers: Vec<Vec<Option<usize>>>,
    /// Ways between gateways and the center.
    control: Vec<(f64, Vec<Direction>)>,
    adverts: Vec<f64>,
    events: BinaryHeap<(Reverse<Micros>, Reverse<u64>, usize)>,
    /// Events by number; taken when due.
    queued: Vec<Option<Event>>,
    free: Vec<usize>,
    serial: u64,
    step_due: bool,
    /// By group: what moved when, within the last second.
    steps: Vec<Vec<(Micros, f64)>>,
    group_rates: Vec<f64>,
    /// In force at the gateways, by caller and choice.
    pub shares: Vec<Vec<f64>>,
    pub effects: Vec<Effect>,
    pub counts: Counts,
    /// One connection per gateway, if bytes are counted.
    encoders: Vec<Encoder>,
}

/// The name of a group.
pub fn prefix(group: usize) -> NameBuf {
    match NameBuf::parse(&format!("/service/{group}")) {
        Ok(name) => name,
        Err(_) => unreachable!("a number is a component"),
    }
}

/// What the center thinks of a group with this target, µs.
pub fn thresholds(target_us: f64) -> Thresholds {
    let level = |raise: f64, clear: f64| {
        Some(Level {
            raise: raise as u64,
            clear: clear as u64,
        })
    };
    Thresholds {
        delay_us: level(target_us * 0.95, target_us * 0.85),
        variation_us: level(
            (target_us * 0.15).max(3_000.0),
            (target_us * 0.05).max(1_000.0),
        ),
        loss_ppm: level(20_000.0, 5_000.0),
        available_kbps: level(CAPACITY_KBPS * 0.03, CAPACITY_KBPS * 0.08),
        load_permille: None,
    }
}

impl<'a> Center<'a> {
    pub fn new(
        services: &'a Services,
        tables: &'a Tables,
        step_percent: u32,
        random: &mut Prng,
    ) -> anyhow::Result<Center<'a>> {
        let mut scsc = Scsc::new(ScscConfig {
            step_permille: step_percent as u16 * 10,
            ..ScscConfig::default()
        })?;
        let nodes = services.nodes;
        let mut callers = vec![vec![None; nodes]; services.groups.len()];
        let mut group_rates = vec![0.0; services.groups.len()];
        let mut probed: Vec<Vec<Probed>> = vec![Vec::new(); nodes];
        for (at, group) in services.groups.iter().enumerate() {
            let id = scsc.group(TENANT, prefix(at), thresholds(group.target_us));
            debug_assert_eq!(id, GroupId(at as u32));
        }
        for (number, caller) in services.callers.iter().enumerate() {
            let group = GroupId(caller.group as u32);
            let of = &services.groups[caller.group];
            let ids = |members: &[usize]| members.iter().map(|m| node_id(*m)).collect::<Vec<_>>();
            let gateway = node_id(caller.gateway);
            scsc.caller(group, gateway, &ids(&of.members), &ids(&caller.plain));
            scsc.traffic(group, gateway, caller.rate_kbps as u64);
            callers[caller.group][caller.gateway] = Some(number);
            group_rates[caller.group] += caller.rate_kbps;
        }
        for (at, way) in services.ways.iter().enumerate() {
            probed[way.from].push(Probed {
                way: WayId(at),
                pair: Pair {
                    gateway: node_id(way.from),
                    member: node_id(way.to),
                    topology: way.topology,
                },
                usual_us: way.propagation_us,
                before_us: None,
                varies: false,
            });
        }
        let mut center = Center {
            services,
            tables,
            scsc,
            held: (0..nodes).map(|node| Held::new(node_id(node), 0)).collect(),
            probed,
            callers,
            control: control_ways(services, tables),
            adverts: vec![CAPACITY_KBPS; 2 * services.links],
            events: BinaryHeap::new(),
            queued: Vec::new(),
            free: Vec::new(),
            serial: 0,
            step_due: false,
            steps: vec![Vec::new(); services.groups.len()],
            group_rates,
            shares: services
                .callers
                .iter()
                .map(|caller| caller.plain_shares(services))
                .collect(),
            effects: Vec::new(),
            counts: Counts {
                policies: vec![0; services.groups.len()],
                by_caller: vec![0; services.callers.len()],
                ..Counts::default()
            },
            encoders: Vec::new(),
        };
        for gateway in 0..nodes {
            if !center.probed[gateway].is_empty() {
                let phase = random.below(SECOND_US as usize) as u64;
                center.put(phase, Event::Probe(gateway));
            }
        }
        center.put(0, Event::Count);
        Ok(center)
    }

    /// Counts what reports take on the wire, from now on.
    pub fn measure(&mut self) {
        self.encoders = (0..self.services.nodes).map(|_| Encoder::new()).collect();
    }

    /// Everything up to `until`, in order; the scene's loads follow what comes into effect.
    pub fn advance(&mut self, until: Micros, scene: &mut Scene, random: &mut Prng) {
        while let Some((Reverse(at), _, slot)) = self.events.peek().copied()
            && at <= until
        {
            self.events.pop();
            self.free.push(slot);
            if let Some(event) = self.queued[slot].take() {
                self.handle(at, event, scene, random);
            }
        }
    }

    fn put(&mut self, at: Micros, event: Event) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.queued.push(None);
            self.queued.len() - 1
        });
        self.queued[slot] = Some(event);
        self.serial += 1;
        self.events.push((Reverse(at), Reverse(self.serial), slot));
    }

    fn handle(&mut self, at: Micros, event: Event, scene: &mut Scene, random: &mut Prng) {
        match event {
            Event::Probe(gateway) => {
                let reports = self.probe(gateway, scene, random);
                let delay = self.control_us(gateway, scene, random);
                self.put(at + COLLECT_US + delay, Event::Reports(reports));
                self.put(at + SECOND_US, Event::Probe(gateway));
            }
            Event::Reports(reports) => {
                let now = Duration::from_micros(at);
                for (pair, report) in &reports {
                    self.scsc.report(now, *pair, report);
                }
                if !self.step_due && self.scsc.active() > 0 {
                    self.step_due = true;
                    self.put(at + DECIDE_US, Event::Step);
                }
            }
            Event::Step => {
                self.step_due = false;
                for order in self.scsc.step(Duration::from_micros(at)) {
                    self.count(at, &order);
                    let gateway = order.policy.gateway.0 as usize - 1;
                    let delay = self.control_us(gateway, scene, random) + PROGRAM_US;
                    self.put(at + delay, Event::Policy(gateway, Box::new(order.policy)));
                }
            }
            Event::Policy(gateway, policy) => self.take(at, gateway, *policy, scene),
            Event::Count => {
                let left = (0..self.adverts.len()).map(|d| scene.world.left(Direction(d)));
                let left = left.collect();
                self.put(at + FLOOD_US, Event::Advertise(left));
                self.put(at + SECOND_US, Event::Count);
            }
            Event::Advertise(left) => self.adverts = left,
        }
    }

    fn probe(&mut self, gateway: usize, scene: &Scene, random: &mut Prng) -> Vec<(Pair, Report)> {
        let mut reports = Vec::with_capacity(self.probed[gateway].len());
        for probed in &mut self.probed[gateway] {
            let state = scene.states[probed.way.0];
            let mut report = Report {
                span_ms: 1_000,
                ..Report::default()
            };
            let mut unusual = probed.varies;
            let mut probes = 1;
            let mut sent = 0;
            while sent < probes {
                sent += 1;
                match state.packet(&Luck::draw(random)) {
                    Some(us) => {
                        let micros = us as u32;
                        report.answer(micros, probed.before_us.replace(micros));
                        unusual |=
                            (us - probed.usual_us).abs() > (probed.usual_us * 0.2).max(1_000.0);
                        probed.usual_us += (us - probed.usual_us) / 16.0;
                    }
                    None => {
                        report.lost();
                        unusual = true;
                    }
                }
                if unusual {
                    probes = 1 + BURST;
                }
            }
            probed.varies = report.variation.mean().is_some_and(|us| us > 1_000);
            let there = &self.services.ways[probed.way.0].there;
            for direction in there {
                let left = self.adverts[direction.0] as u64;
                if left < report.available_kbps {
                    report.available_kbps = left;
                    report.narrowest = LinkKey {
                        node: node_id(direction.link()),
                        port: PortId((direction.0 % 2) as u16),
                    };
                }
            }
            if let Some(encoder) = self.encoders.get_mut(gateway) {
                let mut bytes = Vec::new();
                if encoder.push(probed.pair, &report, &mut bytes).is_ok() {
                    self.counts.encoded += 1;
                    self.counts.bytes += bytes.len() as u64;
                    self.counts.longest = self.counts.longest.max(bytes.len());
                }
            }
            self.counts.probes += sent as u64;
            self.counts.reports += 1;
            reports.push((probed.pair, report));
        }
        reports
    }

    /// One way between a gateway and the center: control has a class of its own, so queues do not matter, but faults of the link do.
    fn control_us(&self, gateway: usize, scene: &Scene, random: &mut Prng) -> Micros {
        let (light, way) = &self.control[gateway];
        let mut us = *light;
        if let Some(fault) = scene.world.fault
            && way.iter().any(|direction| direction.link() == fault.link)
        {
            us += match fault.fault {
                Fault::Delay(more) => more / 2.0,
                Fault::Jitter(most) => most / 2.0 * unit(random),
                Fault::Filled(_) => 0.0,
            };
        }
        us as Micros
    }

    fn count(&mut self, at: Micros, order: &dmsc_scsc::Order) {
        let Some(decision) = &order.decision else {
            self.counts.renewals += 1;
            return;
        };
        // Groups are named by their numbers.
        let Some(group) = self.group_of(&order.policy) else {
            return;
        };
        self.counts.policies[group] += 1;
        let gateway = order.policy.gateway.0 as usize - 1;
        if let Some(caller) = self.callers[group][gateway] {
            self.counts.by_caller[caller] += 1;
        }
        let step = &mut self.steps[group];
        step.retain(|(then, _)| at - then < SECOND_US);
        step.push((at, decision.moved_kbps as f64));
        let moved: f64 = step.iter().map(|(_, kbps)| kbps).sum();
        let share = moved / self.group_rates[group].max(1.0);
        self.counts.moved_share = self.counts.moved_share.max(share);
    }

    fn group_of(&self, policy: &Policy) -> Option<usize> {
        let last = policy.prefix.as_name().components().last()?;
        std::str::from_utf8(last).ok()?.parse().ok()
    }

    /// A gateway takes a policy, and applies it to what it computed itself.
    fn take(&mut self, at: Micros, gateway: usize, policy: Policy, scene: &mut Scene) {
        let now = Duration::from_micros(at);
        let Some(group) = self.group_of(&policy) else {
            return;
        };
        let Some(caller) = self.callers[group][gateway] else {
            return;
        };
        if self.held[gateway].accept(now, policy).is_err() {
            return;
        }
        self.held[gateway].expire(now);
        let name = prefix(group);
        let active = self.held[gateway].active(now, TENANT, name.as_name());
        let members = &self.services.groups[group].members;
        let plain = plain_members(self.tables, gateway, members);
        let (shares, loops) = placed(self.services, self.tables, caller, &plain, active);
        self.counts.loops += loops;
        if shares != self.shares[caller] {
            scene.shift(caller, &self.shares[caller], &shares);
            scene.refresh();
            self.shares[caller] = shares;
            self.effects.push(Effect { at, caller });
        }
    }
}

/// Members as a router's own routes have them.
pub fn plain_members(tables: &Tables, gateway: usize, members: &[usize]) -> Vec<PlainMember> {
    members
        .iter()
        .map(|&member| PlainMember {
            gateway: node_id(member),
            metric: tables
                .metric(gateway, member)
                .map_or(u32::MAX, |metric| metric as u32),
            weight: 1,
            by_metric: tables.reaches(gateway, member, Metric::Metric),
            by_delay: tables.reaches(gateway, member, Metric::Delay),
        })
        .collect()
}

/// Shares over a caller's choices under a policy, and how many of the ways loop or end.
fn placed(
    services: &Services,
    tables: &Tables,
    caller: usize,
    plain: &[PlainMember],
    policy: Option<&Policy>,
) -> (Vec<f64>, u64) {
    let of = &services.callers[caller];
    let placement = apply(plain, policy);
    if !placement.weighted {
        return (of.plain_shares(services), 0);
    }
    let whole: f64 = placement.members.iter().map(|m| f64::from(m.weight)).sum();
    let mut loops = 0;
    let mut shares = vec![0.0; of.choices.len()];
    for member in placement.members.iter().filter(|m| m.weight > 0) {
        let to = member.gateway.0 as usize - 1;
        loops += u64::from(tables.walk(of.gateway, to, member.topology, 0).is_err());
        let choice = of.choices.iter().position(|way| {
            let way = &services.ways[way.0];
            way.to == to && way.topology == member.topology
        });
        if let Some(choice) = choice {
            shares[choice] += f64::from(member.weight) / whole;
        }
    }
    (shares, loops)
}

/// The center is at the node from which the furthest is nearest.
fn control_ways(services: &Services, tables: &Tables) -> Vec<(f64, Vec<Direction>)> {
    let nodes = services.nodes;
    let from = |center: usize| -> Vec<(f64, Vec<Direction>)> {
        let way = |gateway| {
            let way = tables
                .walk(gateway, center, Metric::Delay, 0)
                .unwrap_or_default();
            (tables.light_us(&way), way)
        };
        (0..nodes).map(way).collect()
    };
    let furthest = |ways: &[(f64, Vec<Direction>)]| ways.iter().map(|w| w.0).fold(0.0, f64::max);
    let mut best = from(0);
    for center in 1..nodes {
        // A node that is cut off reaches nobody, and would be the nearest to all that it reaches.
        let reaches = (0..nodes)
            .filter(|&node| tables.reaches(node, center, Metric::Delay))
            .count();
        let ways = from(center);
        let now = best.iter().filter(|way| !way.1.is_empty()).count();
        if reaches > now + 1 || furthest(&ways) < furthest(&best) && reaches >= now {
            best = ways;
        }
    }
    best
}
