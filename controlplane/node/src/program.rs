//! The difference between what a dataplane has and what it should have, as the fewest operations in a safe order.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use dmsc_proto::v1::{self, op::Op as Kind};
use dmsc_wire::{Domain, NameBuf};

use crate::routes::Tables;

/// Most operations of one transaction (the agent's limit).
pub const MAX_OPS: usize = 65_536;

impl Tables {
    /// The tables of a dump. Prefixes with names that are not canonical cannot be there, and are left out.
    #[must_use]
    pub fn from_dump(dump: &v1::DumpReply) -> Self {
        let prefix = |prefix: &v1::Prefix| {
            let name = dmsc_wire::Name::from_bytes(&prefix.name).ok()?.to_owned();
            Some(((Domain(prefix.domain), name), prefix.group))
        };
        let mut tables = Self {
            adjacencies: by(&dump.adjacencies, |adjacency| adjacency.id),
            gateways: by(&dump.gateways, |gateway| {
                (gateway.topology, gateway.gateway)
            }),
            groups: by(&dump.groups, |group| group.id),
            prefixes: dump.prefixes.iter().filter_map(prefix).collect(),
            access_rules: by(&dump.access_rules, |rule| rule.id),
        };
        tables.normalise();
        tables
    }

    /// Puts sets that travel as lists in order, so that equal ones compare equal.
    pub fn normalise(&mut self) {
        for gateway in self.gateways.values_mut() {
            gateway.next_hops.sort_unstable();
        }
        for group in self.groups.values_mut() {
            group.members.sort_unstable_by_key(|member| member.gateway);
        }
    }
}

fn by<K: Ord, V: Clone>(list: &[V], key: impl Fn(&V) -> K) -> BTreeMap<K, V> {
    list.iter().map(|item| (key(item), item.clone())).collect()
}

/// Keys of tables: what may differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    /// Adjacency ids.
    pub adjacencies: BTreeSet<u32>,
    /// Topology and gateway.
    pub gateways: BTreeSet<(u32, u32)>,
    /// Group ids.
    pub groups: BTreeSet<u32>,
    /// Domain and name.
    pub prefixes: BTreeSet<(Domain, NameBuf)>,
    /// Rule ids.
    pub access_rules: BTreeSet<u32>,
}

