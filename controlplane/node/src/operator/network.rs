//! Answers about the network: this node, nodes, links, routes.

use std::collections::{BTreeMap, HashMap};

use dmsc_linkstate::action::{GatewayRoute, Topology};
use dmsc_linkstate::engine::body::{self, AdjacencyBody, Link};
use dmsc_linkstate::{AdjacencyId, Kind};
use dmsc_proto::v1;
use dmsc_wire::NodeId;

use crate::node::{Node, alarm_text};

/// An adjacency object that is in force.
struct Seen {
    body: AdjacencyBody,
    sequence: u64,
    lifetime_left_s: u32,
}

/// Adjacency objects by originator.
fn adjacencies(node: &Node) -> BTreeMap<NodeId, Seen> {
    node.engine
        .entries(node.clock.now())
        .into_iter()
        .filter(|entry| entry.accepted && !entry.object.is_purge())
        .filter(|entry| entry.object.key.kind == Kind::ADJACENCY)
        .filter_map(|entry| {
            let seen = Seen {
                // Refused on arrival if it cannot be decoded.
                body: body::adjacency(&entry.object.body).ok()?,
                sequence: entry.object.sequence.0,
                lifetime_left_s: entry.lifetime_left_s,
            };
            Some((entry.object.key.origin, seen))
        })
        .collect()
}

/// Whether the other end names this link too.
fn two_way(seen: &BTreeMap<NodeId, Seen>, origin: NodeId, link: &Link) -> bool {
    let Some(other) = seen.get(&link.peer()) else {
        return false;
    };
    let back =
        |back: &Link| back.peer == origin.0 && back.id == link.peer_id && back.peer_id == link.id;
    other.body.links.iter().any(back)
}

/// Ways by topology (0 metric, 1 delay) and node.
fn ways(node: &Node) -> HashMap<(u32, NodeId), GatewayRoute> {
    let routes = node.engine.gateway_routes().into_iter();
    routes
        .map(|(topology, node, route)| ((number(topology), node), route))
        .collect()
}

/// As in the API.
fn number(topology: Topology) -> u32 {
    match topology {
        Topology::Metric => 0,
        Topology::Delay => 1,
    }
}

/// Who this is and how it is; the caller's role is not known here.
pub fn about(node: &Node) -> v1::AboutReply {
    let sessions = node.engine.sessions();
    let digest = node.engine.digest();
    let alarms = node.engine.alarms().into_iter().map(alarm_text);
    let setback = node
        .setback
        .as_ref()
        .map(|setback| format!("the dataplane is not programmed: {setback}"));
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    v1::AboutReply {
        daemon: node.config.role.as_str().into(),
        node: node.config.node.id.0,
        name: node.config.node.name.clone(),
        software: crate::SOFTWARE.into(),
        uptime_ms: u64::try_from(node.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        state: node.state().into(),
        alarms: alarms.map(str::to_owned).chain(setback).collect(),
        digest: digest.fold(),
        objects: digest.count,
        routes_version: node.engine.version(),
        programmed_version: node.rib.acknowledged(),
        generation: node.generation,
        your_role: String::new(),
        sessions: count(sessions.len()),
        synced: count(sessions.iter().filter(|one| one.synced).count()),
        area: node.config.node.area,
    }
}

/// All nodes that speak, with distances from here.
pub fn nodes(node: &Node) -> v1::NodesReply {
    let seen = adjacencies(node);
    let ways = ways(node);
    let mut prefixes: HashMap<NodeId, usize> = HashMap::new();
    for entry in node.engine.entries(node.clock.now()) {
        let object = entry.object;
        if entry.accepted && !object.is_purge() && object.key.kind == Kind::PREFIX {
            let count = body::prefixes(&object.body).map_or(0, |list| list.len());
            *prefixes.entry(object.key.origin).or_default() += count;
        }
    }
    let own = node.config.node.id;
    let nodes = seen.iter().map(|(id, one)| {
        let metric = ways.get(&(0, *id));
        let delay = ways.get(&(1, *id));
        let links = one.body.links.iter();
        v1::NodeInfo {
            node: id.0,
            name: one.body.name.clone(),
            role: one.body.role.clone(),
            overload: one.body.overload,
            reachable: *id == own || metric.is_some(),
            metric: metric.map_or(0, |way| way.metric),
            delay_us: delay.map_or(0, |way| way.metric),
            links: u32::try_from(links.filter(|link| two_way(&seen, *id, link)).count())
                .unwrap_or(u32::MAX),
            prefixes: u32::try_from(prefixes.get(id).copied().unwrap_or(0)).unwrap_or(u32::MAX),
            sequence: one.sequence,
            lifetime_left_s: one.lifetime_left_s,
            software: one.body.software.clone(),
        }
    });
    v1::NodesReply {
        nodes: nodes.collect(),
    }
}

/// All links of the network, and own adjacencies with what their sessions do, whether they are announced or not.
pub fn links(node: &Node) -> v1::LinksReply {
    let seen = adjacencies(node);
    let own = node.config.node.id;
    let mut links: BTreeMap<(NodeId, u32), v1::LinkInfo> = BTreeMap::new();
    for (origin, one) in &seen {
        for link in &one.body.links {
            let info = v1::LinkInfo {
                node: origin.0,
                id: link.id,
                peer: link.peer,
                peer_id: link.peer_id,
                metric: link.metric,
                delay_us: link.delay_us,
                two_way: two_way(&seen, *origin, link),
                measured_delay_us: link.measured_delay_us,
                delay_variation_us: link.delay_variation_us,
                loss_ppm: link.loss_ppm,
                capacity_kbps: (link.capacity_kbps > 0).then_some(link.capacity_kbps),
                available_kbps: link.available_kbps,
                ..v1::LinkInfo::default()
            };
            links.insert((*origin, link.id), info);
        }
    }
    for (id, link) in &node.links {
        let settings = &link.adjacency.settings;
        let info = links
            .entry((own, u32::from(id.0)))
            .or_insert_with(|| v1::LinkInfo {
                node: own.0,
                id: u32::from(id.0),
                peer: settings.peer.0,
                metric: settings.metric,
                delay_us: settings.delay_us,
                ..v1::LinkInfo::default()
            });
        info.own = true;
        info.hello = if link.hello { "up" } else { "down" }.into();
        info.session = node.session_text(*id);
        info.sent_messages = link.sent;
        info.received_messages = link.received;
        info.refused_objects = node.engine.refused(*id);
    }
    v1::LinksReply {
        links: links.into_values().collect(),
    }
}

/// The RIB: ways to nodes.
pub fn routes(
    node: &Node,
    after: Option<(Topology, NodeId)>,
    most: usize,
) -> Vec<((Topology, NodeId), v1::RouteInfo)> {
    let peer = |id: &AdjacencyId| {
        let link = node.links.get(id);
        link.map_or(0, |link| link.adjacency.settings.peer.0)
    };
    let some = |id: Option<AdjacencyId>| id.map_or(0, |id| u32::from(id.0));
    let routes = node.engine.gateway_routes_after(after).take(most);
    let routes = routes.map(|((topology, gateway), route)| {
        let info = v1::RouteInfo {
            topology: number(topology),
            gateway: gateway.0,
            metric: route.metric,
            peers: route.next_hops.iter().map(peer).collect(),
            next_hops: route.next_hops.iter().map(|id| u32::from(id.0)).collect(),
            node_protecting: some(route.node_protecting),
            link_protecting: some(route.link_protecting),
        };
        ((topology, gateway), info)
    });
    routes.collect()
}
