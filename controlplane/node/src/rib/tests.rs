//! Tests of the RIB on plain deltas, without a dataplane.

use dmsc_linkstate::AdjacencyId;
use dmsc_linkstate::action::GatewayRoute;

use super::*;

fn member(gateway: u32) -> PrefixMember {
    PrefixMember {
        gateway: NodeId(gateway),
        metric: 0,
        weight: 1,
    }
}

fn prefix(name: &str, members: &[u32]) -> PrefixChange {
    PrefixChange {
        domain: Domain(1),
        name: NameBuf::parse(name).unwrap(),
        members: members.iter().map(|id| member(*id)).collect(),
    }
}

fn way(gateway: u32, metric: u32) -> GatewayChange {
    GatewayChange {
        topology: Topology::Metric,
        gateway: NodeId(gateway),
        route: Some(GatewayRoute {
            metric,
            next_hops: vec![AdjacencyId(1)],
            node_protecting: None,
            link_protecting: None,
        }),
    }
}

fn delta(version: u64, gateways: Vec<GatewayChange>, prefixes: Vec<PrefixChange>) -> RouteDelta {
    RouteDelta {
        version,
        complete: version == 1,
        gateways,
        prefixes,
    }
}

fn run(rib: &mut Rib) -> usize {
    let batch = rib.next_batch().unwrap();
    let count = batch.ops.len();
    rib.done(&batch);
    assert!(rib.next_batch().is_none());
    count
}

fn running() -> Rib {
    let mut rib = Rib::new(NodeId(1));
    rib.found(Tables::default());
    let prefixes = vec![
        prefix("/a", &[1, 4]),
        prefix("/b", &[1, 4]),
        prefix("/c", &[4]),
    ];
    rib.take(delta(1, vec![way(4, 30)], prefixes));
    assert_eq!(run(&mut rib), 1 + 2 + 3, "equal members share a group");
    rib
}

#[test]
fn a_change_costs_what_it_is() {
    let mut rib = running();
    assert_eq!(rib.acknowledged(), 1);
    rib.take(delta(2, vec![way(4, 40)], vec![]));
    assert_eq!(run(&mut rib), 3, "the gateway and both groups with it");
    rib.take(delta(
        3,
        vec![],
        vec![prefix("/b", &[4]), prefix("/c", &[4])],
    ));
    assert_eq!(run(&mut rib), 1, "/b moves to the group of /c");
    rib.take(delta(4, vec![], vec![prefix("/a", &[])]));
    assert_eq!(run(&mut rib), 2, "the prefix and its group go");
    rib.take(delta(5, vec![], vec![]));
    assert_eq!(run(&mut rib), 0);
    assert_eq!(rib.acknowledged(), 5);
}

#[test]
fn an_adjacency_goes_after_the_routes_over_it() {
    let adjacency = v1::Adjacency {
        id: 1,
        ..Default::default()
    };
    let mut rib = Rib::new(NodeId(1));
    rib.found(Tables::default());
    rib.configure(BTreeMap::from([(1, adjacency)]), BTreeMap::new());
    rib.take(delta(1, vec![way(4, 30)], vec![]));
    assert_eq!(run(&mut rib), 2);
    rib.configure(BTreeMap::new(), BTreeMap::new());
    assert_eq!(run(&mut rib), 0, "the way to 4 still leads over it");
    let gone = GatewayChange {
        route: None,
        ..way(4, 0)
    };
    rib.take(delta(2, vec![gone], vec![]));
    assert_eq!(run(&mut rib), 2, "first the way, then the adjacency");
    assert!(rib.have().adjacencies.is_empty());
}

#[test]
fn what_was_refused_is_due_again_when_the_tables_are_looked_at() {
    let mut rib = Rib::new(NodeId(1));
    rib.found(Tables::default());
    rib.take(delta(1, vec![way(4, 30), way(5, 30)], vec![]));
    let batch = rib.next_batch().unwrap();
    rib.done_but(&batch, &BTreeSet::from([0]));
    assert!(rib.next_batch().is_none(), "not at once");
    assert_eq!(rib.acknowledged(), 1, "the rest is in service");
    rib.found(rib.have().clone());
    assert_eq!(run(&mut rib), 1);
}

#[test]
fn a_restart_finds_its_groups_again_and_tells_nothing() {
    let old = running();
    let mut rib = Rib::new(NodeId(1));
    rib.found(old.have().clone());
    assert_eq!(
        rib.next_batch().map_or(0, |batch| batch.ops.len()),
        0,
        "nothing is touched before routes are known"
    );
    let prefixes = vec![
        prefix("/c", &[4]),
        prefix("/b", &[1, 4]),
        prefix("/a", &[1, 4]),
    ];
    rib.take(delta(1, vec![way(4, 30)], prefixes));
    assert_eq!(run(&mut rib), 0);
    assert_eq!(rib.have(), old.have());
}

#[test]
fn a_dataplane_that_lost_everything_gets_everything() {
    let mut rib = running();
    rib.take(delta(2, vec![], vec![prefix("/d", &[1])]));
    let batch = rib.next_batch().unwrap();
    rib.failed(batch);
    rib.found(Tables::default());
    assert_eq!(run(&mut rib), 1 + 3 + 4);
}
