//! Ways out that were found usable in a burst.

use dmsc_fib::{AdjacencyId, Gateway, PathKind};

use super::look::Look;
use crate::adjacency::Adjacency;
use crate::mac::MacAddress;
use crate::outer::Plain;
use crate::stage::Env;

/// Ways out that a burst remembers.
const WAYS: usize = 4;

/// One of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way<'a> {
    came: AdjacencyId,
    /// The adjacency.
    pub id: AdjacencyId,
    /// Who is there.
    pub out: &'a Adjacency,
    /// Its address.
    pub mac: MacAddress,
    /// Its header with that address, where it is plain.
    pub plain: Option<Plain>,
    /// Largest DMSC packet.
    pub largest: usize,
}

/// What a burst asked before it remembers the answer.
pub(super) struct Ways<'a> {
    /// First choices that are usable.
    known: [Option<Way<'a>>; WAYS],
    /// What was last taken instead of one that is not.
    other: Option<Way<'a>>,
}

impl<'a> Ways<'a> {
    /// Nothing asked yet.
    pub fn new() -> Ways<'a> {
        Ways {
            known: [None; WAYS],
            other: None,
        }
    }

    #[inline(always)]
    fn known(&self, came: AdjacencyId, id: AdjacencyId) -> Option<&Way<'a>> {
        let way = self.known[usize::from(id.0) % WAYS].as_ref()?;
        (way.id == id && way.came == came).then_some(way)
    }

    /// The way of a packet to `gateway` now.
    #[inline(always)]
    pub fn find(
        &mut self,
        env: &Env<'a>,
        gateway: &Gateway,
        look: &Look,
    ) -> Option<(&Way<'a>, PathKind)> {
        let first = gateway.first(look.flow)?;
        let place = usize::from(first.0) % WAYS;
        if self.known(look.hop, first).is_none() {
            // Not asked yet, or it goes another way.
            let (way, path) = way(env, gateway, look)?;
            if way.id != first {
                self.other = Some(way);
                return self.other.as_ref().map(|way| (way, path));
            }
            self.known[place] = Some(way);
        }
        self.known[place]
            .as_ref()
            .map(|way| (way, PathKind::Primary))
    }
}

#[cold]
fn way<'a>(env: &Env<'a>, gateway: &Gateway, look: &Look) -> Option<(Way<'a>, PathKind)> {
    let came = look.hop;
    let is_usable = |id| env.chooser.is_usable(id, Some(came));
    let (id, path) = gateway.select(look.flow, is_usable)?;
    let out = env.chooser.tables.adjacencies.get(id)?;
    let mac = out.neighbour.mac()?;
    let way = Way {
        came,
        id,
        out,
        mac,
        plain: Plain::of(&out.outer, mac),
        largest: out.largest_packet(env.now),
    };
    Some((way, path))
}
