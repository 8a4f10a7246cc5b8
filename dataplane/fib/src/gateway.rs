//! Gateway table entries: the ways to another router or gateway (design §4.4).

use arrayvec::ArrayVec;
use dmsc_wire::FlowLabel;

use crate::AdjacencyId;
use crate::stratified::mix64;

/// Most equal-cost next hops of a gateway.
pub const MAX_NEXT_HOPS: usize = 16;
/// Another one than that of the service groups: flows of one member must not all take one path.
const SEED: u64 = 0x646d_7363_2f65_636d;

/// The two routing topologies. A packet belongs to one by what is in its header, so that all routers agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topology {
    /// Least metric: classes 0 to 5 without the flag BY_DELAY.
    Metric,
    /// Least delay: classes 6 and 7, and whatever has the flag.
    Delay,
}

impl Topology {
    /// Both.
    pub const ALL: [Topology; 2] = [Topology::Metric, Topology::Delay];

    /// The topology of a class (0–7; only the lower three bits count, as in the header).
    #[inline]
    pub fn for_class(class: u8) -> Self {
        Self::of(class, false)
    }

    /// The topology of a packet: that of its class, unless its flag says that it goes by delay.
    #[inline(always)]
    pub fn of(class: u8, by_delay: bool) -> Self {
        // Without a jump: packets of both come in any order.
        if by_delay | (class & 7 >= 6) {
            Topology::Delay
        } else {
            Topology::Metric
        }
    }

    /// 0 or 1, to index a table by topology.
    #[inline]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// Which kind of way a packet takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathKind {
    /// One of the equal-cost next hops.
    Primary,
    /// The alternate that survives the death of the next node.
    NodeProtecting,
    /// The alternate that survives the death of the link.
    LinkProtecting,
}

/// The ways to one gateway in one topology: a cache line.
#[repr(align(64))]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gateway {
    /// Equal-cost next hops.
    pub next_hops: ArrayVec<AdjacencyId, MAX_NEXT_HOPS>,
    /// Alternate that avoids the next node, used when no next hop is usable.
    pub node_protecting: Option<AdjacencyId>,
    /// Alternate that avoids the link, used when that is not usable either.
    pub link_protecting: Option<AdjacencyId>,
    /// Length of the path.
    pub metric: u32,
}

impl Gateway {
    /// A gateway without alternates. Next hops beyond [`MAX_NEXT_HOPS`] are not used.
    pub fn new(metric: u32, next_hops: impl IntoIterator<Item = AdjacencyId>) -> Self {
        let next_hops = next_hops.into_iter().take(MAX_NEXT_HOPS).collect();
        Self {
            next_hops,
            node_protecting: None,
            link_protecting: None,
            metric,
        }
    }

    /// Whether it has a next hop or an alternate.
    pub(crate) fn has_way(&self) -> bool {
        let alternate = self.node_protecting.or(self.link_protecting);
        !self.next_hops.is_empty() || alternate.is_some()
    }

    /// The way for a flow: one of the usable next hops by rendezvous, so that only the flows of a dead one
    /// move; else the node-protecting, else the link-protecting alternate.
    ///
    /// `usable` answers for one adjacency: alive, and not where the packet came from.
    #[inline]
    pub fn select(
        &self,
        flow: FlowLabel,
        usable: impl Fn(AdjacencyId) -> bool,
    ) -> Option<(AdjacencyId, PathKind)> {
        if let Some(hop) = self.first(flow)
            && usable(hop)
        {
            return Some((hop, PathKind::Primary));
        }
        self.select_next(flow, usable)
    }

    /// The next hop for a flow while all of them are usable: [`Gateway::select`] begins with it.
    #[inline(always)]
    pub fn first(&self, flow: FlowLabel) -> Option<AdjacencyId> {
        match self.next_hops.as_slice() {
            [] => None,
            [only] => Some(*only),
            several => highest(several, flow),
        }
    }

