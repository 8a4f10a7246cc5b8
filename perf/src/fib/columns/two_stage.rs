//! Two-stage longest-prefix match, as NDN-DPDK publishes its FIB: one hash table with chained buckets, SipHash of
//! the name, and virtual entries at one depth that tell how much deeper it is worth to look (So, Narayanan, Oran,
//! "Named data networking on a router", ANCS 2013). Written from those descriptions, for comparison only.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::hint::black_box;

use dmsc_fib::LookupKey;
use dmsc_wire::{Domain, Name};

use super::{Bytes, Column, Round};
use crate::fib::names::Names;

const NONE: u32 = u32::MAX;
const DEPTHS: usize = 16;

/// A prefix, or a virtual entry, or both.
#[derive(Debug, Clone)]
struct Entry {
    hash: u64,
    next: u32,
    domain: Domain,
    start: u64,
    len: u8,
    /// How many components deeper than this the deepest prefix below it is; only at the first stage's depth.
    deeper: u8,
    value: Option<u32>,
}

/// The table.
#[derive(Debug)]
pub struct TwoStage {
    key: RandomState,
    heads: Vec<u32>,
    entries: Vec<Entry>,
    names: Vec<u8>,
    /// Components at which the first stage looks.
    start: usize,
}

/// Hash and end of every prefix of a name, in one pass.
struct Hashed {
    hashes: [u64; DEPTHS],
    ends: [u8; DEPTHS],
    count: usize,
}

impl TwoStage {
    /// Prefix number i has the value i. The first stage looks at the depth that most prefixes have.
    pub fn new(prefixes: &Names) -> Self {
        let mut depths = [0usize; DEPTHS + 1];
        for prefix in prefixes.iter() {
            depths[prefix.name.component_count()] += 1;
        }
        let start = (1..=DEPTHS).max_by_key(|&depth| depths[depth]).unwrap_or(1);
        let mut table = Self {
            key: RandomState::new(),
            heads: vec![NONE; (prefixes.len() * 2).next_power_of_two()],
            entries: Vec::with_capacity(prefixes.len()),
            names: Vec::new(),
            start,
        };
        for (value, prefix) in prefixes.iter().enumerate() {
            table.insert(prefix.domain, prefix.name, value as u32);
        }
        table
    }

    fn insert(&mut self, domain: Domain, name: Name<'_>, value: u32) {
        let hashed = self.hash(domain, name);
        let at = self.entry(&hashed, domain, name, hashed.count);
        self.entries[at].value = Some(value);
        if hashed.count > self.start {
            let deeper = (hashed.count - self.start) as u8;
            let at = self.entry(&hashed, domain, name, self.start);
            self.entries[at].deeper = self.entries[at].deeper.max(deeper);
        }
    }

    /// The entry of the first `depth` components, made if it is not there.
    fn entry(&mut self, hashed: &Hashed, domain: Domain, name: Name<'_>, depth: usize) -> usize {
        if let Some(at) = self.find(hashed, domain, name, depth) {
            return at;
        }
        let (hash, len) = (hashed.hashes[depth - 1], hashed.ends[depth - 1]);
        let head = hash as usize & (self.heads.len() - 1);
        self.entries.push(Entry {
            hash,
            next: self.heads[head],
            domain,
            start: self.names.len() as u64,
            len,
            deeper: 0,
            value: None,
        });
        self.names
            .extend_from_slice(&name.as_bytes()[..usize::from(len)]);
        self.heads[head] = (self.entries.len() - 1) as u32;
        self.entries.len() - 1
    }

    fn hash(&self, domain: Domain, name: Name<'_>) -> Hashed {
        let mut hasher = self.key.build_hasher();
        hasher.write_u32(domain.0);
        let mut hashed = Hashed {
            hashes: [0; DEPTHS],
            ends: [0; DEPTHS],
            count: 0,
        };
        let bytes = name.as_bytes();
        let mut at = 0;
        while at < bytes.len() && hashed.count < DEPTHS {
            let end = at + 1 + usize::from(bytes[at]);
            hasher.write(&bytes[at..end]);
            hashed.hashes[hashed.count] = hasher.finish();
            hashed.ends[hashed.count] = end as u8;
            hashed.count += 1;
            at = end;
        }
        hashed
    }

