//! What entered at this gateway in a span, by service prefix and member.

use std::collections::BTreeMap;

use dmsc_proto::v1;
use dmsc_scsc::backlog::Span;
use dmsc_scsc::histogram::Histogram;
use dmsc_wire::{Domain, NameBuf, NodeId};
use prost::Message as _;

use crate::rib::policies::Choice;

/// Tenant and prefix.
pub(super) type Key = (Domain, NameBuf);

/// Most bytes of telemetry for a prefix and each member with traffic.
const MAX_BYTES: usize = 100;
/// Most members with their own counts in telemetry.
const MAX_MEMBERS: usize = 64;

/// Of one prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub packets: u64,
    pub bytes: u64,
    pub requests: u64,
    /// Packets and bytes.
    pub members: BTreeMap<NodeId, (u64, u64)>,
    pub latency: Histogram,
}

/// Of all prefixes that had traffic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Entered(pub BTreeMap<Key, Counted>);

impl Counted {
    /// Adds another span of the same prefix.
    pub fn merge(&mut self, other: Counted) {
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.requests = self.requests.saturating_add(other.requests);
        for (member, (packets, bytes)) in other.members {
            let sum = self.members.entry(member).or_default();
            *sum = (sum.0.saturating_add(packets), sum.1.saturating_add(bytes));
        }
        self.latency.merge(&other.latency);
    }
}

impl Span for Entered {
    fn merge(&mut self, before: Self) {
        for (key, counted) in before.0 {
            self.0.entry(key).or_default().merge(counted);
        }
    }
}

impl Entered {
    /// Bytes to each member, over all prefixes.
    pub fn towards(&self) -> BTreeMap<NodeId, u64> {
        let mut all = BTreeMap::new();
        for (member, (_, bytes)) in self.0.values().flat_map(|one| &one.members) {
            let sum: &mut u64 = all.entry(*member).or_default();
            *sum = sum.saturating_add(*bytes);
        }
        all
    }
}

/// A prefix as it is told: whom calls may go to, and what went. The latency is told coarser where it would take too much.
pub(super) fn row((domain, name): &Key, choice: &Choice, counted: &Counted) -> v1::PrefixTraffic {
    let members = counted.members.iter().take(MAX_MEMBERS);
    let mut row = v1::PrefixTraffic {
        domain: domain.0,
        name: name.as_bytes().to_vec(),
        bytes: counted.bytes,
        requests: counted.requests,
        members: choice.plain.iter().map(|id| id.0).collect(),
        others: choice.others.iter().map(|id| id.0).collect(),
        by_member: members
            .map(|(node, (packets, bytes))| v1::MemberTraffic {
                node: node.0,
                packets: *packets,
                bytes: *bytes,
            })
            .collect(),
        latency: Vec::new(),
    };
    let most = MAX_BYTES * row.by_member.len().max(1);
    let mut latency = counted.latency.clone();
    loop {
        row.latency = latency.to_bytes();
        if row.encoded_len() <= most {
            return row;
        }
        if !latency.coarsen() {
            row.latency.clear();
            return row;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(members: &[u32], latencies: u32) -> Counted {
        let mut one = Counted {
            packets: 90_000,
            bytes: 90_000_000,
            requests: 90_000,
            members: members
                .iter()
                .map(|id| (NodeId(*id), (45_000, 45_000_000)))
                .collect(),
            latency: Histogram::default(),
        };
        (0..latencies).for_each(|at| one.latency.add(300 + at * at % 9_973));
        one
    }

    #[test]
    fn a_busy_prefix_costs_at_most_a_hundred_bytes_for_each_member() {
        let key = (
            Domain(7),
            NameBuf::parse("/shop/checkout/payment/v1").unwrap(),
        );
        for members in [&[70_001][..], &[70_001, 70_002], &[1, 2, 3, 4, 5]] {
            let choice = Choice {
                plain: members.iter().map(|id| NodeId(*id)).collect(),
                others: Vec::new(),
            };
            let row = row(&key, &choice, &counted(members, 1_500));
            assert!(row.encoded_len() <= 100 * members.len(), "{row:?}");
            let latency = Histogram::from_bytes(&row.latency).unwrap();
            assert_eq!(latency.count(), 1_500, "coarser, and nothing lost");
        }
    }

    #[test]
    fn spans_add_up_in_any_order() {
        fn key(text: &str) -> Key {
            (Domain(1), NameBuf::parse(text).unwrap())
        }
        let of =
            |list: [(&str, Counted); 2]| Entered(list.map(|(text, one)| (key(text), one)).into());
        let (a, b) = (
            of([("/a", counted(&[2, 3], 10)), ("/b", counted(&[2], 0))]),
            of([("/b", counted(&[3], 5)), ("/c", counted(&[2], 1))]),
        );
        let (mut one, mut other) = (a.clone(), b.clone());
        one.merge(b);
        other.merge(a);
        assert_eq!(one, other);
        assert_eq!(one.0[&key("/b")].bytes, 180_000_000);
        let towards = [(NodeId(2), 135_000_000), (NodeId(3), 90_000_000)];
        assert_eq!(one.towards(), towards.into());
    }
}
