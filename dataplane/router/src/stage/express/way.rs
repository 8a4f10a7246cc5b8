//! Ways out that were found usable in a burst.

use dmsc_fib::{AdjacencyId, FirstHopsOf, PathKind};

use super::look::Look;
use crate::adjacency::Adjacency;
use crate::mac::MacAddress;
use crate::outer::Plain;
use crate::stage::Env;

/// Ways out that a burst remembers.
const WAYS: usize = 4;
/// Behind them, what was last taken instead of one that is not usable.
const OTHER: usize = WAYS;

/// One of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way<'a> {
    /// The adjacency.
    pub id: AdjacencyId,
    /// Its port.
    pub port: u8,
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
    /// What the first choices stand for that are usable: where it came over and where it goes. Beside the ways, so that it takes one comparison.
    keys: [Key; WAYS],
    /// These ways, and [`OTHER`].
    found: [Option<Way<'a>>; WAYS + 1],
}

/// Adjacencies that a packet came over and leaves by; 0 is of none, for it would leave by the one that it came over.
type Key = u32;

#[inline(always)]
fn key(came: AdjacencyId, id: AdjacencyId) -> Key {
    u32::from(came.0) << 16 | u32::from(id.0)
}

impl<'a> Ways<'a> {
    /// Nothing asked yet.
    pub fn new() -> Ways<'a> {
        Ways {
            keys: [0; WAYS],
            found: [None; WAYS + 1],
        }
    }

    /// One that was found.
    #[inline(always)]
    pub fn get(&self, place: usize) -> Option<&Way<'a>> {
        self.found.get(place)?.as_ref()
    }

    /// Where the way out by an adjacency stands, if that is usable for what came over `came`.
    #[inline(always)]
    pub fn by(&mut self, env: &Env<'a>, came: AdjacencyId, id: AdjacencyId) -> Option<usize> {
        let place = usize::from(id.0) % WAYS;
        if self.keys[place] == key(came, id) {
            return Some(place);
        }
        self.ask(env, came, id)
    }

    #[cold]
    fn ask(&mut self, env: &Env<'a>, came: AdjacencyId, id: AdjacencyId) -> Option<usize> {
        if !env.chooser.is_usable(id, Some(came)) {
            return None;
        }
        let place = usize::from(id.0) % WAYS;
        self.found[place] = Some(way(env, id)?);
        self.keys[place] = key(came, id);
        Some(place)
    }

    /// Where the way of a packet stands now.
    #[inline(always)]
    pub fn find(
        &mut self,
        env: &Env<'a>,
        hops: &mut FirstHopsOf<'_>,
        look: &Look,
    ) -> Option<(usize, PathKind)> {
        let first = hops.get(look.topology, look.gateway, look.flow)?;
        match self.by(env, look.hop, first) {
            Some(place) => Some((place, PathKind::Primary)),
            None => self.find_other(env, look),
        }
    }

    /// The first choice of a packet is not usable.
    #[cold]
    fn find_other(&mut self, env: &Env<'a>, look: &Look) -> Option<(usize, PathKind)> {
        let gateway = env.chooser.gateway(look.gateway, look.topology)?;
        let is_usable = |id| env.chooser.is_usable(id, Some(look.hop));
        let (id, path) = gateway.select(look.flow, is_usable)?;
        self.found[OTHER] = Some(way(env, id)?);
        Some((OTHER, path))
    }
}

/// Out by a usable adjacency; `None` while its address is not known.
fn way<'a>(env: &Env<'a>, id: AdjacencyId) -> Option<Way<'a>> {
    let out = env.chooser.tables.adjacencies.get(id)?;
    let mac = out.neighbour.mac()?;
    Some(Way {
        id,
        port: u8::try_from(out.config.port).ok()?,
        out,
        mac,
        plain: Plain::of(&out.outer, mac),
        largest: out.largest_packet(env.now),
    })
}
