//! The configuration of a control plane.

use std::path::PathBuf;

use serde::Serialize;

use super::Paths;
use crate::file::Role;
use crate::plan::{NodePlan, Plan, PortEnd};
use crate::routes::Changes;

#[derive(Debug, Serialize)]
struct NodeFile {
    node: Node,
    linkstate: LinkState,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<Gateway>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduling: Option<Scheduling>,
    adjacency: Vec<Adjacency>,
}

#[derive(Debug, Serialize)]
struct Node {
    id: u32,
    name: String,
    area: u32,
    domain: u32,
    agent: PathBuf,
    state_dir: PathBuf,
    credentials: PathBuf,
    operator: PathBuf,
}

#[derive(Debug, Serialize)]
struct LinkState {
    listen: &'static str,
}

#[derive(Debug, Serialize)]
struct Gateway {
    listen: &'static str,
    authorities: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    port: Vec<MayUse>,
}

#[derive(Debug, Serialize)]
struct Scheduling {
    centers: Vec<String>,
}

#[derive(Debug, Serialize)]
struct MayUse {
    name: String,
    identities: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Adjacency {
    id: u16,
    port: String,
    peer: u32,
    metric: u32,
    delay_us: u32,
    encapsulation: &'static str,
    // Of a bare Ethernet link too: packets go without them, the link-state session does not.
    local: String,
    remote: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_hop: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum_ttl: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hex: Option<String>,
}

fn adjacencies(plan: &Plan, node: &NodePlan, changes: &Changes) -> Vec<Adjacency> {
    let mut all = Vec::new();
    for port in &node.ports {
        let PortEnd::Router(adjacency) = &port.end else {
            continue;
        };
        let foreign = adjacency.next_hop.is_some();
        all.push(Adjacency {
            id: adjacency.id,
            port: port.name.clone(),
            peer: adjacency.peer.0,
            metric: changes.metric(plan, adjacency.link),
            delay_us: plan.links[adjacency.link].delay,
            encapsulation: adjacency.encapsulation.text(),
            local: adjacency.local.clone(),
            remote: adjacency.remote.clone(),
            next_hop: adjacency.next_hop.clone(),
            // Two Linux routers in between take two off 255.
            minimum_ttl: foreign.then_some(253),
            key_id: foreign.then_some(1),
            key_hex: foreign.then(|| key_of(plan, adjacency.link)),
        });
    }
    all
}

// Both ends must know the key; a lab needs no secret, only a MAC that is checked.
fn key_of(plan: &Plan, link: usize) -> String {
    format!("{}{}", plan.name, plan.links[link].name)
        .bytes()
        .cycle()
        .take(32)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The configuration of the control plane of router `index`.
///
/// # Errors
/// When it cannot be written as TOML.
pub fn node_file(
    plan: &Plan,
    index: usize,
    changes: &Changes,
    paths: Paths<'_>,
) -> Result<String, toml::ser::Error> {
    let node = &plan.nodes[index];
    let gateway = (node.role == Role::Sg).then(|| {
        let [_, there] = Plan::authority_addresses(index);
        Gateway {
            listen: "0.0.0.0:35030",
            authorities: plan
                .authorities
                .iter()
                .map(|a| format!("{there}:{}", a.port))
                .collect(),
            port: plan
                .shared_ports(index)
                .map(|(_, shared)| MayUse {
                    name: shared.port.clone(),
                    identities: vec![shared.identity.clone()],
                })
                .collect(),
        }
    });
    let [_, there] = Plan::authority_addresses(index);
    let centers = plan.centers.iter();
    let centers: Vec<_> = centers.map(|c| format!("{there}:{}", c.port)).collect();
    let is_told = node.role == Role::Sg && !centers.is_empty() && !plan.centers_held;
    toml::to_string(&NodeFile {
        node: Node {
            id: node.id.0,
            name: node.name.clone(),
            area: 0,
            domain: 1,
            agent: paths.agent(&node.name),
            state_dir: paths.state(&node.name),
            credentials: paths.credentials(&node.name),
            operator: paths.operator(&node.name),
        },
        linkstate: LinkState {
            listen: "[::]:35031",
        },
        gateway,
        scheduling: is_told.then_some(Scheduling { centers }),
        adjacency: adjacencies(plan, node, changes),
    })
}
