//! Shortest paths, routes and alternates against a naive Floyd–Warshall model.

use std::collections::{BTreeMap, BTreeSet};

use dmsc_linkstate::{Cost, Graph, LinkId, NodeId, Route, routes, routes_by, spf::spf};
use proptest::prelude::*;

/// Link, from, to, metric there, metric back (`None`: one direction only).
type Link = (u32, u32, u32, u32, Option<u32>);

/// Design, issue "Figure 2": gateways 1–4, routers 11–13.
const FIGURE_2: [Link; 11] = [
    (1, 1, 11, 10, Some(10)),
    (2, 1, 12, 20, Some(20)),
    (3, 2, 12, 10, Some(10)),
    (4, 2, 11, 20, Some(20)),
    (5, 11, 12, 10, Some(10)),
    (6, 11, 13, 10, Some(10)),
    (7, 12, 13, 10, Some(10)),
    (8, 3, 13, 10, Some(10)),
    (9, 3, 11, 30, Some(30)),
    (10, 4, 13, 10, Some(10)),
    (11, 4, 12, 30, Some(30)),
];

fn graph(links: &[Link]) -> Graph {
    let mut graph = Graph::new();
    for &(link, a, b, there, back) in links {
        graph.add_link(LinkId(link), NodeId(a), NodeId(b), there);
        if let Some(back) = back {
            graph.add_link(LinkId(link), NodeId(b), NodeId(a), back);
        }
    }
    graph
}

/// Distances between all pairs by Floyd–Warshall.
struct Model {
    distance: BTreeMap<(NodeId, NodeId), u64>,
}

impl Model {
    fn new(graph: &Graph) -> Self {
        let nodes: Vec<NodeId> = graph.nodes().collect();
        let mut distance = BTreeMap::new();
        for &node in &nodes {
            distance.insert((node, node), 0);
            for edge in graph.edges(node) {
                let known = distance.entry((node, edge.to)).or_insert(u64::MAX);
                *known = (*known).min(u64::from(edge.metric));
            }
        }
        for &k in &nodes {
            for &i in &nodes {
                for &j in &nodes {
                    let (Some(a), Some(b)) = (distance.get(&(i, k)), distance.get(&(k, j))) else {
                        continue;
                    };
                    let via = a + b;
                    let known = distance.entry((i, j)).or_insert(u64::MAX);
                    *known = (*known).min(via);
                }
            }
        }
        Self { distance }
    }

    fn distance(&self, from: NodeId, to: NodeId) -> Option<u64> {
        self.distance.get(&(from, to)).copied()
    }

    /// Links and far ends of all first hops of shortest paths.
    fn hops(&self, graph: &Graph, from: NodeId, to: NodeId) -> BTreeSet<(LinkId, NodeId)> {
        let Some(whole) = self.distance(from, to).filter(|&d| d > 0) else {
            return BTreeSet::new();
        };
        graph
            .edges(from)
            .iter()
            .filter(|e| {
                self.distance(e.to, to)
                    .is_some_and(|d| d + u64::from(e.metric) == whole)
            })
            .map(|e| (e.link, e.to))
            .collect()
    }

    /// Every node and link that some shortest path `from` → `to` uses, both ends included.
    fn used(
        &self,
        graph: &Graph,
        from: NodeId,
        to: NodeId,
    ) -> (BTreeSet<NodeId>, BTreeSet<LinkId>) {
        let (mut nodes, mut links) = (BTreeSet::from([from]), BTreeSet::new());
        let mut open = vec![from];
        while let Some(node) = open.pop() {
            for (link, next) in self.hops(graph, node, to) {
                links.insert(link);
                if nodes.insert(next) {
                    open.push(next);
                }
            }
        }
        (nodes, links)
    }
}

