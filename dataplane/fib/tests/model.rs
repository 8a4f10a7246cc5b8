//! The tables against a naive model, over random sequences of transactions.

use std::cell::Cell;
use std::collections::BTreeMap;

use dmsc_fib::{
    AdjacencyId, Fib, Gateway, Group, GroupId, GroupPolicy, Habit, HashKey, LocalSetId, LookupKey,
    MAX_BURST, Member, Op, OpError, Pass, PrefixMatch, PrefixValue, Topology,
};
use dmsc_wire::{Domain, Name, NameBuf, NodeId};
use proptest::prelude::*;
use proptest::sample::Index;

type Components = Vec<Vec<u8>>;

/// What the tables must hold, in the plainest form.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    prefixes: BTreeMap<(Domain, Components), PrefixValue>,
    groups: BTreeMap<GroupId, Group>,
    gateways: BTreeMap<(Topology, NodeId), Gateway>,
}

fn components(name: Name<'_>) -> Components {
    name.components().map(<[u8]>::to_vec).collect()
}

impl Model {
    /// The changes as the documentation of `Op` describes them.
    fn apply(&self, ops: &[Op]) -> Result<Self, usize> {
        let mut next = self.clone();
        for (index, op) in ops.iter().enumerate() {
            if !next.apply_one(op) {
                return Err(index);
            }
        }
        Ok(next)
    }

    fn apply_one(&mut self, op: &Op) -> bool {
        match op.clone() {
            Op::PutPrefix {
                domain,
                name,
                value,
            } => {
                let known = value
                    .group
                    .is_none_or(|group| self.groups.contains_key(&group));
                known && {
                    self.prefixes
                        .insert((domain, components(name.as_name())), value);
                    true
                }
            }
            Op::DeletePrefix { domain, name } => self
                .prefixes
                .remove(&(domain, components(name.as_name())))
                .is_some(),
            Op::PutGroup { id, group } => {
                self.groups.insert(id, group);
                true
            }
            Op::DeleteGroup { id } => {
                let used = self.prefixes.values().any(|value| value.group == Some(id));
                !used && self.groups.remove(&id).is_some()
            }
            Op::PutGateway {
                topology,
                node,
                gateway,
            } => {
                self.gateways.insert((topology, node), gateway);
                true
            }
            Op::DeleteGateway { topology, node } => {
                self.gateways.remove(&(topology, node)).is_some()
            }
        }
    }

    fn lookup(&self, domain: Domain, name: Name<'_>) -> Option<(PrefixValue, u8)> {
        let name = components(name);
        (1..=name.len()).rev().find_map(|n| {
            let value = self.prefixes.get(&(domain, name[..n].to_vec()))?;
            Some((*value, n as u8))
        })
    }
}

/// Everything that the tables hold, and every lookup, against the model.
fn check(fib: &Fib, model: &Model, names: &[(Domain, NameBuf)]) -> Result<(), TestCaseError> {
    let prefixes: BTreeMap<_, _> = fib
        .prefixes()
        .map(|p| ((p.domain, components(p.name.as_name())), p.value))
        .collect();
    let groups: BTreeMap<_, _> = fib
        .groups()
        .map(|(id, group)| (id, group.clone()))
        .collect();
    let gateways: BTreeMap<_, _> = fib
        .gateways()
        .map(|g| ((g.topology, g.node), g.gateway.clone()))
        .collect();
    prop_assert_eq!(fib.len(), model.prefixes.len());
    prop_assert_eq!(
        &Model {
            prefixes,
            groups,
            gateways
        },
        model
    );
    for (id, group) in &model.groups {
        prop_assert_eq!(fib.group(*id), Some(group));
    }
    for ((topology, node), gateway) in &model.gateways {
        prop_assert_eq!(fib.gateway(*topology, *node), Some(gateway));
    }

    let keys: Vec<LookupKey<'_>> = names
        .iter()
        .map(|(domain, name)| LookupKey::new(*domain, name.as_name()))
        .collect();
    let mut found = vec![None; keys.len()];
    fib.lookup_burst(&keys, &mut found);
    let mut others = vec![None; keys.len()];
    fib.lookup_burst_as(&mut Habit::of_longer_names(), &keys, &mut others);
    prop_assert_eq!(&found, &others, "whatever was looked up before");
    for (key, found) in keys.iter().zip(found) {
        let expected = model.lookup(key.domain, key.name);
        prop_assert_eq!(
            found.map(|m: PrefixMatch| (m.value, m.components)),
            expected
        );
        prop_assert_eq!(fib.lookup(key.domain, key.name), found);
        let exact = model
            .prefixes
            .get(&(key.domain, components(key.name)))
            .copied();
        prop_assert_eq!(fib.prefix(key.domain, key.name), exact);
        if let Some(found) = found {
            let entry = fib.record(found.record).unwrap();
            prop_assert_eq!((entry.domain, entry.value), (key.domain, found.value));
            let whole = components(key.name);
            prop_assert_eq!(
                components(entry.name.as_name()),
                &whole[..usize::from(found.components)]
            );
        }
    }
    Ok(())
}

