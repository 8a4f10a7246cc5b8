//! What the routers should compute: shortest paths over the lab's links, to compare with what they learned.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use dmsc_linkstate::{Cost, Graph, LinkId, NodeId, routes_by};

use crate::plan::{NodePlan, Plan, PortEnd, ServicePlan};

/// Changes against the lab file, for scenarios.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Metrics by link index.
    pub metrics: BTreeMap<usize, u32>,
    /// Links that are broken, by index: not in any configuration, only in what is expected.
    pub broken: BTreeSet<usize>,
    /// Names in files instead of the services of the lab file.
    pub files: Option<Vec<NamesOf>>,
}

/// Many names of one pod, in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamesOf {
    /// Index of the pod.
    pub pod: usize,
    /// Identity that serves them.
    pub identity: String,
    /// One name per line, as text.
    pub file: PathBuf,
}

/// What a route to a gateway should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Distance.
    pub metric: u32,
    /// Adjacency ids of equal cost.
    pub next_hops: BTreeSet<u32>,
}

impl Changes {
    /// The metric of a link.
    #[must_use]
    pub fn metric(&self, plan: &Plan, link: usize) -> u32 {
        let changed = self.metrics.get(&link).copied();
        changed.unwrap_or(plan.links[link].metric)
    }
}

/// The graph of the lab, with changed metrics and without broken links. Link ids are link indices.
#[must_use]
pub fn graph(plan: &Plan, changes: &Changes) -> Graph {
    let mut graph = Graph::new();
    for node in &plan.nodes {
        graph.add_node(node.id);
    }
    for (index, link) in plan.links.iter().enumerate() {
        if changes.broken.contains(&index) {
            continue;
        }
        let metric = changes.metric(plan, index);
        let [a, b] = link.ends.map(|end| plan.nodes[end].id);
        let id = LinkId(index as u32);
        graph.add_link_with_delay(id, a, b, metric, link.delay);
        graph.add_link_with_delay(id, b, a, metric, link.delay);
    }
    graph
}

/// The id that `node` gives its adjacency over link `link`.
#[must_use]
pub fn adjacency_of(node: &NodePlan, link: usize) -> Option<u16> {
    node.ports.iter().find_map(|port| match &port.end {
        PortEnd::Router(adjacency) if adjacency.link == link => Some(adjacency.id),
        _ => None,
    })
}

/// What router `index` should compute for every node that it reaches, by node id, topology of metrics.
#[must_use]
pub fn expected(plan: &Plan, index: usize, changes: &Changes) -> BTreeMap<u32, Expected> {
    let node = &plan.nodes[index];
    routes_by(&graph(plan, changes), node.id, Cost::Metric)
        .into_iter()
        .filter(|route| route.destination != node.id)
        .map(|route| {
            let next_hops = route
                .next_hops
                .iter()
                .filter_map(|link| adjacency_of(node, link.0 as usize))
                .map(u32::from)
                .take(16)
                .collect();
            let expected = Expected {
                metric: route.metric,
                next_hops,
            };
            (route.destination.0, expected)
        })
        .collect()
}

/// Distances of all pairs of nodes, by node index; none where there is no way.
#[must_use]
pub fn distances(plan: &Plan, changes: &Changes) -> Vec<Vec<Option<u64>>> {
    use petgraph::graph::{NodeIndex, UnGraph};
    let mut graph = UnGraph::<(), u64>::with_capacity(plan.nodes.len(), plan.links.len());
    let nodes: Vec<NodeIndex> = plan.nodes.iter().map(|_| graph.add_node(())).collect();
    for (index, link) in plan.links.iter().enumerate() {
        if !changes.broken.contains(&index) {
            let [a, b] = link.ends.map(|end| nodes[end]);
            graph.add_edge(a, b, u64::from(changes.metric(plan, index)));
        }
    }
    nodes
        .iter()
        .map(|from| {
            let found = petgraph::algo::dijkstra(&graph, *from, None, |edge| *edge.weight());
            nodes.iter().map(|to| found.get(to).copied()).collect()
        })
        .collect()
}

/// Every service of the lab with the index of its pod.
pub fn services(plan: &Plan) -> impl Iterator<Item = (usize, &ServicePlan)> {
    plan.pods
        .iter()
        .enumerate()
        .flat_map(|(index, pod)| pod.services.iter().map(move |s| (index, s)))
}

/// Which node ids should serve each name of the lab file, by its text.
#[must_use]
pub fn served(plan: &Plan) -> BTreeMap<String, BTreeSet<u32>> {
    let mut all: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    for (pod, service) in services(plan) {
        for name in &service.names {
            let gateway = plan.nodes[plan.pods[pod].gateway].id.0;
            all.entry(name.to_string()).or_default().insert(gateway);
        }
    }
    all
}

