//! Service groups made of demands: who serves, who calls, how much, and by which ways.

use std::collections::HashMap;

use anyhow::bail;
use dmsc_linkstate::action::Topology as Metric;

use super::network::{Direction, TOPOLOGIES, Tables};
use super::topology::{Demands, Topology};
use crate::prng::Prng;

/// A call is in its target up to the longest quiet round trip of a plain route by this …
const TARGET_FACTOR: f64 = 1.25;
/// … and this, µs.
const TARGET_MORE_US: f64 = 5_000.0;
/// Capacity of every link, kbit/s: 10 Gbit/s.
pub const CAPACITY_KBPS: f64 = 10_000_000.0;

/// A way from one gateway to another, there and back.
#[derive(Debug, Clone)]
pub struct Way {
    pub from: usize,
    pub to: usize,
    pub topology: Metric,
    /// What the traffic takes.
    pub there: Vec<Direction>,
    /// What answers take.
    pub back: Vec<Direction>,
    /// Light alone, µs.
    pub propagation_us: f64,
}

/// Place of a [`Way`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WayId(pub usize);

/// One gateway that calls one group.
#[derive(Debug, Clone)]
pub struct Caller {
    pub group: usize,
    pub gateway: usize,
    pub rate_kbps: f64,
    /// By member in ascending order, then topology: as the center has them.
    pub choices: Vec<WayId>,
    /// Members at least metric.
    pub plain: Vec<usize>,
}

impl Caller {
    /// Shares of plain routes over the choices.
    pub fn plain_shares(&self, services: &Services) -> Vec<f64> {
        let of = |way: &WayId| {
            let way = &services.ways[way.0];
            way.topology == Metric::Metric && self.plain.contains(&way.to)
        };
        let part = 1.0 / self.plain.len() as f64;
        self.choices
            .iter()
            .map(|way| if of(way) { part } else { 0.0 })
            .collect()
    }
}

/// One service group.
#[derive(Debug, Clone)]
pub struct Group {
    /// Ascending.
    pub members: Vec<usize>,
    /// Round trip up to which a call is in its target, µs.
    pub target_us: f64,
}

/// All of them.
#[derive(Debug)]
pub struct Services {
    pub groups: Vec<Group>,
    pub callers: Vec<Caller>,
    pub ways: Vec<Way>,
    pub nodes: usize,
    pub links: usize,
    /// Links that plain routes of some caller take.
    pub used_links: Vec<usize>,
}

impl Services {
    /// Scales demands so that the fullest link is `load` percent full by plain routes.
    pub fn make(
        topology: &Topology,
        tables: &Tables,
        demands: &Demands,
        members: usize,
        load: u32,
        seed: u64,
    ) -> anyhow::Result<Services> {
        let nodes = topology.nodes.len();
        let mut random = Prng::new(seed, 1);
        let mut services = Services {
            groups: Vec::new(),
            callers: Vec::new(),
            ways: Vec::new(),
            nodes,
            links: topology.links.len(),
            used_links: Vec::new(),
        };
        let mut known = HashMap::new();
        for target in 0..nodes {
            let wanted = |(s, t): &(usize, usize)| *t == target && tables.metric(*s, *t).is_some();
            let of: Vec<(usize, f64)> = demands
                .iter()
                .filter(|(pair, _)| wanted(pair))
                .map(|((source, _), volume)| (*source, *volume))
                .collect();
            if of.is_empty() {
                continue;
            }
            let mut serve = vec![target];
            let mut others: Vec<usize> = (0..nodes).filter(|node| *node != target).collect();
            while serve.len() < members.min(nodes - 1) {
                serve.push(others.swap_remove(random.below(others.len())));
            }
            serve.sort_unstable();
            let group = services.groups.len();
            let before = services.callers.len();
            for (gateway, rate_kbps) in of {
                // Calls that enter at a member stay there.
                if !serve.contains(&gateway) {
                    let choices = services.choices(tables, gateway, &serve, &mut known);
                    if let Some(choices) = choices {
                        services
                            .callers
                            .push(caller(group, gateway, rate_kbps, choices, tables, &serve));
                    }
                }
            }
            if services.callers.len() > before {
                services.groups.push(Group {
                    members: serve,
                    target_us: 0.0,
                });
            }
        }
        if services.callers.is_empty() {
            bail!(
                "no demand between two nodes that can reach each other, other than at members themselves: use another file, --demands uniform, or fewer --members"
            );
        }
        services.scale(load);
        services.targets();
        Ok(services)
    }

    fn choices(
        &mut self,
        tables: &Tables,
        gateway: usize,
        members: &[usize],
        known: &mut HashMap<(usize, usize, Metric), WayId>,
    ) -> Option<Vec<WayId>> {
        let mut choices = Vec::with_capacity(members.len() * TOPOLOGIES.len());
        for &member in members {
            for by in TOPOLOGIES {
                if let Some(way) = known.get(&(gateway, member, by)) {
                    choices.push(*way);
                    continue;
                }
                let there = tables.walk(gateway, member, by, 0).ok()?;
                let back = tables.walk(member, gateway, by, 0).ok()?;
                let propagation_us = tables.light_us(&there) + tables.light_us(&back);
                let id = WayId(self.ways.len());
                self.ways.push(Way {
                    from: gateway,
                    to: member,
                    topology: by,
                    there,
                    back,
                    propagation_us,
                });
                known.insert((gateway, member, by), id);
                choices.push(id);
            }
        }
        Some(choices)
    }

    fn scale(&mut self, load: u32) {
        let load_by_plain = self.plain_loads();
        let fullest = load_by_plain.iter().copied().fold(0.0, f64::max);
        let factor = CAPACITY_KBPS * f64::from(load) / 100.0 / fullest;
        for caller in &mut self.callers {
            caller.rate_kbps *= factor;
        }
        let both = |link: &usize| load_by_plain[2 * link] + load_by_plain[2 * link + 1] > 0.0;
        self.used_links = (0..self.links).filter(both).collect();
    }

    /// What plain routes put on each direction, kbit/s.
    pub fn plain_loads(&self) -> Vec<f64> {
        let mut loads = vec![0.0; 2 * self.links];
        for caller in &self.callers {
            for (way, share) in caller.choices.iter().zip(caller.plain_shares(self)) {
                for direction in &self.ways[way.0].there {
                    loads[direction.0] += share * caller.rate_kbps;
                }
            }
        }
        loads
    }

    fn targets(&mut self) {
        for caller in &self.callers {
            for (way, share) in caller.choices.iter().zip(caller.plain_shares(self)) {
                if share > 0.0 {
                    let quiet = self.ways[way.0].propagation_us;
                    let target = quiet * TARGET_FACTOR + TARGET_MORE_US;
                    let group = &mut self.groups[caller.group];
                    group.target_us = group.target_us.max(target);
                }
            }
        }
    }

    /// Round-trip target of a caller's calls, µs.
    pub fn target_us(&self, caller: usize) -> f64 {
        self.groups[self.callers[caller].group].target_us
    }
}

fn caller(
    group: usize,
    gateway: usize,
    rate_kbps: f64,
    choices: Vec<WayId>,
    tables: &Tables,
    members: &[usize],
) -> Caller {
    let least = members
        .iter()
        .filter_map(|&member| tables.metric(gateway, member))
        .min();
    let nearest = |member: &&usize| tables.metric(gateway, **member) == least;
    Caller {
        group,
        gateway,
        rate_kbps,
        choices,
        plain: members.iter().filter(nearest).copied().collect(),
    }
}
