//! One generation of all tables.

use dmsc_wire::{Domain, Name, NodeId};

use crate::first_hops::Edition;
use crate::gateway::{Gateway, Topology};
use crate::group::Group;
use crate::habit::Habit;
use crate::hash::HashKey;
use crate::idmap::IdMap;
use crate::lookup::{Pass, unmarked};
use crate::names::{LookupKey, NameTable, PrefixEntry, PrefixMatch, PrefixValue};
use crate::{GroupId, RecordId};

/// The tables of a router: prefixes of all domains, service groups, gateways of both topologies.
///
/// A value: [`Fib::apply`] makes a new one and leaves this one as it is. Clones share everything and
/// cost a few reference counts.
#[derive(Clone)]
pub struct Fib {
    pub(crate) names: NameTable,
    pub(crate) groups: IdMap<Group>,
    /// How many prefixes refer to each group.
    pub(crate) references: IdMap<u32>,
    pub(crate) gateways: [IdMap<Gateway>; 2],
    /// Of `gateways`.
    pub(crate) edition: Edition,
}

/// A gateway, for dumps.
#[derive(Clone, Copy, Debug)]
pub struct GatewayEntry<'a> {
    /// The topology.
    pub topology: Topology,
    /// The gateway's or router's id.
    pub node: NodeId,
    /// The ways to it.
    pub gateway: &'a Gateway,
}

impl Fib {
    /// Empty tables with a random hash key.
    pub fn new() -> Self {
        Self::with_key(HashKey::random())
    }

    /// Empty tables with the given hash key.
    pub fn with_key(key: HashKey) -> Self {
        Self {
            names: NameTable::new(key),
            groups: IdMap::new(),
            references: IdMap::new(),
            gateways: [IdMap::new(), IdMap::new()],
            edition: Edition::fresh(),
        }
    }

    /// The longest prefix of `name` that the domain has, on component boundaries.
    #[inline]
    pub fn lookup(&self, domain: Domain, name: Name<'_>) -> Option<PrefixMatch> {
        self.names.lookup(&LookupKey::new(domain, name))
    }

    /// [`Fib::lookup`] of several keys, [`crate::MAX_BURST`] at a time, with the waits for memory shared.
    /// `out[i]` becomes the match of `keys[i]`; keys without a place in `out` are not looked up.
    pub fn lookup_burst(&self, keys: &[LookupKey<'_>], out: &mut [Option<PrefixMatch>]) {
        self.lookup_burst_as(&mut Habit::default(), keys, out);
    }

    /// [`Fib::lookup_burst`] for who looks up burst after burst: names that are like those before are found sooner.
    pub fn lookup_burst_as(
        &self,
        habit: &mut Habit,
        keys: &[LookupKey<'_>],
        out: &mut [Option<PrefixMatch>],
    ) {
        self.lookup_burst_with(habit, keys, out, unmarked);
    }

    /// [`Fib::lookup_burst_as`] that says when a pass over some of the keys is over: everything since the last call of `mark` was that pass. What
    /// comes after the last call is [`Pass::Find`], too.
    #[inline]
    pub fn lookup_burst_with(
        &self,
        habit: &mut Habit,
        keys: &[LookupKey<'_>],
        out: &mut [Option<PrefixMatch>],
        mark: impl Fn(Pass) + Copy,
    ) {
        for (keys, out) in keys
            .chunks(crate::MAX_BURST)
            .zip(out.chunks_mut(crate::MAX_BURST))
        {
            let keys = &keys[..keys.len().min(out.len())];
            self.names.lookup_burst(habit, keys, out, mark);
        }
    }

    /// How many buckets and records a lookup of this name reads that asks the filters of all prefixes first: a gauge for tests and benchmarks, because
    /// every one of them may be a wait for memory.
    pub fn lookup_cost(&self, domain: Domain, name: Name<'_>) -> usize {
        self.names.lookup_cost(&LookupKey::new(domain, name))
    }

    /// The value of exactly this prefix.
    pub fn prefix(&self, domain: Domain, name: Name<'_>) -> Option<PrefixValue> {
        self.names.get(domain, name)
    }

    /// Where the entry of a prefix is or would be: many changes in this order go from page to page, and wait less for memory.
    pub fn place(&self, domain: Domain, name: Name<'_>) -> u32 {
        self.names.place(domain, name)
    }

    /// The prefix that a match was found with, in the same generation.
    pub fn record(&self, record: RecordId) -> Option<PrefixEntry> {
        self.names.prefix(record)
    }

    /// A service group.
    #[inline]
    pub fn group(&self, id: GroupId) -> Option<&Group> {
        self.groups.get(id.0)
    }

    /// The ways to a gateway or router.
    #[inline]
    pub fn gateway(&self, topology: Topology, node: NodeId) -> Option<&Gateway> {
        self.gateways[topology.index()].get(node.0)
    }

    /// All prefixes, in no order that means anything.
    pub fn prefixes(&self) -> impl Iterator<Item = PrefixEntry> {
        self.names.prefixes()
    }

    /// All service groups, in no order that means anything.
    pub fn groups(&self) -> impl Iterator<Item = (GroupId, &Group)> {
        self.groups.iter().map(|(id, group)| (GroupId(id), group))
    }

    /// All gateways of both topologies, in no order that means anything.
    pub fn gateways(&self) -> impl Iterator<Item = GatewayEntry<'_>> {
        Topology::ALL.into_iter().flat_map(|topology| {
            let entries = self.gateways[topology.index()].iter();
            entries.map(move |(id, gateway)| GatewayEntry {
                topology,
                node: NodeId(id),
                gateway,
            })
        })
    }

    /// Number of prefixes.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no prefix.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of service groups.
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// Number of gateways of a topology.
    pub fn gateway_count(&self, topology: Topology) -> usize {
        self.gateways[topology.index()].len()
    }

    /// Bytes of memory of this generation alone; what it shares with others is counted. Takes a walk over
    /// all groups.
    pub fn bytes(&self) -> usize {
        let gateways: usize = self.gateways.iter().map(IdMap::bytes).sum();
        let groups: usize = self.groups.iter().map(|(_, group)| group.bytes()).sum();
        self.names.bytes() + self.groups.bytes() + groups + self.references.bytes() + gateways
    }
}

impl Default for Fib {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Fib {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fib")
            .field("prefixes", &self.len())
            .field("groups", &self.group_count())
            .field("gateways", &Topology::ALL.map(|t| self.gateway_count(t)))
            .finish_non_exhaustive()
    }
}