/// The nodes that lead to a loop, or nowhere although there is a way: `next[from][to]` are the nodes that `from` sends packets for `to` to.
#[must_use]
pub fn loops(
    next: &[BTreeMap<usize, Vec<usize>>],
    reachable: impl Fn(usize, usize) -> bool,
) -> Vec<(usize, usize)> {
    // 0 unseen, 1 on the way here, 2 arrives, 3 does not.
    fn arrives(
        at: usize,
        to: usize,
        next: &[BTreeMap<usize, Vec<usize>>],
        seen: &mut [u8],
    ) -> bool {
        match seen[at] {
            1 | 3 => return false,
            2 => return true,
            _ => {}
        }
        seen[at] = 1;
        let hops = next[at].get(&to).map_or(&[][..], Vec::as_slice);
        let ok =
            at == to || (!hops.is_empty() && hops.iter().all(|hop| arrives(*hop, to, next, seen)));
        seen[at] = if ok { 2 } else { 3 };
        ok
    }
    let mut wrong = Vec::new();
    for to in 0..next.len() {
        let mut seen = vec![0; next.len()];
        for from in 0..next.len() {
            if reachable(from, to) && !arrives(from, to, next, &mut seen) {
                wrong.push((from, to));
            }
        }
    }
    wrong
}

/// The node id of a gateway.
#[must_use]
pub fn node_id(plan: &Plan, node: usize) -> NodeId {
    plan.nodes[node].id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::figure2;

    #[test]
    fn the_path_from_sg1_to_sg4_is_that_of_figure_2() {
        let plan = figure2();
        let mut at = plan.node("sg1").unwrap();
        let mut path = vec![plan.nodes[at].name.clone()];
        while plan.nodes[at].name != "sg4" {
            let routes = expected(&plan, at, &Changes::default());
            let route = &routes[&4];
            assert_eq!(route.next_hops.len(), 1, "one shortest path from {at}");
            let node = &plan.nodes[at];
            let peer = node
                .ports
                .iter()
                .find_map(|p| match &p.end {
                    PortEnd::Router(a) if route.next_hops.contains(&u32::from(a.id)) => {
                        Some(a.peer)
                    }
                    _ => None,
                })
                .unwrap();
            at = plan.nodes.iter().position(|n| n.id == peer).unwrap();
            path.push(plan.nodes[at].name.clone());
        }
        assert_eq!(path, ["sg1", "sr1", "sr3", "sg4"]);
        assert_eq!(expected(&plan, 0, &Changes::default())[&4].metric, 30);
    }

    #[test]
    fn pod_2_is_as_near_to_sg1_as_to_sg4() {
        let plan = figure2();
        let routes = expected(&plan, plan.node("sg2").unwrap(), &Changes::default());
        assert_eq!(routes[&1].metric, routes[&4].metric);
    }

    #[test]
    fn changed_and_broken_links_count() {
        let plan = figure2();
        let link = plan.link("sg1-sr1").unwrap();
        let changes = Changes {
            metrics: BTreeMap::from([(link, 100)]),
            ..Changes::default()
        };
        assert_eq!(distances(&plan, &changes)[0][3], Some(40));
        let changes = Changes {
            broken: BTreeSet::from([link, plan.link("sg1-sr2").unwrap()]),
            ..Changes::default()
        };
        assert_eq!(distances(&plan, &changes)[0][3], None);
        assert!(expected(&plan, 0, &changes).is_empty());
    }

    #[test]
    fn both_shortest_path_computations_agree() {
        let plan = figure2();
        let distances = distances(&plan, &Changes::default());
        for (from, distances) in distances.iter().enumerate() {
            let routes = expected(&plan, from, &Changes::default());
            for (to, node) in plan.nodes.iter().enumerate() {
                if let Some(route) = routes.get(&node.id.0) {
                    assert_eq!(distances[to], Some(u64::from(route.metric)));
                }
            }
        }
    }

    #[test]
    fn loops_and_dead_ends_are_found() {
        let hops = |pairs: &[(usize, &[usize])]| -> BTreeMap<usize, Vec<usize>> {
            pairs.iter().map(|(to, by)| (*to, by.to_vec())).collect()
        };
        // 0 and 1 send packets for 3 to each other; 2 delivers.
        let next = vec![
            hops(&[(3, &[1, 2])]),
            hops(&[(3, &[0])]),
            hops(&[(3, &[3])]),
            hops(&[]),
        ];
        let to_three = |_: usize, to: usize| to == 3;
        assert_eq!(loops(&next, to_three), [(0, 3), (1, 3)]);
        let good = vec![
            hops(&[(3, &[1, 2])]),
            hops(&[(3, &[2])]),
            hops(&[(3, &[3])]),
            hops(&[]),
        ];
        assert!(loops(&good, to_three).is_empty());
        let dead = vec![hops(&[]), hops(&[]), hops(&[]), hops(&[])];
        assert_eq!(loops(&dead, to_three).len(), 3);
        assert!(loops(&dead, |_, _| false).is_empty());
    }
}