impl Keys {
    /// All keys of both tables.
    #[must_use]
    pub fn of(a: &Tables, b: &Tables) -> Self {
        Self {
            adjacencies: both(&a.adjacencies, &b.adjacencies),
            gateways: both(&a.gateways, &b.gateways),
            groups: both(&a.groups, &b.groups),
            prefixes: both(&a.prefixes, &b.prefixes),
            access_rules: both(&a.access_rules, &b.access_rules),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn both<K: Ord + Clone, V>(a: &BTreeMap<K, V>, b: &BTreeMap<K, V>) -> BTreeSet<K> {
    a.keys().chain(b.keys()).cloned().collect()
}

/// The operations that turn `have` into `want`.
///
/// What is referred to is put before what refers to it, and deleted after it: adjacencies, gateways, groups, access rules, prefixes
/// (so a prefix is never without its rules), then deletions the other way round. Attachments are not touched. `before` are the tables programmed last by this
/// process, if any: a dump does not tell keys, so a changed key shows only there.
#[must_use]
pub fn difference(have: &Tables, want: &Tables, before: Option<&Tables>) -> Vec<v1::Op> {
    difference_at(&Keys::of(have, want), have, want, before)
}

/// As [`difference`], looking at `keys` only: costs what they are, not what the tables are.
#[must_use]
pub fn difference_at(
    keys: &Keys,
    have: &Tables,
    want: &Tables,
    before: Option<&Tables>,
) -> Vec<v1::Op> {
    let mut ops = Vec::new();
    for id in &keys.adjacencies {
        let Some(adjacency) = want.adjacencies.get(id) else {
            continue;
        };
        let same = have.adjacencies.get(id).is_some_and(|old| {
            let key = before
                .and_then(|tables| tables.adjacencies.get(id))
                .map_or(adjacency.key.is_empty(), |before| {
                    before.key == adjacency.key
                });
            key && same_adjacency(old, adjacency)
        });
        if !same {
            ops.push(Kind::PutAdjacency(adjacency.clone()));
        }
    }
    let (gateways, groups) = (&keys.gateways, &keys.groups);
    put(
        &mut ops,
        gateways,
        &have.gateways,
        &want.gateways,
        Kind::PutGateway,
    );
    put(&mut ops, groups, &have.groups, &want.groups, Kind::PutGroup);
    let rules = &keys.access_rules;
    put(
        &mut ops,
        rules,
        &have.access_rules,
        &want.access_rules,
        Kind::PutAccessRule,
    );
    for key in &keys.prefixes {
        if let Some(group) = want.prefixes.get(key)
            && have.prefixes.get(key) != Some(group)
        {
            ops.push(Kind::PutPrefix(prefix(key, *group)));
        }
    }
    for key in gone(&keys.prefixes, &have.prefixes, &want.prefixes) {
        let v1::Prefix { domain, name, .. } = prefix(key, 0);
        ops.push(Kind::DeletePrefix(v1::PrefixKey { domain, name }));
    }
    ops.extend(
        gone(rules, &have.access_rules, &want.access_rules).map(|id| Kind::DeleteAccessRule(*id)),
    );
    ops.extend(gone(groups, &have.groups, &want.groups).map(|id| Kind::DeleteGroup(*id)));
    ops.extend(
        gone(gateways, &have.gateways, &want.gateways).map(|(topology, gateway)| {
            Kind::DeleteGateway(v1::GatewayKey {
                topology: *topology,
                gateway: *gateway,
            })
        }),
    );
    ops.extend(
        gone(&keys.adjacencies, &have.adjacencies, &want.adjacencies)
            .map(|id| Kind::DeleteAdjacency(*id)),
    );
    ops.into_iter().map(|op| v1::Op { op: Some(op) }).collect()
}

fn put<K: Ord, V: Clone + PartialEq>(
    ops: &mut Vec<Kind>,
    keys: &BTreeSet<K>,
    have: &BTreeMap<K, V>,
    want: &BTreeMap<K, V>,
    kind: impl Fn(V) -> Kind,
) {
    for key in keys {
        if let Some(value) = want.get(key)
            && have.get(key) != Some(value)
        {
            ops.push(kind(value.clone()));
        }
    }
}

fn gone<'a, K: Ord, V>(
    keys: &'a BTreeSet<K>,
    have: &'a BTreeMap<K, V>,
    want: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = &'a K> {
    keys.iter()
        .filter(|key| have.contains_key(*key) && !want.contains_key(*key))
}

fn prefix((domain, name): &(Domain, NameBuf), group: u32) -> v1::Prefix {
    v1::Prefix {
        domain: domain.0,
        name: name.as_name().as_bytes().to_vec(),
        group,
    }
}

/// Equal in everything that can be programmed: state is ignored, a dump's key too if it is hidden, and an MTU that was left to the port.
fn same_adjacency(have: &v1::Adjacency, want: &v1::Adjacency) -> bool {
    let or = |value: u32, default: u32| if value == 0 { default } else { value };
    have.port == want.port
        && have.peer == want.peer
        && have.encapsulation == want.encapsulation
        && same_address(&have.local_address, &want.local_address)
        && same_address(&have.remote_address, &want.remote_address)
        && same_address(&have.next_hop, &want.next_hop)
        && have.vlan == want.vlan
        && or(have.minimum_ttl, 255) == want.minimum_ttl
        && (want.mtu == 0 || have.mtu == want.mtu)
        && or(have.hello_interval_ms, 50) == want.hello_interval_ms
        && or(have.hello_multiplier, 3) == want.hello_multiplier
        && have.key_id == want.key_id
        && (have.key.is_empty() || have.key == want.key)
}

/// Addresses are compared as addresses: `fd00:0::1` is `fd00::1`.
fn same_address(a: &str, b: &str) -> bool {
    match (a.parse::<IpAddr>(), b.parse::<IpAddr>()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables() -> Tables {
        let mut tables = Tables::default();
        tables.adjacencies.insert(
            1,
            v1::Adjacency {
                id: 1,
                port: "sr1".into(),
                peer: 5,
                encapsulation: "udp".into(),
                local_address: "10.0.1.0".into(),
                remote_address: "10.0.1.1".into(),
                minimum_ttl: 255,
                hello_interval_ms: 50,
                hello_multiplier: 3,
                ..Default::default()
            },
        );
        let gateway = v1::Gateway {
            gateway: 4,
            metric: 30,
            next_hops: vec![1],
            ..Default::default()
        };
        tables.gateways.insert((0, 4), gateway);
        let group = v1::Group {
            id: 1,
            ..Default::default()
        };
        tables.groups.insert(1, group);
        tables
            .prefixes
            .insert((Domain(1), NameBuf::parse("/shop/b").unwrap()), 1);
        tables
    }

    fn words(ops: &[v1::Op]) -> Vec<&'static str> {
        ops.iter()
            .map(|op| match op.op.as_ref().unwrap() {
                Kind::PutAdjacency(_) => "+adjacency",
                Kind::DeleteAdjacency(_) => "-adjacency",
                Kind::PutGateway(_) => "+gateway",
                Kind::DeleteGateway(_) => "-gateway",
                Kind::PutGroup(_) => "+group",
                Kind::DeleteGroup(_) => "-group",
                Kind::PutPrefix(_) => "+prefix",
                Kind::DeletePrefix(_) => "-prefix",
                Kind::PutAccessRule(_) => "+access",
                Kind::DeleteAccessRule(_) => "-access",
                Kind::Attach(_) => "+attachment",
                Kind::Detach(_) => "-attachment",
            })
            .collect()
    }

    #[test]
    fn everything_is_put_in_order_and_deleted_in_reverse() {
        let empty = Tables::default();
        let ops = difference(&empty, &tables(), None);
        assert_eq!(words(&ops), ["+adjacency", "+gateway", "+group", "+prefix"]);
        let ops = difference(&tables(), &empty, None);
        assert_eq!(words(&ops), ["-prefix", "-group", "-gateway", "-adjacency"]);
    }

    #[test]
    fn a_dump_with_state_and_defaults_is_no_difference() {
        let mut have = tables();
        let adjacency = have.adjacencies.get_mut(&1).unwrap();
        adjacency.state = "up".into();
        adjacency.changes = 7;
        adjacency.neighbour = "02:00:00:00:00:01".into();
        adjacency.hello_interval_ms = 0;
        adjacency.mtu = 9_000;
        assert!(difference(&have, &tables(), None).is_empty());
    }

    #[test]
    fn order_of_members_and_next_hops_is_no_difference() {
        let member = |gateway| v1::Member {
            gateway,
            ..Default::default()
        };
        let mut want = tables();
        want.groups.get_mut(&1).unwrap().members = vec![member(4), member(1)];
        want.gateways.get_mut(&(0, 4)).unwrap().next_hops = vec![2, 1];
        want.normalise();
        let mut dump = v1::DumpReply {
            adjacencies: want.adjacencies.values().cloned().collect(),
            gateways: want.gateways.values().cloned().collect(),
            groups: want.groups.values().cloned().collect(),
            prefixes: want
                .prefixes
                .iter()
                .map(|(key, group)| prefix(key, *group))
                .collect(),
            ..Default::default()
        };
        dump.groups[0].members.reverse();
        dump.gateways[0].next_hops.reverse();
        assert!(difference(&Tables::from_dump(&dump), &want, None).is_empty());
    }

    #[test]
    fn only_what_changed_is_told() {
        let mut want = tables();
        want.groups.get_mut(&1).unwrap().weighted = true;
        assert_eq!(words(&difference(&tables(), &want, None)), ["+group"]);
    }

    #[test]
    fn a_new_key_under_the_same_id_is_told() {
        let mut before = tables();
        before.adjacencies.get_mut(&1).unwrap().key_id = 1;
        let have = before.clone();
        before.adjacencies.get_mut(&1).unwrap().key = vec![1; 16];
        let mut want = before.clone();
        assert!(difference(&have, &want, Some(&before)).is_empty());
        want.adjacencies.get_mut(&1).unwrap().key = vec![2; 16];
        assert_eq!(
            words(&difference(&have, &want, Some(&before))),
            ["+adjacency"]
        );
    }

    #[test]
    fn attachments_of_a_dump_are_left_alone() {
        let dump = v1::DumpReply {
            attachments: vec![v1::Attachment {
                id: 3,
                ..Default::default()
            }],
            ..Default::default()
        };
        assert!(difference(&Tables::from_dump(&dump), &Tables::default(), None).is_empty());
    }
}
