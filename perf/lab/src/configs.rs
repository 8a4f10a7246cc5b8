//! The configuration files of a lab's processes, in the formats of the programs themselves.

mod edge;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

pub use edge::edge_file;

use dmsc_wire::NameBuf;
use serde::Serialize;

use crate::file::Role;
use crate::plan::{NodePlan, Plan, PortEnd};
use crate::routes::{self, Changes};

/// Files and sockets of a lab, under its folder.
#[derive(Debug, Clone, Copy)]
pub struct Paths<'a>(pub &'a Path);

impl Paths<'_> {
    /// The agent's socket of a router.
    #[must_use]
    pub fn agent(&self, node: &str) -> PathBuf {
        self.0.join(format!("{node}.sock"))
    }

    /// The operator's socket of a router or authority.
    #[must_use]
    pub fn operator(&self, daemon: &str) -> PathBuf {
        self.0.join(format!("{daemon}.operator.sock"))
    }

    /// What a control plane keeps.
    #[must_use]
    pub fn state(&self, daemon: &str) -> PathBuf {
        self.0.join(format!("{daemon}.state"))
    }

    /// Credentials of a router or authority.
    #[must_use]
    pub fn credentials(&self, daemon: &str) -> PathBuf {
        self.0.join("credentials").join(daemon)
    }

    /// Configuration of a dataplane.
    #[must_use]
    pub fn dataplane(&self, node: &str) -> PathBuf {
        self.0.join(format!("{node}.dataplane.toml"))
    }

    /// Configuration of a control plane or authority.
    #[must_use]
    pub fn daemon(&self, daemon: &str) -> PathBuf {
        self.0.join(format!("{daemon}.toml"))
    }

    /// Configuration of the edge beside a gateway.
    #[must_use]
    pub fn edge(&self, node: &str) -> PathBuf {
        self.0.join(format!("{node}.edge.toml"))
    }

    /// The operator's socket of the edge beside a gateway.
    #[must_use]
    pub fn edge_operator(&self, node: &str) -> PathBuf {
        self.0.join(format!("{node}.edge.sock"))
    }

    /// Where a gateway and a process of a pod meet to share memory.
    #[must_use]
    pub fn shared(&self, node: &str, port: &str) -> PathBuf {
        self.0.join(format!("{node}.{port}.sock"))
    }

    /// Policy of an authority.
    #[must_use]
    pub fn policy(&self, authority: &str) -> PathBuf {
        self.0.join(format!("{authority}.policy.toml"))
    }
}

#[derive(Debug, Serialize)]
struct NodeFile {
    node: Node,
    linkstate: LinkState,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<Gateway>,
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
        adjacency: adjacencies(plan, node, changes),
    })
}

#[derive(Debug, Serialize)]
struct AuthorityFile {
    spa: Spa,
}

#[derive(Debug, Serialize)]
struct Spa {
    name: String,
    listen: String,
    credentials: PathBuf,
    state_dir: PathBuf,
    operator: PathBuf,
    policy: PathBuf,
}

/// The configuration of authority `index`.
///
/// # Errors
/// When it cannot be written as TOML.
pub fn authority_file(
    plan: &Plan,
    index: usize,
    paths: Paths<'_>,
) -> Result<String, toml::ser::Error> {
    let authority = &plan.authorities[index];
    let name = authority.name.as_str();
    toml::to_string(&AuthorityFile {
        spa: Spa {
            name: name.into(),
            listen: format!("0.0.0.0:{}", authority.port),
            credentials: paths.credentials(name),
            state_dir: paths.state(name),
            operator: paths.operator(name),
            policy: paths.policy(name),
        },
    })
}

#[derive(Debug, Serialize)]
struct PolicyFile {
    authority: PolicyHead,
    policy: Vec<Policy>,
}

#[derive(Debug, Serialize)]
struct PolicyHead {
    authorisation_seconds: u32,
}

