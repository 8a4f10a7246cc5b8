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
    let mut rib = Rib::new(NodeId(1), 0);
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
    let mut rib = Rib::new(NodeId(1), 0);
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
    let mut rib = Rib::new(NodeId(1), 0);
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
    let mut rib = Rib::new(NodeId(1), 0);
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

fn policy(id: u64, prefix: &str, ttl_s: u64, shares: &[(u32, u16)]) -> Policy {
    let share = |(gateway, weight): &(u32, u16)| Share {
        gateway: NodeId(*gateway),
        weight: *weight,
        topology: Topology::Metric,
    };
    Policy {
        rank: dmsc_scsc::Rank {
            id: dmsc_scsc::PolicyId(id),
            ..dmsc_scsc::Rank {
                epoch: dmsc_scsc::Epoch(1),
                replica: dmsc_scsc::ReplicaId(1),
                id: dmsc_scsc::PolicyId(0),
            }
        },
        area: 0,
        domain: Domain(1),
        prefix: NameBuf::parse(prefix).unwrap(),
        gateway: NodeId::NONE,
        ttl: Duration::from_secs(ttl_s),
        shares: shares.iter().map(share).collect(),
        reason: String::new(),
    }
}

fn weights(rib: &Rib, name: &str) -> (bool, Vec<(u32, u32)>) {
    let key = (Domain(1), NameBuf::parse(name).unwrap());
    let group = &rib.have().groups[&rib.have().prefixes[&key]];
    let members = group.members.iter();
    let members = members.map(|one| (one.gateway, one.weight)).collect();
    (group.weighted, members)
}

#[test]
fn a_policy_costs_what_it_changes_and_leaves_nothing_behind() {
    let mut rib = running();
    let plain = rib.have().clone();
    // /a and /b share a group; a policy for one of them is a group more, and one prefix that moves.
    let change = rib.accept(policy(1, "/a", 10, &[(1, 1), (4, 3)])).unwrap();
    assert_eq!(rib.policies_done(), change - 1);
    assert_eq!(run(&mut rib), 2);
    assert_eq!(rib.policies_done(), change);
    assert_eq!(weights(&rib, "/a"), (true, vec![(1, 1), (4, 3)]));
    assert_eq!(weights(&rib, "/b"), (false, vec![(1, 1), (4, 1)]));
    // Its group changes in place.
    rib.accept(policy(2, "/a", 10, &[(1, 2), (4, 3)])).unwrap();
    assert_eq!(run(&mut rib), 1);
    // The same again changes nothing, and is acknowledged all the same.
    rib.accept(policy(3, "/a", 10, &[(1, 2), (4, 3)])).unwrap();
    assert_eq!(run(&mut rib), 0);
    // Both prefixes with equal shares share a group again.
    rib.accept(policy(1, "/b", 10, &[(1, 2), (4, 3)])).unwrap();
    run(&mut rib);
    assert_eq!(rib.have().groups.len(), 2);
    // A member that is excluded is gone; alone it stays.
    rib.accept(policy(2, "/b", 10, &[(1, 0), (4, 3)])).unwrap();
    run(&mut rib);
    assert_eq!(weights(&rib, "/b"), (true, vec![(4, 3)]));
    rib.accept(policy(1, "/c", 10, &[(4, 0)])).unwrap();
    assert_eq!(run(&mut rib), 0, "it would leave nobody, and is left aside");
    assert_eq!(weights(&rib, "/c"), (false, vec![(4, 1)]));
    let name = NameBuf::parse("/c/x").unwrap();
    let (prefix, _, ignored) = rib.explain_policy(Domain(1), name.as_name()).unwrap();
    assert_eq!(prefix, NameBuf::parse("/c").unwrap());
    assert!(ignored.is_some());
    // The way to 4 is gone: of those that are left one that can be reached is chosen.
    let gone = GatewayChange {
        route: None,
        ..way(4, 0)
    };
    rib.take(delta(2, vec![gone], vec![]));
    run(&mut rib);
    assert!(
        !weights(&rib, "/b").0,
        "plain routes: the policy would leave nobody"
    );
    rib.take(delta(3, vec![way(4, 30)], vec![]));
    run(&mut rib);
    rib.at(Duration::from_secs(11));
    assert_eq!(rib.expire_policies().len(), 3);
    run(&mut rib);
    for (key, id) in &plain.prefixes {
        let name = key.1.as_name().to_string();
        let before = &plain.groups[id].members;
        let before: Vec<_> = before.iter().map(|one| (one.gateway, one.weight)).collect();
        assert_eq!(weights(&rib, &name), (false, before));
    }
    assert_eq!(rib.have().groups.len(), plain.groups.len());
}

#[test]
fn a_share_by_delay_is_part_of_the_weight_of_its_member_where_there_is_such_a_way() {
    let mut rib = running();
    let mut both = policy(1, "/a", 60, &[(1, 0), (4, 300)]);
    both.shares.push(Share {
        gateway: NodeId(4),
        weight: 700,
        topology: Topology::Delay,
    });
    let delay_weights = |rib: &Rib| {
        let key = (Domain(1), NameBuf::parse("/a").unwrap());
        let group = &rib.have().groups[&rib.have().prefixes[&key]];
        let members = group.members.iter();
        let weights = members.map(|one| (one.gateway, one.weight, one.delay_weight));
        weights.collect::<Vec<_>>()
    };
    rib.accept(both).unwrap();
    run(&mut rib);
    assert_eq!(delay_weights(&rib), [(4, 1_000, 0)], "no way by delay");
    let by_delay = GatewayChange {
        topology: Topology::Delay,
        ..way(4, 900)
    };
    rib.take(delta(2, vec![by_delay], vec![]));
    run(&mut rib);
    assert_eq!(delay_weights(&rib), [(4, 1_000, 700)]);
    assert_eq!(rib.far_members(Topology::Delay).count(), 1);
    let gone = GatewayChange {
        topology: Topology::Delay,
        route: None,
        ..way(4, 0)
    };
    rib.take(delta(3, vec![gone], vec![]));
    run(&mut rib);
    assert_eq!(delay_weights(&rib), [(4, 1_000, 0)]);
    assert_eq!(rib.far_members(Topology::Delay).count(), 0);
}

#[test]
fn a_restart_with_its_policies_tells_nothing() {
    let mut old = running();
    old.accept(policy(1, "/a", 10, &[(1, 0), (4, 3)])).unwrap();
    run(&mut old);
    let mut rib = Rib::new(NodeId(1), 0);
    rib.accept(policy(1, "/a", 10, &[(1, 0), (4, 3)])).unwrap();
    rib.found(old.have().clone());
    let prefixes = vec![
        prefix("/c", &[4]),
        prefix("/b", &[1, 4]),
        prefix("/a", &[1, 4]),
    ];
    rib.take(delta(1, vec![way(4, 30)], prefixes));
    assert_eq!(run(&mut rib), 0);
    assert_eq!(rib.have(), old.have());
}
