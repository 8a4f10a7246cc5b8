//! The graph that adjacency objects describe, and the routes over it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use dmsc_wire::NodeId;

use super::body::{AdjacencyBody, Edge, Link};
use super::narrowest::Available;
use crate::action::{GatewayChange, GatewayRoute, Topology};
use crate::event::AdjacencyId;
use crate::spf::{Cost, Graph, LinkId, Route, routes_by};

/// Most next hops of a route.
const MOST_NEXT_HOPS: usize = 16;

/// Ways by topology and node.
pub type Routes = BTreeMap<(Topology, NodeId), GatewayRoute>;

/// What the adjacency objects say.
#[derive(Debug, Default)]
pub struct Network {
    bodies: BTreeMap<(NodeId, u64), AdjacencyBody>,
    /// Versions that were taken, of all nodes.
    changes: u64,
}

impl Network {
    /// Takes a new version, or none any more; whether that changes ways: links that both ends name, their costs, or overload. What a node says
    /// of itself besides, or of links that nobody else knows, costs no computation.
    pub fn set(
        &mut self,
        origin: NodeId,
        id: u64,
        body: Option<AdjacencyBody>,
        own: NodeId,
    ) -> bool {
        let before = self.shape(origin, id, own);
        self.changes += 1;
        match body {
            Some(body) => self.bodies.insert((origin, id), body),
            None => self.bodies.remove(&(origin, id)),
        };
        before != self.shape(origin, id, own)
    }

    /// Links of a node that its neighbours name too (those to `own` are always among them: what this node says is not taken from here), and
    /// whether it is overloaded. Nothing for one without such links: nobody reaches it.
    fn shape(&self, origin: NodeId, id: u64, own: NodeId) -> Option<(BTreeSet<Edge>, bool)> {
        let body = self.bodies.get(&(origin, id))?;
        // Neighbours that name each other many times are looked up once.
        let mut named: HashMap<NodeId, HashSet<(u32, u32)>> = HashMap::new();
        let mut is_named = |link: &Link| {
            let peer = link.peer();
            let names = named.entry(peer).or_insert_with(|| {
                let theirs = self.bodies.get(&(peer, id));
                let links = theirs.into_iter().flat_map(|body| &body.links);
                links
                    .filter(|link| link.peer() == origin)
                    .map(|link| (link.id, link.peer_id))
                    .collect()
            });
            peer == own || names.contains(&(link.peer_id, link.id))
        };
        let edges: BTreeSet<Edge> = body
            .links
            .iter()
            .filter(|link| origin == own || is_named(link))
            .map(Link::edge)
            .collect();
        (!edges.is_empty()).then_some((edges, body.overload))
    }

    /// How often something was taken.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// What is left of links, as their owners say; of `own` what `own_links` say.
    pub fn available(&self, own: NodeId, own_links: &[Link]) -> Available {
        let of_others = self
            .bodies
            .iter()
            .filter(|((origin, _), _)| *origin != own)
            .flat_map(|((origin, _), body)| body.links.iter().map(|link| (*origin, link)));
        of_others
            .chain(own_links.iter().map(|link| (own, link)))
            .filter_map(|(from, link)| Some(((from, link.id), link.available_kbps?)))
            .collect()
    }

    /// The graph. A link counts if both ends name it by the same pair of ids (two-way check). What `own` says of itself is taken from
    /// `own_links`, not from the database.
    pub fn graph(&self, own: NodeId, own_links: &[Link]) -> Graph {
        let of_others = self
            .bodies
            .iter()
            .filter(|((origin, _), _)| *origin != own)
            .flat_map(|((origin, _), body)| body.links.iter().map(|link| (*origin, link)));
        let links: Vec<(NodeId, &Link)> = of_others
            .chain(own_links.iter().map(|link| (own, link)))
            .collect();
        let told: HashSet<(NodeId, u32, NodeId, u32)> = links
            .iter()
            .map(|(from, link)| (*from, link.id, link.peer(), link.peer_id))
            .collect();
        let mut graph = Graph::new();
        graph.add_node(own);
        for ((origin, _), body) in &self.bodies {
            graph.add_node(*origin);
            if *origin != own && body.overload {
                graph.set_overloaded(*origin, true);
            }
        }
        for (from, link) in links {
            if told.contains(&(link.peer(), link.peer_id, from, link.id)) {
                graph.add_link_with_delay(
                    LinkId(link.id),
                    from,
                    link.peer(),
                    link.metric,
                    link.delay_us,
                );
            }
        }
        graph
    }
}

fn adjacency(link: LinkId) -> Option<AdjacencyId> {
    u16::try_from(link.0).ok().map(AdjacencyId)
}

fn gateway_route(route: &Route) -> GatewayRoute {
    GatewayRoute {
        metric: route.metric,
        next_hops: route
            .next_hops
            .iter()
            .copied()
            .filter_map(adjacency)
            .take(MOST_NEXT_HOPS)
            .collect(),
        node_protecting: route.node_protecting.and_then(adjacency),
        link_protecting: route.link_protecting.and_then(adjacency),
    }
}

/// Ways to all nodes in both topologies.
pub fn compute(graph: &Graph, own: NodeId) -> Routes {
    [
        (Topology::Metric, Cost::Metric),
        (Topology::Delay, Cost::Delay),
    ]
    .into_iter()
    .flat_map(|(topology, cost)| {
        routes_by(graph, own, cost)
            .into_iter()
            .map(move |route| ((topology, route.destination), gateway_route(&route)))
    })
    .collect()
}

/// What differs from `old` in `new`.
pub fn difference(old: &Routes, new: &Routes) -> Vec<GatewayChange> {
    let gone = old
        .keys()
        .filter(|key| !new.contains_key(key))
        .map(|(topology, gateway)| GatewayChange {
            topology: *topology,
            gateway: *gateway,
            route: None,
        });
    let changed = new
        .iter()
        .filter(|(key, route)| old.get(key) != Some(route))
        .map(|((topology, gateway), route)| GatewayChange {
            topology: *topology,
            gateway: *gateway,
            route: Some(route.clone()),
        });
    gone.chain(changed).collect()
}