/// Checks every route of every root; the alternates by walking, not by the inequalities.
fn check(graph: &Graph) -> Result<(), TestCaseError> {
    let model = Model::new(graph);
    for root in graph.nodes() {
        let paths = spf(graph, root);
        let routes = routes(graph, root);
        let reached: Vec<NodeId> = graph
            .nodes()
            .filter(|&n| n != root && model.distance(root, n).is_some())
            .collect();
        prop_assert_eq!(
            routes.iter().map(|r| r.destination).collect::<Vec<_>>(),
            reached
        );
        for route in routes {
            let to = route.destination;
            let hops = model.hops(graph, root, to);
            let mut links: Vec<LinkId> = hops.iter().map(|(l, _)| *l).collect();
            links.sort_unstable();
            prop_assert_eq!(Some(u64::from(route.metric)), model.distance(root, to));
            prop_assert_eq!(paths.distance(to), model.distance(root, to));
            prop_assert_eq!(&route.next_hops, &links);
            check_alternates(graph, &model, root, &route, &hops)?;
        }
    }
    Ok(())
}

fn check_alternates(
    graph: &Graph,
    model: &Model,
    root: NodeId,
    route: &Route,
    hops: &BTreeSet<(LinkId, NodeId)>,
) -> Result<(), TestCaseError> {
    let to = route.destination;
    // What walking from each other neighbour by its own shortest paths would touch.
    let mut loop_free = Vec::new();
    for edge in graph
        .edges(root)
        .iter()
        .filter(|e| !route.next_hops.contains(&e.link))
    {
        let Some(onward) = model.distance(edge.to, to) else {
            continue;
        };
        let (nodes, links) = model.used(graph, edge.to, to);
        if nodes.contains(&root) {
            continue;
        }
        prop_assert!(
            route.next_hops.iter().all(|l| !links.contains(l)),
            "a dead link is used"
        );
        let protects_node = hops.iter().all(|(_, next)| !nodes.contains(next));
        loop_free.push((
            onward + u64::from(edge.metric),
            edge.to,
            edge.link,
            protects_node,
        ));
    }
    loop_free.sort_unstable();
    let node = loop_free.iter().find(|c| c.3).map(|c| c.2);
    let link = loop_free.iter().map(|c| c.2).find(|&l| Some(l) != node);
    prop_assert_eq!((route.node_protecting, route.link_protecting), (node, link));
    Ok(())
}