/// Few, similar components, so that names are prefixes of each other or nearly so (`/a/b` and `/a/bc`).
fn name() -> impl Strategy<Value = NameBuf> {
    let component = prop_oneof![
        6 => prop::sample::select(vec![&b"a"[..], b"b", b"bc", b"c", b"a\0", b"\0"]).prop_map(<[u8]>::to_vec),
        1 => prop::sample::select(vec![15usize, 16, 17, 31, 32, 60]).prop_map(|n| vec![b'x'; n]),
    ];
    prop::collection::vec(component, 1..6)
        .prop_filter_map("too long", |c| NameBuf::from_components(c).ok())
}

fn domain() -> impl Strategy<Value = Domain> {
    (0u32..3).prop_map(Domain)
}

fn group_id() -> impl Strategy<Value = GroupId> {
    (0u32..6).prop_map(GroupId)
}

fn value() -> impl Strategy<Value = PrefixValue> {
    (
        prop::option::of(group_id()),
        prop::option::of((0u32..9).prop_map(LocalSetId)),
    )
        .prop_map(|(group, local)| PrefixValue { group, local })
}

fn group() -> impl Strategy<Value = Group> {
    prop::collection::btree_map(1u32..9, 1u32..4, 0..2).prop_map(|members| {
        let member = |(id, metric)| Member {
            gateway: NodeId(id),
            metric,
            weight: 1,
            delay_weight: 0,
        };
        Group::new(
            members.into_iter().map(member).collect(),
            GroupPolicy::Nearest,
        )
        .unwrap()
    })
}

fn topology() -> impl Strategy<Value = Topology> {
    prop::sample::select(Topology::ALL.to_vec())
}

