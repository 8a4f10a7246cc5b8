//! What a worker remembers of the gateway table: the first choice of gateways that have one next hop only, in one load.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use dmsc_wire::{FlowLabel, NodeId};

use crate::{AdjacencyId, Fib, Topology};

/// Gateways that are remembered at once; more displace each other.
const PLACES: usize = 1 << PLACE_BITS;
const PLACE_BITS: u32 = 11;

/// Says which gateway tables these are: no two that differ have the same, in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edition(u64);

impl Edition {
    /// That of no tables.
    const NONE: Edition = Edition(0);

    /// Another one than all before.
    pub(crate) fn fresh() -> Edition {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Edition(1 + LAST.fetch_add(1, Relaxed))
    }
}

/// The memory of one worker. It is of one edition of the gateway tables, and forgets all when it is asked of another one.
pub struct FirstHops {
    edition: Edition,
    /// From the lowest bit: the gateway's id (32), the adjacency (16), the topology (1), that it is filled (1).
    places: Box<[u64; PLACES]>,
}

const HOP: u32 = 32;
const TOPOLOGY: u32 = 48;
const FILLED: u64 = 1 << 49;
/// What makes an entry the one that is asked for.
const KEY: u64 = !(0xffff << HOP);

impl FirstHops {
    /// Nothing remembered.
    pub fn new() -> Self {
        Self {
            edition: Edition::NONE,
            places: Box::new([0; PLACES]),
        }
    }

    /// For questions of these tables.
    #[inline]
    pub fn of<'a>(&'a mut self, fib: &'a Fib) -> FirstHopsOf<'a> {
        if self.edition != fib.edition {
            self.forget(fib.edition);
        }
        FirstHopsOf {
            places: &mut self.places,
            fib,
        }
    }

    #[cold]
    fn forget(&mut self, edition: Edition) {
        self.places.fill(0);
        self.edition = edition;
    }
}

impl Default for FirstHops {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for FirstHops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FirstHops")
            .field("edition", &self.edition)
            .finish_non_exhaustive()
    }
}

/// [`FirstHops`] of certain tables.
pub struct FirstHopsOf<'a> {
    places: &'a mut [u64; PLACES],
    fib: &'a Fib,
}

impl FirstHopsOf<'_> {
    /// [`Gateway::first`](crate::Gateway::first) of the entry of `node`; `None` also where there is no entry.
    #[inline(always)]
    pub fn get(
        &mut self,
        topology: Topology,
        node: NodeId,
        flow: FlowLabel,
    ) -> Option<AdjacencyId> {
        let key = FILLED | (topology.index() as u64) << TOPOLOGY | u64::from(node.0);
        let found = self.places[place(topology, node)];
        if found & KEY == key {
            return Some(AdjacencyId((found >> HOP) as u16));
        }
        self.look_up(topology, node, flow, key)
    }

    #[inline(never)]
    fn look_up(
        &mut self,
        topology: Topology,
        node: NodeId,
        flow: FlowLabel,
        key: u64,
    ) -> Option<AdjacencyId> {
        let gateway = self.fib.gateway(topology, node)?;
        if let [only] = gateway.next_hops.as_slice() {
            self.places[place(topology, node)] = key | u64::from(only.0) << HOP;
        }
        gateway.first(flow)
    }
}

/// Ids that are given in sequence, or in steps, lie apart, and so do both topologies.
#[inline(always)]
fn place(topology: Topology, node: NodeId) -> usize {
    (node.0.wrapping_mul(0x9E37_79B1) >> (32 - PLACE_BITS)) as usize ^ topology.index()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Gateway, Op};

    fn put(topology: Topology, node: u32, hops: &[u16]) -> Op {
        Op::PutGateway {
            topology,
            node: NodeId(node),
            gateway: Gateway::new(1, hops.iter().copied().map(AdjacencyId)),
        }
    }

    fn bits(seed: &mut u64) -> u32 {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        (*seed >> 20) as u32
    }

    #[test]
    fn it_says_what_the_table_says_whatever_was_asked_before() {
        let mut hops = FirstHops::new();
        // Two lines of tables that begin alike, asked in turn.
        let mut lines = [Fib::new(), Fib::new()];
        let mut seed = 0x9E37_79B9_7F4A_7C15;
        for round in 0..if cfg!(miri) { 8 } else { 120 } {
            let line = bits(&mut seed) as usize % 2;
            let ops: Vec<Op> = (0..bits(&mut seed) % 40)
                .map(|_| {
                    let topology = Topology::ALL[bits(&mut seed) as usize % 2];
                    let node = (bits(&mut seed) % 4_000) << (8 * (bits(&mut seed) % 3));
                    let many = 1 + bits(&mut seed) as usize % 8 / 6;
                    let its = [0; 2].map(|_: u16| bits(&mut seed) as u16);
                    put(topology, node, &its[..many])
                })
                .collect();
            lines[line] = lines[line].apply(&ops).expect("gateways");
            let some = lines[line].gateways().next();
            let some = some.map(|entry| (entry.topology, entry.node));
            if round % 7 == 0
                && let Some((topology, node)) = some
            {
                let gone = Op::DeleteGateway { topology, node };
                lines[line] = lines[line].apply(&[gone]).expect("there");
            }
            let asked: Vec<_> = lines.iter().flat_map(Fib::gateways).collect();
            for fib in &lines {
                let mut hops = hops.of(fib);
                let mut check = |topology, node| {
                    let flow = FlowLabel(bits(&mut seed));
                    let expected = fib
                        .gateway(topology, node)
                        .and_then(|entry| entry.first(flow));
                    for _ in 0..2 {
                        assert_eq!(hops.get(topology, node, flow), expected);
                    }
                };
                for entry in &asked {
                    check(entry.topology, entry.node);
                }
                check(Topology::Metric, NodeId(0));
                check(Topology::Delay, NodeId(u32::MAX));
            }
        }
    }

    #[test]
    fn routes_to_prefixes_leave_the_edition_and_those_to_gateways_do_not() {
        let fib = Fib::new();
        let with = fib
            .apply(&[put(Topology::Metric, 7, &[1])])
            .expect("gateway");
        assert_ne!(fib.edition, with.edition);
        let prefix = Op::PutPrefix {
            domain: dmsc_wire::Domain(1),
            name: dmsc_wire::NameBuf::parse("/a").expect("name"),
            value: crate::PrefixValue::default(),
        };
        let (topology, node) = (Topology::Metric, NodeId(7));
        let gone = with.apply(&[Op::DeleteGateway { topology, node }]);
        assert_ne!(gone.expect("there").edition, with.edition);
        let more = with.apply(&[prefix]).expect("prefix");
        assert_eq!(more.edition, with.edition);
        assert_ne!(Fib::new().edition, Fib::new().edition);
    }
}