fn links() -> impl Strategy<Value = Vec<Link>> {
    let link = (
        1u32..9,
        1u32..9,
        1u32..5,
        prop_oneof![4 => (1u32..5).prop_map(Some), 1 => Just(None)],
    );
    proptest::collection::vec(link, 1..24).prop_map(|links| {
        links
            .into_iter()
            .zip(1..)
            .map(|((a, b, there, back), id)| (id, a, b, there, back))
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn routes_and_alternates_are_those_of_the_model(links in links()) {
        check(&graph(&links))?;
    }

    /// Paths around overloaded nodes are those of a graph in which these have no links out (but the root its own), and no alternate
    /// leads through one.
    #[test]
    fn nobody_goes_through_an_overloaded_node(links in links(), overloaded in proptest::collection::btree_set(1u32..9, 0..4)) {
        let mut full = graph(&links);
        for node in &overloaded {
            full.set_overloaded(NodeId(*node), true);
        }
        for root in full.nodes() {
            let dead_end = |node: u32| overloaded.contains(&node) && NodeId(node) != root;
            let mut cut = graph(&[]);
            for &(link, a, b, there, back) in &links {
                cut.add_node(NodeId(a));
                cut.add_node(NodeId(b));
                if !dead_end(a) {
                    cut.add_link(LinkId(link), NodeId(a), NodeId(b), there);
                }
                if let Some(back) = back.filter(|_| !dead_end(b)) {
                    cut.add_link(LinkId(link), NodeId(b), NodeId(a), back);
                }
            }
            let shape = |r: &Route| (r.destination, r.metric, r.next_hops.clone());
            let found = routes(&full, root);
            let expected: Vec<_> = routes(&cut, root).iter().map(shape).collect();
            prop_assert_eq!(found.iter().map(shape).collect::<Vec<_>>(), expected);
            for route in found {
                for alternate in [route.node_protecting, route.link_protecting].into_iter().flatten() {
                    let over = full.edges(root).iter().find(|e| e.link == alternate).unwrap().to;
                    prop_assert!(over == route.destination || !overloaded.contains(&over.0));
                }
            }
        }
    }

    #[test]
    fn the_order_of_links_never_shows(links in links()) {
        let reversed: Vec<Link> = links.iter().rev().copied().collect();
        for root in graph(&links).nodes() {
            prop_assert_eq!(routes(&graph(&links), root), routes(&graph(&reversed), root));
        }
    }
}

#[test]
fn figure_2() {
    let graph = graph(&FIGURE_2);
    check(&graph).unwrap();
    let to = |root, destination| {
        routes(&graph, NodeId(root))
            .into_iter()
            .find(|r| r.destination == NodeId(destination))
            .unwrap()
    };
    // SG-1 → SG-4 goes SR-1, SR-3; if SR-1 dies, over SR-2.
    let route = to(1, 4);
    assert_eq!((route.metric, route.next_hops), (30, vec![LinkId(1)]));
    assert_eq!(route.node_protecting, Some(LinkId(2)));
    // SR-1 → SG-4 when SR-1–SR-3 is cut: SR-2 carries on over SR-2–SR-3, so it protects the link
    // and, because that is shorter than its own link to SG-4, not the node SR-3.
    let route = to(11, 4);
    assert_eq!((route.metric, route.next_hops), (20, vec![LinkId(6)]));
    assert_eq!(route.node_protecting, None);
    assert_eq!(route.link_protecting, Some(LinkId(5)));
}

#[test]
fn parallel_links_share_and_protect() {
    let graph = graph(&[
        (1, 1, 2, 10, Some(10)),
        (2, 1, 2, 10, Some(10)),
        (3, 1, 2, 30, Some(30)),
    ]);
    let route = routes(&graph, NodeId(1)).remove(0);
    assert_eq!(route.next_hops, [LinkId(1), LinkId(2)]);
    assert_eq!(
        (route.node_protecting, route.link_protecting),
        (None, Some(LinkId(3)))
    );
}

#[test]
fn delay_is_a_topology_of_its_own() {
    let mut graph = Graph::new();
    for (link, a, b, metric, delay) in [(1, 1, 2, 10, 900), (2, 1, 3, 10, 100), (3, 3, 2, 10, 100)]
    {
        graph.add_link_with_delay(LinkId(link), NodeId(a), NodeId(b), metric, delay);
        graph.add_link_with_delay(LinkId(link), NodeId(b), NodeId(a), metric, delay);
    }
    let to_2 = |cost| routes_by(&graph, NodeId(1), cost).remove(0);
    assert_eq!(to_2(Cost::Metric).next_hops, [LinkId(1)]);
    assert_eq!(
        (to_2(Cost::Delay).next_hops, to_2(Cost::Delay).metric),
        (vec![LinkId(2)], 200)
    );
}

#[test]
fn edges_of_the_graph() {
    let mut graph = graph(&FIGURE_2);
    graph.add_link(LinkId(90), NodeId(1), NodeId(1), 1);
    graph.add_link(LinkId(91), NodeId(1), NodeId(99), 0);
    let free = routes(&graph, NodeId(1))
        .into_iter()
        .find(|r| r.destination == NodeId(99))
        .unwrap();
    assert_eq!(free.metric, 1, "a metric of 0 counts as 1");
    assert_eq!(
        routes(&graph, NodeId(99)),
        [],
        "no way back out of a one-way link"
    );
    assert_eq!(routes(&graph, NodeId(12345)), [], "an unknown root");
    graph.add_link(LinkId(92), NodeId(99), NodeId(98), u32::MAX);
    let far = routes(&graph, NodeId(1))
        .into_iter()
        .find(|r| r.destination == NodeId(98))
        .unwrap();
    assert_eq!(far.metric, u32::MAX, "saturates");
    graph.remove_link(LinkId(91));
    assert!(
        !routes(&graph, NodeId(1))
            .iter()
            .any(|r| r.destination == NodeId(99))
    );
    graph.remove_node(NodeId(13));
    let around = routes(&graph, NodeId(1))
        .into_iter()
        .find(|r| r.destination == NodeId(4))
        .unwrap();
    assert_eq!(
        (around.metric, around.next_hops),
        (50, vec![LinkId(1), LinkId(2)])
    );
}
