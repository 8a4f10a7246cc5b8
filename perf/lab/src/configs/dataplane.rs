//! The configuration of a dataplane.

use std::borrow::Cow;
use std::path::PathBuf;

use serde::Serialize;

use super::Paths;
use crate::plan::{Plan, PortEnd};

#[derive(Debug, Serialize)]
struct DataplaneFile<'a> {
    node: DataplaneNode<'a>,
    eal: Eal<'a>,
    workers: Workers,
    agent: AgentAt,
    port: Vec<Port<'a>>,
}

#[derive(Debug, Serialize)]
struct DataplaneNode<'a> {
    id: u32,
    name: &'a str,
    role: &'static str,
}

#[derive(Debug, Serialize)]
struct Eal<'a> {
    memory_mb: u32,
    huge: &'a str,
    file_prefix: &'a str,
}

#[derive(Debug, Serialize)]
struct Workers {
    cores: Vec<u32>,
    idle: &'static str,
}

#[derive(Debug, Serialize)]
struct AgentAt {
    socket: PathBuf,
}

#[derive(Debug, Serialize)]
struct Port<'a> {
    name: &'a str,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket: Option<PathBuf>,
    role: &'static str,
    mtu: u16,
    addresses: Vec<Cow<'a, str>>,
    exception: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plain_ip: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget_pps: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget_mbps: Option<u32>,
}

/// The configuration of the dataplane of router `index`.
///
/// # Errors
/// When it cannot be written as TOML.
pub fn dataplane_file(
    plan: &Plan,
    index: usize,
    paths: Paths<'_>,
) -> Result<String, toml::ser::Error> {
    let node = &plan.nodes[index];
    let budget = |port: &crate::plan::PortPlan| match port.end {
        PortEnd::Pod(pod) => Some(plan.pods[pod].budget),
        PortEnd::Router(_) => None,
    };
    toml::to_string(&DataplaneFile {
        node: DataplaneNode {
            id: node.id.0,
            name: &node.name,
            role: node.role.text(),
        },
        eal: Eal {
            memory_mb: plan.router.memory_mb,
            huge: &plan.router.huge,
            file_prefix: &node.namespace,
        },
        workers: Workers {
            cores: Vec::new(),
            idle: "block",
        },
        agent: AgentAt {
            socket: paths.agent(&node.name),
        },
        port: node
            .ports
            .iter()
            .map(|p| {
                let budget = budget(p);
                let pod = budget.is_some();
                Port {
                    name: &p.name,
                    kind: "af_packet",
                    interface: Some(&p.name),
                    socket: None,
                    role: if pod { "pod" } else { "router" },
                    mtu: plan.mtu,
                    addresses: vec![Cow::Borrowed(&p.address)],
                    exception: "tap",
                    domain: pod.then_some(1),
                    plain_ip: pod.then_some("kernel"),
                    budget_pps: budget.map(|b| b.0),
                    budget_mbps: budget.map(|b| b.1),
                }
            })
            .chain(plan.shared_ports(index).map(|(pod, shared)| Port {
                name: &shared.port,
                kind: "vhost",
                interface: None,
                socket: Some(paths.shared(&node.name, &shared.port)),
                role: "pod",
                mtu: plan.mtu,
                addresses: vec![Cow::Owned(format!("{}/30", shared.gateway_address))],
                // The pod's kernel has nothing to do with it.
                exception: "none",
                domain: Some(1),
                plain_ip: Some("drop"),
                budget_pps: Some(pod.budget.0),
                budget_mbps: Some(pod.budget.1),
            }))
            .collect(),
    })
}

/// Name of the tap through which the kernel reaches the network of a port.
#[must_use]
pub fn tap(port: &str) -> String {
    format!("x-{port}")
}