fn op() -> impl Strategy<Value = Op> {
    let gateway =
        (1u32..9, 1u16..9).prop_map(|(metric, hop)| Gateway::new(metric, [AdjacencyId(hop)]));
    prop_oneof![
        8 => (domain(), name(), value()).prop_map(|(domain, name, value)| Op::PutPrefix { domain, name, value }),
        3 => (domain(), name()).prop_map(|(domain, name)| Op::DeletePrefix { domain, name }),
        4 => (group_id(), group()).prop_map(|(id, group)| Op::PutGroup { id, group }),
        1 => group_id().prop_map(|id| Op::DeleteGroup { id }),
        2 => (topology(), (1u32..20).prop_map(NodeId), gateway)
            .prop_map(|(topology, node, gateway)| Op::PutGateway { topology, node, gateway }),
        1 => (topology(), (1u32..20).prop_map(NodeId))
            .prop_map(|(topology, node)| Op::DeleteGateway { topology, node }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn transactions_and_lookups_are_those_of_the_model(
        transactions in prop::collection::vec(prop::collection::vec(op(), 1..6), 1..60),
        asked in prop::collection::vec((domain(), name()), 40),
        key in any::<[u64; 2]>(),
        kept in any::<Index>(),
    ) {
        let (mut fib, mut model) = (Fib::with_key(HashKey::fixed(key)), Model::default());
        let kept = kept.index(transactions.len());
        let mut old = None;
        for (i, ops) in transactions.iter().enumerate() {
            let applied = (fib.apply(ops), model.apply(ops));
            prop_assert_eq!(fib.audit(), Ok(()), "the generation before transaction {}", i);
            match applied {
                (Ok(next), Ok(expected)) => (fib, model) = (next, expected),
                (Err(error), Err(index)) => prop_assert_eq!(error.index, index),
                (got, expected) => prop_assert!(false, "{got:?} instead of {expected:?}"),
            }
            if i == kept {
                old = Some((fib.clone(), model.clone()));
            }
            let kept = old.as_ref().map(|(fib, _)| fib);
            for generation in kept.into_iter().chain([&fib]) {
                prop_assert_eq!(generation.audit(), Ok(()), "after transaction {}", i);
            }
        }
        let stored = model.prefixes.keys().map(|(domain, name)| (*domain, NameBuf::from_components(name).unwrap()));
        let names: Vec<_> = asked.into_iter().chain(stored).collect();
        check(&fib, &model, &names)?;
        let (fib, model) = old.unwrap();
        check(&fib, &model, &names)?; // an older generation is what it was
    }
}

/// Many enough that pages split and the directory doubles; then half of them go.
#[test]
fn a_large_table_grows_and_shrinks() {
    let name = |i: u32| {
        NameBuf::from_components([
            format!("t{}", i % 7),
            format!("s{}", i / 7 % 1000),
            format!("{i}"),
        ])
        .unwrap()
    };
    let domain = |i: u32| Domain(i % 13);
    let value = |i: u32| PrefixValue::local(LocalSetId(i));
    let count = 60_000;
    let mut fib = Fib::new();
    for start in (0..count).step_by(5_000) {
        let ops: Vec<Op> = (start..start + 5_000)
            .map(|i| Op::PutPrefix {
                domain: domain(i),
                name: name(i),
                value: value(i),
            })
            .collect();
        fib = fib.apply(&ops).unwrap();
    }
    assert_eq!(fib.len(), count as usize);
    assert!(
        fib.bytes() / fib.len() < 110,
        "{} bytes per prefix",
        fib.bytes() / fib.len()
    );
    let full = fib.clone();
    let even: Vec<Op> = (0..count)
        .step_by(2)
        .map(|i| Op::DeletePrefix {
            domain: domain(i),
            name: name(i),
        })
        .collect();
    let half = full.apply(&even).unwrap();
    assert_eq!(half.len(), count as usize / 2);
    assert_eq!((full.audit(), half.audit()), (Ok(()), Ok(())));
    for i in 0..count {
        let longer =
            NameBuf::from_components(name(i).as_name().components().chain([&b"more"[..]])).unwrap();
        let found = full.lookup(domain(i), longer.as_name()).unwrap();
        assert_eq!((found.value, found.components), (value(i), 3));
        let found = half.lookup(domain(i), longer.as_name()).map(|m| m.value);
        assert_eq!(found, (i % 2 == 1).then(|| value(i)));
        assert_eq!(
            full.lookup(Domain(domain(i).0 + 13), longer.as_name()),
            None
        );
    }
    // What one transaction of one change makes anew is small, whatever the size.
    let again: Vec<Op> = (0..count)
        .step_by(2)
        .map(|i| Op::PutPrefix {
            domain: domain(i),
            name: name(i),
            value: value(i),
        })
        .collect();
    let refilled = half.apply(&again).unwrap();
    assert_eq!(refilled.audit(), Ok(()));
    assert_eq!((full.audit(), half.audit()), (Ok(()), Ok(())));
    assert!(
        refilled.bytes() <= full.bytes(),
        "lines of removed prefixes are used again"
    );
}

#[test]
fn a_burst_of_any_length() {
    let names: Vec<NameBuf> = (0..100)
        .map(|i| NameBuf::parse(&format!("/n/{i}")).unwrap())
        .collect();
    let ops: Vec<Op> = (0..100)
        .step_by(3)
        .map(|i| Op::PutPrefix {
            domain: Domain(1),
            name: names[i].clone(),
            value: PrefixValue::default(),
        })
        .collect();
    let fib = Fib::new().apply(&ops).unwrap();
    let keys: Vec<_> = names
        .iter()
        .map(|n| LookupKey::new(Domain(1), n.as_name()))
        .collect();
    for n in [0, 1, 31, 32, 33, 64, 100] {
        let stale = fib.lookup(Domain(1), names[0].as_name());
        let mut found = vec![stale; n];
        fib.lookup_burst(&keys[..n], &mut found);
        assert!(
            found
                .iter()
                .enumerate()
                .all(|(i, m)| m.is_some() == (i % 3 == 0)),
            "{n}"
        );
        fib.lookup_burst(&keys, &mut found); // fewer places than keys
        let (hashed, rest) = (Cell::new(0), Cell::new(0));
        let mut marked = vec![stale; n];
        fib.lookup_burst_with(&mut Habit::default(), &keys, &mut marked, |pass| {
            let count = match pass {
                Pass::Hash => &hashed,
                Pass::Find => &rest,
            };
            count.set(count.get() + 1);
        });
        assert_eq!(marked, found, "who measures finds the same");
        assert!(hashed.get() >= n.div_ceil(MAX_BURST) && hashed.get() <= n);
        assert_eq!(hashed, rest, "before every pass of hashes is another one");
    }
}

#[test]
fn refusals_name_the_change_and_leave_the_tables() {
    let name = NameBuf::parse("/shop/a").unwrap();
    let put = |group| Op::PutPrefix {
        domain: Domain(7),
        name: name.clone(),
        value: PrefixValue::group(GroupId(group)),
    };
    let group = Op::PutGroup {
        id: GroupId(1),
        group: Group::new(Vec::new(), GroupPolicy::Nearest).unwrap(),
    };
    let fib = Fib::new().apply(&[group.clone(), put(1)]).unwrap();
    let refused = |ops: &[Op]| {
        let error = fib.apply(ops).unwrap_err();
        assert_eq!((fib.len(), fib.audit()), (1, Ok(())));
        (error.index, error.to_string())
    };
    assert_eq!(
        refused(&[group.clone(), put(2)]),
        (1, "change 1 of the transaction: prefix /shop/a of domain 7 refers to service group 2, which does not exist: put the group first".into())
    );
    assert_eq!(
        refused(&[Op::DeleteGroup { id: GroupId(1) }]).1,
        "change 0 of the transaction: service group 1 is still used by 1 prefixes: delete or change those first"
    );
    let delete = Op::DeletePrefix {
        domain: Domain(8),
        name: name.clone(),
    };
    assert_eq!(
        refused(&[delete]).1,
        "change 0 of the transaction: prefix /shop/a of domain 8 does not exist"
    );
    let gone = |node| Op::DeleteGateway {
        topology: Topology::Delay,
        node: NodeId(node),
    };
    assert!(matches!(
        fib.apply(&[gone(3)]).unwrap_err().error,
        OpError::UnknownGateway { .. }
    ));
    let empty = Op::PutGateway {
        topology: Topology::Metric,
        node: NodeId(3),
        gateway: Gateway::default(),
    };
    assert_eq!(
        fib.apply(&[empty]).unwrap_err().error,
        OpError::NoNextHop(NodeId(3))
    );
    let delete = Op::DeletePrefix {
        domain: Domain(7),
        name,
    };
    let none = fib
        .apply(&[delete, Op::DeleteGroup { id: GroupId(1) }])
        .unwrap();
    assert!(none.is_empty() && none.group_count() == 0);
}
