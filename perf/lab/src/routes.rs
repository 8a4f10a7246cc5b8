//! What each router is told: its configuration, and the routes that shortest paths over the lab's links give it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use dmsc_linkstate::{Cost, Graph, LinkId, NodeId, Route, routes_by};
use serde::Serialize;

use crate::file::{Encapsulation, Role};
use crate::plan::{NodePlan, Plan, PortEnd, ServicePlan};

/// Changes against the lab file, for scenarios.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Metrics by link index.
    pub metrics: BTreeMap<usize, u32>,
    /// Weights of the gateways that serve a name, by its text.
    pub weights: BTreeMap<String, Weights>,
    /// Names in files instead of the services of the lab file.
    pub files: Option<Vec<NamesOf>>,
}

/// Many names of one pod, in a file.
#[derive(Debug, Clone)]
pub struct NamesOf {
    /// Index of the pod.
    pub pod: usize,
    /// Identity that serves them.
    pub identity: String,
    /// One name per line, as text.
    pub file: PathBuf,
}

#[derive(Debug, Serialize)]
struct RoutesFile {
    node: Node,
    adjacency: Vec<Adjacency>,
    gateway: Vec<Gateway>,
    group: Vec<Group>,
    prefix: Vec<Prefix>,
    prefix_file: Vec<PrefixFile>,
    identity: Vec<Identity>,
}

#[derive(Debug, Serialize)]
struct Node {
    id: u32,
    domain: u32,
}

