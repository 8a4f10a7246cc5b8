//! Where a packet goes: one chooser for the data path and for `explain` (design §4.3, §4.4).

use std::cell::Cell;

use dmsc_fib::{
    AdjacencyId, DelayShare, Gateway, GroupId, Member, PathKind, PrefixMatch, Topology,
};
use dmsc_wire::{Domain, FlowLabel, Name, NodeId};

use crate::attachment::Attachment;
use crate::port::PortState;
use crate::tables::Tables;

/// What a choice depends on, besides the name.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Tenant.
    pub domain: Domain,
    /// Picks among equals.
    pub flow: FlowLabel,
    /// By which it goes, unless the member that is chosen for it says otherwise.
    pub topology: Topology,
    /// The adjacency the packet came over: it never goes back there.
    pub came_over: Option<AdjacencyId>,
    /// A gateway that proved to be unreachable; 0 = none.
    pub excluded: NodeId,
}

impl Call {
    /// On the way to a member to which it goes by delay, or as it says itself.
    #[inline(always)]
    fn by(&self, by_delay: bool) -> Call {
        Call {
            topology: if by_delay {
                Topology::Delay
            } else {
                self.topology
            },
            ..*self
        }
    }

    /// On the way to where it is to go.
    #[inline]
    pub fn towards(&self, destination: Destination) -> Call {
        self.by(destination.by_delay)
    }
}

/// Where a call is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination {
    /// The gateway.
    pub gateway: NodeId,
    /// By the topology of least delay, whatever the class: the packet says so from here on.
    pub by_delay: bool,
}

impl Destination {
    /// As its class says.
    pub fn by_class(gateway: NodeId) -> Destination {
        Destination {
            gateway,
            by_delay: false,
        }
    }

    #[inline]
    fn of(member: &Member, call: &Call) -> Destination {
        Destination {
            gateway: member.gateway,
            by_delay: member.delay_weight > 0 && member.by_delay().takes(call.flow),
        }
    }
}

/// Tables, ports and the own id: everything that a choice reads.
#[derive(Debug, Clone, Copy)]
pub struct Chooser<'a> {
    /// One generation.
    pub tables: &'a Tables,
    /// All ports.
    pub ports: &'a [std::sync::Arc<PortState>],
    /// This router.
    pub node: NodeId,
}

/// Seed of the choice among local attachments; groups and ECMP have others.
const LOCAL_SEED: u32 = 0x51ED_270B;

impl<'a> Chooser<'a> {
    /// Whether a packet that came over `came_over` may leave over this adjacency now: it is up, and does not lead back to the
    /// router that the packet came from by the port that it came from. (Not "never out of the same port": routers joined through
    /// one NIC and somebody else's fabric have all their neighbours behind one port.)
    #[inline]
    pub fn is_usable(&self, adjacency: AdjacencyId, came_over: Option<AdjacencyId>) -> bool {
        let adjacencies = &self.tables.adjacencies;
        let Some(out) = adjacencies.get(adjacency) else {
            return false;
        };
        let leads_back = came_over.is_some_and(|id| {
            id == adjacency
                || adjacencies.get(id).is_some_and(|came| {
                    came.config.port == out.config.port && came.config.peer == out.config.peer
                })
        });
        !leads_back && out.is_up() && self.ports.get(out.config.port).is_some_and(|p| p.is_up())
    }

    /// The next hop towards `gateway`.
    #[inline]
    pub fn next_hop(&self, gateway: NodeId, call: &Call) -> Option<(AdjacencyId, PathKind)> {
        self.gateway(gateway, call.topology)?
            .select(call.flow, |id| self.is_usable(id, call.came_over))
    }

    /// The router behind an adjacency; [`NodeId::NONE`]: there is no such adjacency.
    pub fn peer(&self, adjacency: AdjacencyId) -> NodeId {
        let there = self.tables.adjacencies.get(adjacency);
        there.map_or(NodeId::NONE, |there| there.config.peer)
    }