    fn find(&self, hashed: &Hashed, domain: Domain, name: Name<'_>, depth: usize) -> Option<usize> {
        let (hash, len) = (hashed.hashes[depth - 1], hashed.ends[depth - 1]);
        let wanted = &name.as_bytes()[..usize::from(len)];
        let mut at = self.heads[hash as usize & (self.heads.len() - 1)];
        while at != NONE {
            let entry = &self.entries[at as usize];
            let stored =
                || &self.names[entry.start as usize..entry.start as usize + usize::from(entry.len)];
            if entry.hash == hash && entry.domain == domain && stored() == wanted {
                return Some(at as usize);
            }
            at = entry.next;
        }
        None
    }

    /// Value and components of the longest prefix.
    pub fn lookup(&self, domain: Domain, name: Name<'_>) -> Option<(u32, u8)> {
        let hashed = self.hash(domain, name);
        let value = |depth: usize| {
            let at = self.find(&hashed, domain, name, depth)?;
            Some((self.entries[at].value?, depth as u8))
        };
        if hashed.count < self.start {
            return (1..=hashed.count).rev().find_map(value);
        }
        if let Some(first) = self.find(&hashed, domain, name, self.start) {
            let first = &self.entries[first];
            let deepest = hashed.count.min(self.start + usize::from(first.deeper));
            let found = (self.start + 1..=deepest).rev().find_map(value);
            let here = || Some((first.value?, self.start as u8));
            if let Some(found) = found.or_else(here) {
                return Some(found);
            }
        }
        (1..self.start).rev().find_map(value)
    }

    /// Bytes of heads, entries and names.
    pub fn bytes(&self) -> usize {
        self.heads.len() * 4 + self.entries.len() * size_of::<Entry>() + self.names.len()
    }
}

/// Bursts of lookups.
pub struct TwoStageColumn<'a> {
    word: &'static str,
    table: &'a TwoStage,
    keys: Vec<LookupKey<'a>>,
    round: Round,
}

impl<'a> TwoStageColumn<'a> {
    /// Looks `names` up; `word` names the column.
    pub fn new(word: &'static str, table: &'a TwoStage, names: &'a Names) -> Self {
        Self {
            word,
            table,
            keys: names.iter().collect(),
            round: Round::new(names.len()),
        }
    }
}

impl Column for TwoStageColumn<'_> {
    fn word(&self) -> &'static str {
        self.word
    }

    fn burst(&mut self) -> usize {
        let keys = &self.keys[self.round.next()];
        let found = keys
            .iter()
            .filter(|key| black_box(self.table.lookup(key.domain, key.name)).is_some());
        found.count()
    }

    fn bytes(&self) -> Option<Bytes> {
        Some(Bytes::counted(self.table.bytes()))
    }
}

#[cfg(test)]
mod tests {
    use dmsc_wire::NameBuf;

    use super::super::Levels;
    use super::*;
    use crate::prng::Prng;

    /// Few components, so that prefixes nest and virtual entries become real ones.
    #[test]
    fn finds_what_the_plain_maps_find() {
        let mut prng = Prng::new(5, 0);
        let name = |prng: &mut Prng| {
            let components = prng.between(1, 6);
            let letters = (0..components).map(|_| [b'a' + prng.below(3) as u8]);
            NameBuf::from_components(letters.collect::<Vec<_>>()).expect("short")
        };
        let mut prefixes = Names::default();
        let domain = |prng: &mut Prng| Domain(prng.below(2) as u32);
        for _ in 0..300 {
            let domain = domain(&mut prng);
            prefixes.push(domain, name(&mut prng).as_name());
        }
        let (levels, two) = (Levels::new(&prefixes), TwoStage::new(&prefixes));
        for _ in 0..5_000 {
            let (domain, name) = (domain(&mut prng), name(&mut prng));
            let name = name.as_name();
            assert_eq!(
                two.lookup(domain, name),
                levels.lookup(domain, name),
                "{name}"
            );
        }
    }
}