#[derive(Debug, Serialize)]
struct Adjacency {
    id: u16,
    port: String,
    peer: u32,
    encapsulation: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    local: String,
    #[serde(skip_serializing_if = "String::is_empty")]
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

#[derive(Debug, Serialize)]
struct Gateway {
    id: u32,
    topology: &'static str,
    metric: u32,
    next_hops: Vec<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_protecting: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link_protecting: Option<u16>,
}

#[derive(Debug, Serialize)]
struct Group {
    id: u32,
    policy: &'static str,
    members: Vec<Member>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Member {
    gateway: u32,
    metric: u32,
    weight: u16,
}

#[derive(Debug, Serialize)]
struct Prefix {
    name: String,
    group: u32,
}

#[derive(Debug, Serialize)]
struct PrefixFile {
    path: PathBuf,
    group: u32,
}

#[derive(Debug, Serialize)]
struct Identity {
    id: String,
    prefixes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix_file: Option<PathBuf>,
    ports: Vec<String>,
}

/// The graph of the lab, with changed metrics. Link ids are link indices.
#[must_use]
pub fn graph(plan: &Plan, changes: &Changes) -> Graph {
    let mut graph = Graph::new();
    for node in &plan.nodes {
        graph.add_node(node.id);
    }
    for (index, link) in plan.links.iter().enumerate() {
        let metric = changes.metrics.get(&index).copied().unwrap_or(link.metric);
        let [a, b] = link.ends.map(|end| plan.nodes[end].id);
        let id = LinkId(index as u32);
        graph.add_link_with_delay(id, a, b, metric, link.delay);
        graph.add_link_with_delay(id, b, a, metric, link.delay);
    }
    graph
}

fn adjacency_of(node: &NodePlan, link: LinkId) -> Option<u16> {
    node.ports.iter().find_map(|port| match &port.end {
        PortEnd::Router(adjacency) if adjacency.link == link.0 as usize => Some(adjacency.id),
        _ => None,
    })
}

fn gateways(plan: &Plan, node: &NodePlan, graph: &Graph) -> Vec<Gateway> {
    let mut all = Vec::new();
    let topologies: &[(&str, Cost)] = if plan.has_delays {
        &[("metric", Cost::Metric), ("delay", Cost::Delay)]
    } else {
        &[("metric", Cost::Metric)]
    };
    for &(topology, cost) in topologies {
        for route in routes_by(graph, node.id, cost) {
            all.push(gateway(node, topology, &route));
        }
    }
    all
}

fn gateway(node: &NodePlan, topology: &'static str, route: &Route) -> Gateway {
    let adjacency = |link: &LinkId| adjacency_of(node, *link);
    Gateway {
        id: route.destination.0,
        topology,
        metric: route.metric,
        next_hops: route
            .next_hops
            .iter()
            .filter_map(adjacency)
            .take(16)
            .collect(),
        node_protecting: route.node_protecting.as_ref().and_then(adjacency),
        link_protecting: route.link_protecting.as_ref().and_then(adjacency),
    }
}

fn adjacencies(plan: &Plan, node: &NodePlan) -> Vec<Adjacency> {
    let mut all = Vec::new();
    for port in &node.ports {
        let PortEnd::Router(adjacency) = &port.end else {
            continue;
        };
        let bare = adjacency.encapsulation == Encapsulation::Ethernet;
        let foreign = adjacency.next_hop.is_some();
        all.push(Adjacency {
            id: adjacency.id,
            port: port.name.clone(),
            peer: adjacency.peer.0,
            encapsulation: adjacency.encapsulation.text(),
            local: if bare {
                String::new()
            } else {
                adjacency.local.clone()
            },
            remote: if bare {
                String::new()
            } else {
                adjacency.remote.clone()
            },
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

/// Weights of gateways.
pub type Weights = BTreeMap<NodeId, u16>;
/// What makes two groups the same.
type GroupKey<'a> = (BTreeSet<u32>, Option<&'a Weights>);

/// Groups under construction: equal sets of members share one.
struct Groups<'a> {
    metric: BTreeMap<u32, u32>,
    own: u32,
    ids: BTreeMap<GroupKey<'a>, u32>,
}

impl<'a> Groups<'a> {
    fn id(&mut self, gateways: BTreeSet<u32>, weights: Option<&'a Weights>) -> u32 {
        let next = self.ids.len() as u32 + 1;
        *self.ids.entry((gateways, weights)).or_insert(next)
    }

    fn finish(self) -> Vec<Group> {
        let mut all: Vec<Group> = self
            .ids
            .iter()
            .map(|((gateways, weights), id)| Group {
                id: *id,
                policy: if weights.is_some() {
                    "weighted"
                } else {
                    "nearest"
                },
                members: gateways
                    .iter()
                    .map(|gateway| Member {
                        gateway: *gateway,
                        metric: if *gateway == self.own {
                            0
                        } else {
                            self.metric.get(gateway).copied().unwrap_or(u32::MAX)
                        },
                        weight: weights
                            .map_or(1, |w| w.get(&NodeId(*gateway)).copied().unwrap_or(0)),
                    })
                    .collect(),
            })
            .collect();
        all.sort_by_key(|group| group.id);
        all
    }
}

fn identities(plan: &Plan, index: usize, changes: &Changes) -> Vec<Identity> {
    let mut all = Vec::new();
    for (pod_index, pod) in plan.pods.iter().enumerate() {
        if pod.gateway != index {
            continue;
        }
        let ports = vec![pod.name.clone()];
        if let Some(files) = &changes.files {
            all.extend(
                files
                    .iter()
                    .filter(|f| f.pod == pod_index)
                    .map(|f| Identity {
                        id: f.identity.clone(),
                        prefixes: Vec::new(),
                        prefix_file: Some(f.file.clone()),
                        ports: ports.clone(),
                    }),
            );
        } else {
            all.extend(pod.services.iter().map(|s| Identity {
                id: s.identity.clone(),
                prefixes: s.names.iter().map(ToString::to_string).collect(),
                prefix_file: None,
                ports: ports.clone(),
            }));
        }
        // Anybody else in this pod may call, and serves nothing.
        all.push(Identity {
            id: format!("{}/*", pod.name),
            prefixes: Vec::new(),
            prefix_file: None,
            ports,
        });
    }
    for (id, pods) in &plan.shared {
        let ports: Vec<String> = pods
            .iter()
            .filter(|pod| plan.pods[**pod].gateway == index)
            .map(|pod| plan.pods[*pod].name.clone())
            .collect();
        if !ports.is_empty() {
            all.push(Identity {
                id: id.clone(),
                prefixes: Vec::new(),
                prefix_file: None,
                ports,
            });
        }
    }
    all
}

/// Every service of the lab with the index of its pod.
pub fn services(plan: &Plan) -> impl Iterator<Item = (usize, &ServicePlan)> {
    plan.pods
        .iter()
        .enumerate()
        .flat_map(|(index, pod)| pod.services.iter().map(move |s| (index, s)))
}

/// The routes file of router `index`.
///
/// # Errors
/// When it cannot be written as TOML.
pub fn routes_file(
    plan: &Plan,
    index: usize,
    changes: &Changes,
) -> Result<String, toml::ser::Error> {
    let node = &plan.nodes[index];
    let gateways = gateways(plan, node, &graph(plan, changes));
    let mut groups = Groups {
        metric: gateways
            .iter()
            .filter(|g| g.topology == "metric")
            .map(|g| (g.id, g.metric))
            .collect(),
        own: node.id.0,
        ids: BTreeMap::new(),
    };
    let gateway_of = |pod: usize| plan.nodes[plan.pods[pod].gateway].id.0;
    let (mut prefix, mut prefix_file) = (Vec::new(), Vec::new());
    if let Some(files) = &changes.files {
        for names in files {
            let group = groups.id(BTreeSet::from([gateway_of(names.pod)]), None);
            prefix_file.push(PrefixFile {
                path: names.file.clone(),
                group,
            });
        }
    } else {
        let mut served: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
        for (pod, service) in services(plan) {
            for name in &service.names {
                served
                    .entry(name.to_string())
                    .or_default()
                    .insert(gateway_of(pod));
            }
        }
        for (name, by) in served {
            let group = groups.id(by, changes.weights.get(&name));
            prefix.push(Prefix { name, group });
        }
    }
    toml::to_string(&RoutesFile {
        node: Node {
            id: node.id.0,
            domain: 1,
        },
        adjacency: adjacencies(plan, node),
        gateway: gateways,
        group: groups.finish(),
        prefix,
        prefix_file,
        identity: if node.role == Role::Sg {
            identities(plan, index, changes)
        } else {
            Vec::new()
        },
    })
}

#[derive(Debug, Serialize)]
struct DataplaneFile<'a> {
    node: DataplaneNode<'a>,
    eal: Eal<'a>,
    workers: Workers,
    agent: AgentAt<'a>,
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
struct AgentAt<'a> {
    socket: &'a Path,
}

#[derive(Debug, Serialize)]
struct Port<'a> {
    name: &'a str,
    kind: &'static str,
    interface: &'a str,
    role: &'static str,
    mtu: u16,
    addresses: Vec<&'a str>,
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

/// The configuration of the dataplane of router `index`, whose agent listens on `socket`.
///
/// # Errors
/// When it cannot be written as TOML.
pub fn dataplane_file(
    plan: &Plan,
    index: usize,
    socket: &Path,
) -> Result<String, toml::ser::Error> {
    let node = &plan.nodes[index];
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
        agent: AgentAt { socket },
        port: node
            .ports
            .iter()
            .map(|port| {
                let pod = matches!(port.end, PortEnd::Pod(_));
                Port {
                    name: &port.name,
                    kind: "af_packet",
                    interface: &port.name,
                    role: if pod { "pod" } else { "router" },
                    mtu: plan.mtu,
                    addresses: vec![&port.address],
                    exception: "tap",
                    domain: pod.then_some(1),
                    plain_ip: pod.then_some("kernel"),
                    budget_pps: pod.then_some(plan.router.budget_pps),
                    budget_mbps: pod.then_some(plan.router.budget_mbps),
                }
            })
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::figure2;

    fn value(plan: &Plan, node: &str, changes: &Changes) -> toml::Table {
        let index = plan.node(node).unwrap();
        routes_file(plan, index, changes).unwrap().parse().unwrap()
    }

    fn gateway_entry(table: &toml::Table, id: i64) -> &toml::Table {
        table["gateway"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(toml::Value::as_table)
            .find(|g| g["id"].as_integer() == Some(id))
            .unwrap()
    }

    #[test]
    fn the_path_from_sg1_to_sg4_is_that_of_figure_2() {
        let plan = figure2();
        let mut at = "sg1".to_string();
        let mut path = vec![at.clone()];
        while at != "sg4" {
            let table = value(&plan, &at, &Changes::default());
            let hops = gateway_entry(&table, 4)["next_hops"]
                .as_array()
                .unwrap()
                .clone();
            assert_eq!(hops.len(), 1, "one shortest path from {at}");
            let node = &plan.nodes[plan.node(&at).unwrap()];
            let adjacency = hops[0].as_integer().unwrap();
            at = node
                .ports
                .iter()
                .find_map(|p| match &p.end {
                    PortEnd::Router(a) if i64::from(a.id) == adjacency => {
                        plan.nodes.iter().find(|n| n.id == a.peer)
                    }
                    _ => None,
                })
                .unwrap()
                .name
                .clone();
            path.push(at.clone());
        }
        assert_eq!(path, ["sg1", "sr1", "sr3", "sg4"]);
        let table = value(&plan, "sg1", &Changes::default());
        assert_eq!(gateway_entry(&table, 4)["metric"].as_integer(), Some(30));
    }

    #[test]
    fn pod_2_is_as_near_to_sg1_as_to_sg4() {
        let plan = figure2();
        let table = value(&plan, "sg2", &Changes::default());
        assert_eq!(
            gateway_entry(&table, 1)["metric"],
            gateway_entry(&table, 4)["metric"]
        );
    }

    #[test]
    fn names_share_groups_and_own_members_are_nearest() {
        let plan = figure2();
        let table = value(&plan, "sg1", &Changes::default());
        let groups = table["group"].as_array().unwrap();
        // {1}, {2}, {3}, {4}, {1, 4}
        assert_eq!(groups.len(), 5);
        let pair = groups
            .iter()
            .find(|g| g["members"].as_array().unwrap().len() == 2)
            .unwrap();
        assert_eq!(pair["members"][0]["metric"].as_integer(), Some(0));
        assert_eq!(pair["members"][1]["metric"].as_integer(), Some(30));
        assert_eq!(pair["policy"].as_str(), Some("nearest"));
    }

    #[test]
    fn weights_make_a_group_of_their_own() {
        let plan = figure2();
        let mut changes = Changes::default();
        changes.weights.insert(
            "/shop/b".into(),
            BTreeMap::from([(NodeId(1), 1), (NodeId(4), 1)]),
        );
        let table = value(&plan, "sg1", &changes);
        let weighted: Vec<_> = table["group"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|g| g["policy"].as_str() == Some("weighted"))
            .collect();
        assert_eq!(weighted.len(), 1);
    }

    #[test]
    fn the_foreign_fabric_has_a_next_hop_and_a_key() {
        let plan = figure2();
        let table = value(&plan, "sr1", &Changes::default());
        let foreign: Vec<_> = table["adjacency"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|a| a.get("next_hop").is_some())
            .collect();
        assert_eq!(foreign.len(), 1);
        assert_eq!(foreign[0]["minimum_ttl"].as_integer(), Some(253));
        assert_eq!(foreign[0]["key_hex"].as_str().unwrap().len(), 64);
        let other = value(&plan, "sr2", &Changes::default());
        let keys: Vec<_> = other["adjacency"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|a| a.get("key_hex"))
            .collect();
        assert_eq!(keys, [&foreign[0]["key_hex"]]);
    }

    #[test]
    fn a_dataplane_gets_its_ports_in_order() {
        let plan = figure2();
        let table: toml::Table = dataplane_file(&plan, 0, Path::new("/run/x.sock"))
            .unwrap()
            .parse()
            .unwrap();
        let ports = table["port"].as_array().unwrap();
        assert_eq!(ports.len(), 4);
        assert_eq!(ports[2]["role"].as_str(), Some("pod"));
        assert_eq!(ports[2]["budget_pps"].as_integer(), Some(20_000));
        assert!(ports[0].get("budget_pps").is_none());
    }
}