    #[cold]
    fn select_next(
        &self,
        flow: FlowLabel,
        usable: impl Fn(AdjacencyId) -> bool,
    ) -> Option<(AdjacencyId, PathKind)> {
        let living = self.next_hops.iter().copied().filter(|&hop| usable(hop));
        let primary = living
            .max_by_key(|&hop| score(flow, hop))
            .map(|hop| (hop, PathKind::Primary));
        let alternate =
            |hop: Option<AdjacencyId>, kind| hop.filter(|&hop| usable(hop)).map(|hop| (hop, kind));
        primary
            .or_else(|| alternate(self.node_protecting, PathKind::NodeProtecting))
            .or_else(|| alternate(self.link_protecting, PathKind::LinkProtecting))
    }
}

/// The one of highest score.
#[inline(never)]
fn highest(hops: &[AdjacencyId], flow: FlowLabel) -> Option<AdjacencyId> {
    hops.iter().copied().max_by_key(|&hop| score(flow, hop))
}

#[inline(always)]
fn score(flow: FlowLabel, hop: AdjacencyId) -> (u64, AdjacencyId) {
    (
        mix64(u64::from(flow.0) << 32 ^ u64::from(hop.0) ^ SEED),
        hop,
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Group, GroupPolicy, Member};
    use dmsc_wire::NodeId;

    fn hops(n: u16) -> impl Iterator<Item = AdjacencyId> {
        (1..=n).map(AdjacencyId)
    }

    proptest! {
        #[test]
        fn only_flows_of_dead_next_hops_move(n in 1u16..20, dead in any::<u32>(), flow in any::<u32>()) {
            let gateway = Gateway {
                node_protecting: Some(AdjacencyId(30)),
                link_protecting: Some(AdjacencyId(31)),
                ..Gateway::new(10, hops(n))
            };
            let usable = |hop: AdjacencyId| dead >> hop.0 & 1 == 0;
            let before = gateway.select(FlowLabel(flow), |_| true).unwrap();
            let after = gateway.select(FlowLabel(flow), usable);
            prop_assert_eq!(before.1, PathKind::Primary);
            if usable(before.0) {
                prop_assert_eq!(after, Some(before));
            } else if hops(n.min(16)).any(usable) {
                prop_assert!(after.is_some_and(|(hop, kind)| usable(hop) && kind == PathKind::Primary));
            } else if usable(AdjacencyId(30)) {
                prop_assert_eq!(after, Some((AdjacencyId(30), PathKind::NodeProtecting)));
            } else if usable(AdjacencyId(31)) {
                prop_assert_eq!(after, Some((AdjacencyId(31), PathKind::LinkProtecting)));
            } else {
                prop_assert_eq!(after, None);
            }
        }
    }

    #[test]
    fn flows_spread_over_next_hops_whatever_their_member() {
        let members = (1..3)
            .map(|g| Member {
                gateway: NodeId(g),
                metric: 1,
                weight: 1,
                delay_weight: 0,
            })
            .collect();
        let group = Group::new(members, GroupPolicy::Nearest).unwrap();
        let gateway = Gateway::new(10, hops(4));
        let mut counts = [[0u32; 4]; 2];
        for flow in (0..16_000).map(FlowLabel) {
            let member = group.select(flow, |_| true).unwrap().gateway.0 as usize;
            let (hop, _) = gateway.select(flow, |_| true).unwrap();
            counts[member - 1][usize::from(hop.0) - 1] += 1;
        }
        // 2,000 each, standard deviation 42.
        assert!(
            counts
                .as_flattened()
                .iter()
                .all(|n| (1_800..2_200).contains(n)),
            "{counts:?}"
        );
    }

    #[test]
    fn classes_have_a_topology() {
        let delay: Vec<u8> = (0..8)
            .filter(|&c| Topology::for_class(c) == Topology::Delay)
            .collect();
        assert_eq!(delay, [6, 7]);
    }

    #[test]
    fn a_gateway_without_ways() {
        assert_eq!(Gateway::default().select(FlowLabel(1), |_| true), None);
        assert_eq!(Gateway::new(1, hops(40)).next_hops.len(), MAX_NEXT_HOPS);
        assert_eq!(size_of::<Option<Gateway>>(), 64, "an entry is a cache line");
    }
}
