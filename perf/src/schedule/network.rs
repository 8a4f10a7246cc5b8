//! Routers with their tables, and the ways that packets take hop by hop.

use dmsc_linkstate::action::Topology as Metric;
use dmsc_linkstate::{Cost, Graph, LinkId, NodeId, spf};

use super::topology::Topology;

/// Light in fibre, µs per km.
const US_PER_KM: f64 = 5.0;
/// Metric of a hop, before its length counts: routes by hops first, as most operators have them.
const HOP_METRIC: f64 = 100.0;
/// Most hops of a packet.
const HOP_LIMIT: usize = 64;

/// One direction of a link: twice the link's place, plus one from its second end to its first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Direction(pub usize);

impl Direction {
    /// The link that it is a direction of.
    pub fn link(self) -> usize {
        self.0 / 2
    }
}

/// Why a packet did not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    Loop,
    NoRoute,
}

/// Next hops of all routers to all others in both topologies.
#[derive(Debug)]
pub struct Tables {
    nodes: usize,
    /// By topology, router, destination: directions out of the router.
    next: [Vec<Vec<Direction>>; 2],
    metric: Vec<Option<u64>>,
    ends: Vec<(usize, usize)>,
    km: Vec<f64>,
}

pub const TOPOLOGIES: [Metric; 2] = [Metric::Metric, Metric::Delay];

fn index(topology: Metric) -> usize {
    usize::from(topology == Metric::Delay)
}

/// The id of the node at this place; 0 is none.
pub fn node_id(place: usize) -> NodeId {
    NodeId(place as u32 + 1)
}

/// One way of a link, µs.
pub fn propagation_us(km: f64) -> f64 {
    (km * US_PER_KM).max(10.0)
}

impl Tables {
    /// As every router computes them for itself, without the link at `down`.
    pub fn compute(topology: &Topology, down: Option<usize>) -> Tables {
        let nodes = topology.nodes.len();
        let mut graph = Graph::new();
        (0..nodes).for_each(|node| graph.add_node(node_id(node)));
        for (at, link) in topology.links.iter().enumerate() {
            if down == Some(at) {
                continue;
            }
            let metric = (HOP_METRIC + link.km / 10.0).round() as u32;
            let delay = propagation_us(link.km).round() as u32;
            let (a, b) = (node_id(link.ends.0), node_id(link.ends.1));
            graph.add_link_with_delay(LinkId(at as u32), a, b, metric, delay);
            graph.add_link_with_delay(LinkId(at as u32), b, a, metric, delay);
        }
        let ends: Vec<(usize, usize)> = topology.links.iter().map(|link| link.ends).collect();
        let mut next = [Vec::new(), Vec::new()];
        let mut metric = Vec::with_capacity(nodes * nodes);
        for router in 0..nodes {
            for (table, cost) in next.iter_mut().zip([Cost::Metric, Cost::Delay]) {
                let paths = spf::spf_by(&graph, node_id(router), cost);
                for to in 0..nodes {
                    let hops = paths.first_hops(node_id(to)).iter();
                    table.push(hops.map(|link| out_of(&ends, router, *link)).collect());
                    if cost == Cost::Metric {
                        metric.push(paths.distance(node_id(to)));
                    }
                }
            }
        }
        Tables {
            nodes,
            next,
            metric,
            ends,
            km: topology.links.iter().map(|link| link.km).collect(),
        }
    }

    /// Light on a way, µs.
    pub fn light_us(&self, way: &[Direction]) -> f64 {
        way.iter()
            .map(|direction| propagation_us(self.km[direction.link()]))
            .sum()
    }

    /// Distance by metric.
    pub fn metric(&self, from: usize, to: usize) -> Option<u64> {
        self.metric[from * self.nodes + to]
    }

    /// Whether the router at `from` has a way.
    pub fn reaches(&self, from: usize, to: usize, topology: Metric) -> bool {
        from == to || !self.next[index(topology)][from * self.nodes + to].is_empty()
    }

    /// The way of a packet, each router asked for its own next hop; of equal ones that which `flow` picks.
    pub fn walk(
        &self,
        from: usize,
        to: usize,
        topology: Metric,
        flow: usize,
    ) -> Result<Vec<Direction>, Lost> {
        let mut way = Vec::new();
        let mut at = from;
        while at != to {
            if way.len() >= HOP_LIMIT.max(self.nodes) {
                return Err(Lost::Loop);
            }
            let hops = &self.next[index(topology)][at * self.nodes + to];
            let hop = *hops.get(flow % hops.len().max(1)).ok_or(Lost::NoRoute)?;
            way.push(hop);
            let (first, second) = self.ends[hop.link()];
            at = if hop.0 % 2 == 0 { second } else { first };
        }
        Ok(way)
    }
}

fn out_of(ends: &[(usize, usize)], router: usize, link: LinkId) -> Direction {
    let link = link.0 as usize;
    Direction(2 * link + usize::from(ends[link].1 == router))
}