    /// The table entry of `gateway`.
    #[inline]
    pub fn gateway(&self, gateway: NodeId, topology: Topology) -> Option<&'a Gateway> {
        self.tables.fib.gateway(topology, gateway)
    }

    /// Whether an attachment can be delivered to now.
    #[inline]
    pub fn is_deliverable(&self, attachment: &Attachment) -> bool {
        attachment.is_up() && self.ports.get(attachment.port).is_some_and(|p| p.is_up())
    }

    /// The local attachment that answers a prefix, by rendezvous over those that are up.
    #[inline]
    pub fn local(&self, found: &PrefixMatch, flow: FlowLabel) -> Option<&'a Attachment> {
        let set = self.tables.attachments.set(found.value.local?);
        set.iter()
            .filter(|a| self.is_deliverable(a))
            .max_by_key(|a| (mix(flow.0 ^ LOCAL_SEED, u32::from(a.id.0)), a.id.0))
            .map(|a| &**a)
    }

    /// Whether a member of the group of `found` can take the call now.
    #[inline]
    pub fn is_reachable(&self, member: &Member, found: &PrefixMatch, call: &Call) -> bool {
        if member.gateway == call.excluded {
            false
        } else if member.gateway == self.node {
            self.local(found, call.flow).is_some()
        } else {
            self.way(member, call).is_some()
        }
    }

    /// The way to a member at another gateway. By delay where the policy says so and there is such a way now, else as the class says: whoever chooses the
    /// member says in the packet by which topology it goes.
    #[inline]
    fn way(&self, member: &Member, call: &Call) -> Option<(Destination, (AdjacencyId, PathKind))> {
        let there = Destination::of(member, call);
        let hop = self.next_hop(there.gateway, &call.towards(there));
        match hop {
            Some(hop) => Some((there, hop)),
            None if there.by_delay => {
                let there = Destination::by_class(member.gateway);
                self.next_hop(there.gateway, call).map(|hop| (there, hop))
            }
            None => None,
        }
    }

    /// Whether there is such a gateway, in any topology.
    #[inline]
    pub fn knows(&self, gateway: NodeId) -> bool {
        let mut all = Topology::ALL.into_iter();
        all.any(|topology| self.gateway(gateway, topology).is_some())
    }

    /// Where a call to `found` goes: the group decides; without a group only this gateway's own pods answer.
    #[inline]
    pub fn member(&self, found: &PrefixMatch, call: &Call) -> Option<Destination> {
        let Some(group) = found.value.group else {
            let is_here = self.node != call.excluded && self.local(found, call.flow).is_some();
            return is_here.then(|| Destination::by_class(self.node));
        };
        let eligible = |member: &Member| self.is_reachable(member, found, call);
        let member = self.tables.fib.group(group)?.select(call.flow, eligible)?;
        if member.gateway == self.node || member.delay_weight == 0 {
            return Some(Destination::by_class(member.gateway));
        }
        self.way(member, call).map(|(there, _)| there)
    }

    /// How many of the flows of calls to `found` that were placed at a gateway already go there by delay.
    pub fn share_by_delay(&self, found: &PrefixMatch, gateway: NodeId) -> DelayShare {
        let group = found
            .value
            .group
            .and_then(|group| self.tables.fib.group(group));
        group.map_or(DelayShare::NONE, |group| group.share_by_delay(gateway))
    }

    /// As [`Chooser::member`], with the next hop towards it, which that finds out anyway; no next hop if it is this router.
    #[inline]
    pub fn member_and_hop(
        &self,
        found: &PrefixMatch,
        call: &Call,
    ) -> Option<(Destination, Option<(AdjacencyId, PathKind)>)> {
        let Some(group) = found.value.group else {
            return self.member(found, call).map(|here| (here, None));
        };
        let seen = Cell::new(None);
        let eligible = |member: &Member| {
            if member.gateway == self.node || member.gateway == call.excluded {
                return self.is_reachable(member, found, call);
            }
            let way = self.way(member, call);
            seen.set(way);
            way.is_some()
        };
        let member = self.tables.fib.group(group)?.select(call.flow, eligible)?;
        if member.gateway == self.node {
            return Some((Destination::by_class(self.node), None));
        }
        let seen = seen
            .get()
            .filter(|(there, _)| there.gateway == member.gateway);
        let (there, hop) = seen.or_else(|| self.way(member, call))?;
        Some((there, Some(hop)))
    }

    /// Longest-prefix match of one name.
    pub fn lookup(&self, domain: Domain, name: Name<'_>) -> Option<PrefixMatch> {
        self.tables.fib.lookup(domain, name)
    }

    /// The group of a match, for `explain`.
    pub fn group(&self, id: GroupId) -> Option<&'a dmsc_fib::Group> {
        self.tables.fib.group(id)
    }
}

/// The router behind a name `/dmsc/<node id>`.
pub fn router_of(name: Name<'_>) -> Option<NodeId> {
    if !name.is_reserved() {
        return None;
    }
    let digits = name.components().nth(1)?;
    let mut node: u32 = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        node = node.checked_mul(10)?.checked_add(u32::from(digit - b'0'))?;
    }
    (node != 0).then_some(NodeId(node))
}

/// A 32-bit finaliser over two words (murmur3's): the same on all machines.
fn mix(a: u32, b: u32) -> u32 {
    let mut x = a.wrapping_mul(0xCC9E_2D51) ^ b.wrapping_mul(0x1B87_3593);
    x ^= x >> 16;
    x = x.wrapping_mul(0x85EB_CA6B);
    x ^= x >> 13;
    x = x.wrapping_mul(0xC2B2_AE35);
    x ^ (x >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dmsc_wire::NameBuf;

    #[test]
    fn router_names_are_read_strictly() {
        for (text, expected) in [
            ("/dmsc/7", Some(7)),
            ("/dmsc/7/x", Some(7)),
            ("/dmsc", None),
            ("/dmsc/x7", None),
            ("/dmsc/0", None),
            ("/a/7", None),
            ("/dmsc/4294967296", None),
        ] {
            assert_eq!(
                router_of(NameBuf::parse(text).expect("name").as_name()),
                expected.map(NodeId),
                "{text}"
            );
        }
    }
}