#[derive(Debug, Serialize)]
struct Policy {
    identity: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subtrees: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    names_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gateways: Vec<u32>,
}

/// The policy of authority `index`: of each identity the names for which this one has the longest subtree. What it signs lives `seconds`.
///
/// # Errors
/// When it cannot be written as TOML.
pub fn policy_file(
    plan: &Plan,
    index: usize,
    changes: &Changes,
    seconds: u32,
) -> Result<String, toml::ser::Error> {
    let mine = |names: &[NameBuf]| -> Vec<String> {
        names
            .iter()
            .filter(|name| plan.authority_of(name) == Some(index))
            .map(ToString::to_string)
            .collect()
    };
    let gateway = |pod: usize| vec![routes::node_id(plan, plan.pods[pod].gateway).0];
    let mut policy = Vec::new();
    if let Some(files) = &changes.files {
        policy.extend(files.iter().map(|names| Policy {
            identity: names.identity.clone(),
            subtrees: Vec::new(),
            names_file: Some(names.file.clone()),
            gateways: gateway(names.pod),
        }));
    } else {
        policy.extend(routes::services(plan).map(|(pod, service)| Policy {
            identity: service.identity.clone(),
            subtrees: mine(&service.names),
            names_file: None,
            gateways: gateway(pod),
        }));
        policy.extend(plan.edge_names().map(|(pod, identity, names)| Policy {
            identity: identity.into(),
            subtrees: mine(&names),
            names_file: None,
            gateways: gateway(pod),
        }));
        policy.extend(plan.policies.iter().map(|(identity, names)| Policy {
            identity: identity.clone(),
            subtrees: mine(names),
            names_file: None,
            gateways: Vec::new(),
        }));
        policy.retain(|p| !p.subtrees.is_empty());
    }
    toml::to_string(&PolicyFile {
        authority: PolicyHead {
            authorisation_seconds: seconds,
        },
        policy,
    })
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::figure2;

    const PATHS: fn() -> Paths<'static> = || Paths(Path::new("/run/lab"));

    fn node(plan: &Plan, name: &str, changes: &Changes) -> toml::Table {
        let index = plan.node(name).unwrap();
        let text = node_file(plan, index, changes, PATHS()).unwrap();
        text.parse().unwrap()
    }

    fn adjacencies_of(table: &toml::Table) -> Vec<&toml::Table> {
        let all = table["adjacency"].as_array().unwrap();
        all.iter().filter_map(toml::Value::as_table).collect()
    }

    #[test]
    fn a_gateway_knows_its_authorities_and_links() {
        let plan = figure2();
        let table = node(&plan, "sg4", &Changes::default());
        assert_eq!(
            table["gateway"]["authorities"],
            toml::Value::from(vec!["10.99.4.2:35032", "10.99.4.2:35034"])
        );
        assert_eq!(
            table["node"]["operator"].as_str(),
            Some("/run/lab/sg4.operator.sock")
        );
        let links = adjacencies_of(&table);
        assert_eq!(links.len(), 2);
        assert_eq!(links[1]["encapsulation"].as_str(), Some("ethernet"));
        assert_eq!(links[1]["metric"].as_integer(), Some(30));
        assert!(!links[1]["remote"].as_str().unwrap().is_empty());
        assert!(
            node(&plan, "sr1", &Changes::default())
                .get("gateway")
                .is_none()
        );
    }

    #[test]
    fn a_changed_metric_is_in_the_files_of_both_ends() {
        let plan = figure2();
        let changes = Changes {
            metrics: [(plan.link("sr1-sr3").unwrap(), 77)].into(),
            ..Changes::default()
        };
        for name in ["sr1", "sr3"] {
            let table = node(&plan, name, &changes);
            let links = adjacencies_of(&table);
            let changed = links
                .iter()
                .filter(|l| l["metric"].as_integer() == Some(77));
            assert_eq!(changed.count(), 1);
        }
    }

    #[test]
    fn the_foreign_fabric_has_a_next_hop_and_a_key() {
        let plan = figure2();
        let table = node(&plan, "sr1", &Changes::default());
        let links = adjacencies_of(&table);
        let foreign: Vec<_> = links
            .iter()
            .filter(|a| a.contains_key("next_hop"))
            .collect();
        assert_eq!(foreign.len(), 1);
        assert_eq!(foreign[0]["minimum_ttl"].as_integer(), Some(253));
        assert_eq!(foreign[0]["key_hex"].as_str().unwrap().len(), 64);
        let other = node(&plan, "sr2", &Changes::default());
        let links = adjacencies_of(&other);
        let keys: Vec<_> = links.iter().filter_map(|a| a.get("key_hex")).collect();
        assert_eq!(keys, [&foreign[0]["key_hex"]]);
    }

    #[test]
    fn each_authority_has_its_own_part_of_the_policy() {
        let plan = figure2();
        let policy = |index| -> toml::Table {
            let text = policy_file(&plan, index, &Changes::default(), 60).unwrap();
            text.parse().unwrap()
        };
        for index in 0..2 {
            let text = policy_file(&plan, index, &Changes::default(), 60).unwrap();
            dmsc_spa::policy::Policy::parse(&text, Path::new("/")).unwrap();
        }
        let (first, second) = (policy(0), policy(1));
        assert_eq!(
            first["authority"]["authorisation_seconds"].as_integer(),
            Some(60)
        );
        let of = |table: &toml::Table, identity: &str| {
            table["policy"]
                .as_array()
                .unwrap()
                .iter()
                .find(|p| p["identity"].as_str() == Some(identity))
                .map(|p| p["subtrees"].as_array().unwrap().len())
        };
        assert_eq!(of(&first, "pod3/shop"), Some(1));
        assert_eq!(of(&second, "pod3/shop"), Some(3));
        assert_eq!(of(&second, "pod1/a"), None);
        assert_eq!(of(&first, "pod2/late"), Some(1));
        let spa: toml::Table = authority_file(&plan, 1, PATHS()).unwrap().parse().unwrap();
        assert_eq!(spa["spa"]["listen"].as_str(), Some("0.0.0.0:35034"));
    }

    #[test]
    fn a_dataplane_gets_its_ports_in_order() {
        let plan = figure2();
        let table: toml::Table = dataplane_file(&plan, 0, PATHS()).unwrap().parse().unwrap();
        let ports = table["port"].as_array().unwrap();
        assert_eq!(ports.len(), 5);
        assert_eq!(ports[2]["role"].as_str(), Some("pod"));
        assert_eq!(ports[2]["budget_pps"].as_integer(), Some(400_000));
        assert_eq!(ports[3]["budget_pps"].as_integer(), Some(20_000));
        assert!(ports[0].get("budget_pps").is_none());
    }

    #[test]
    fn a_shared_port_has_a_socket_and_is_for_one_identity() {
        let plan = figure2();
        let table: toml::Table = dataplane_file(&plan, 0, PATHS()).unwrap().parse().unwrap();
        let port = table["port"][4].as_table().unwrap();
        assert_eq!(port["name"].as_str(), Some("pod1_v"));
        assert_eq!(port["kind"].as_str(), Some("vhost"));
        assert_eq!(port["socket"].as_str(), Some("/run/lab/sg1.pod1_v.sock"));
        assert_eq!(port["addresses"][0].as_str(), Some("10.1.255.1/30"));
        assert!(port.get("interface").is_none());
        let table = node(&plan, "sg1", &Changes::default());
        let may = &table["gateway"]["port"][0];
        assert_eq!(may["name"].as_str(), Some("pod1_v"));
        assert_eq!(may["identities"][0].as_str(), Some("pod1/edge"));
        let other = node(&plan, "sg3", &Changes::default());
        assert!(other["gateway"].get("port").is_none());
    }
}
