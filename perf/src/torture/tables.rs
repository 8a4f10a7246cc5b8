//! What is programmed into the dataplane: neighbours, gateways, groups, prefixes, pods and access rules of every kind.

use dmsc_proto::v1::{self, op::Op};

use super::site::{self, CARRIERS, Carrier, KEY, NODE, PEERS, POD_PORT, Role, Site, VLAN};

/// A gateway behind several neighbours.
const FAR: u32 = 5000;
/// A gateway behind a neighbour that never says hello.
const DEAD: u32 = 6000;
/// That neighbour's adjacency.
pub const DEAD_ADJACENCY: u32 = 9;
/// Group of everything, by weight.
const SHARED: u32 = 1000;

/// All operations, in an order that can be applied at once.
pub fn operations(sites: &[Site]) -> Vec<v1::Op> {
    let mut ops = Vec::new();
    let routers: Vec<&Site> = sites.iter().filter(|s| s.role == Role::Router).collect();
    let mut shared = vec![member(NODE.0, 0)];
    for (index, site) in routers.iter().enumerate() {
        let next = routers[(index + 1) % routers.len()];
        let mut members = vec![member(NODE.0, 20)];
        for peer in 0..PEERS {
            ops.push(Op::PutAdjacency(adjacency(site, peer)));
            let node = site.peer_node(peer).0;
            let hops = vec![site.adjacency(peer)];
            ops.extend(gateway(node, hops, next.adjacency((peer + 1) % PEERS)));
            members.push(member(node, 10 + peer as u32));
            shared.push(member(node, 10));
        }
        ops.push(group(u32::from(site.number), members, false));
        ops.push(prefix(&format!("/t/{}", site.name), u32::from(site.number)));
    }
    if let Some(first) = routers.first() {
        let mut dead = adjacency(first, 0);
        dead.id = DEAD_ADJACENCY;
        dead.peer = DEAD;
        dead.remote_address = first.peer4(PEERS).to_string();
        ops.push(Op::PutAdjacency(dead));
        ops.extend(gateway(DEAD, vec![DEAD_ADJACENCY], 0));
        let hops = routers.iter().map(|s| s.adjacency(0)).collect();
        ops.extend(gateway(FAR, hops, first.adjacency(1)));
        ops.push(group(2000, vec![member(DEAD, 1)], false));
        ops.push(group(2001, vec![member(FAR, 1), member(DEAD, 1)], true));
        ops.push(prefix("/t/dead", 2000));
        ops.push(prefix("/t/far", 2001));
    }
    shared.truncate(64);
    ops.push(group(SHARED, shared, true));
    ops.push(prefix("/t/shared", SHARED));
    let pods: Vec<&Site> = sites.iter().filter(|s| s.role == Role::Pod).collect();
    for site in &pods {
        for peer in 0..PEERS {
            ops.push(Op::Attach(attachment(site, peer)));
        }
        ops.push(Op::PutAccessRule(v1::AccessRule {
            id: u32::from(site.number),
            domain: 1,
            caller: site.identity(1).as_bytes().to_vec(),
            callee: site::name("/t/denied").as_bytes().to_vec(),
            allow: false,
        }));
    }
    ops.into_iter().map(|op| v1::Op { op: Some(op) }).collect()
}

fn adjacency(site: &Site, peer: usize) -> v1::Adjacency {
    let mut given = v1::Adjacency {
        id: site.adjacency(peer),
        port: site.name.clone(),
        peer: site.peer_node(peer).0,
        encapsulation: "udp".into(),
        local_address: site.own4().to_string(),
        remote_address: site.peer4(peer).to_string(),
        ..v1::Adjacency::default()
    };
    match CARRIERS[peer] {
        Carrier::Udp4 => {}
        Carrier::Udp6 => {
            given.local_address = site.own6().to_string();
            given.remote_address = site.peer6(peer).to_string();
            (given.key_id, given.key) = (u32::from(KEY.0), KEY.1.to_vec());
        }
        Carrier::Ethernet => given.encapsulation = "ethernet".into(),
        Carrier::Second => given.vlan = u32::from(VLAN),
    }
    given
}

fn attachment(site: &Site, peer: usize) -> v1::Attachment {
    let (address, udp_port) = match CARRIERS[peer] {
        Carrier::Udp6 => (site.peer6(peer).to_string(), u32::from(POD_PORT)),
        Carrier::Ethernet => (site.ethernet_mac().to_string(), 0),
        Carrier::Udp4 | Carrier::Second => (site.peer4(peer).to_string(), u32::from(POD_PORT)),
    };
    let mut serves = vec![site.served(peer)];
    if peer == 0 {
        serves.push(site::name("/t/shared"));
    }
    v1::Attachment {
        id: u32::from(site.attachment(peer).0),
        port: site.name.clone(),
        address,
        udp_port,
        domain: 1,
        identity: format!("t/{}/{peer}", site.name),
        serves: serves.iter().map(|n| n.as_bytes().to_vec()).collect(),
        owns: vec![site.identity(peer).as_bytes().to_vec()],
        ..v1::Attachment::default()
    }
}

fn gateway(node: u32, next_hops: Vec<u32>, protecting: u32) -> [Op; 2] {
    [0, 1].map(|topology| {
        Op::PutGateway(v1::Gateway {
            topology,
            gateway: node,
            metric: 10,
            next_hops: next_hops.iter().copied().take(16).collect(),
            node_protecting: protecting,
            link_protecting: 0,
        })
    })
}

fn member(gateway: u32, metric: u32) -> v1::Member {
    v1::Member {
        gateway,
        metric,
        weight: 1,
        delay_weight: 0,
    }
}

fn group(id: u32, members: Vec<v1::Member>, weighted: bool) -> Op {
    Op::PutGroup(v1::Group {
        id,
        members,
        weighted,
    })
}

fn prefix(text: &str, group: u32) -> Op {
    Op::PutPrefix(v1::Prefix {
        domain: 1,
        name: site::name(text).as_bytes().to_vec(),
        group,
    })
}
