//! Lookups of names, a burst at a time (design §5).

use std::hint::select_unpredictable;
use std::ops::Range;
use std::sync::atomic::AtomicU64;

use arrayvec::ArrayVec;
use dmsc_wire::Domain;

use crate::RecordId;
use crate::hash::{Hasher, MAX_COMPONENTS, Sum, WINDOW, WINDOW_BLOCKS};
use crate::names::{LookupKey, NameTable, PrefixMatch};
use crate::page::{Bucket, may_have};
use crate::raw;
use crate::records::{self, Record};

/// Most keys of one [`crate::Fib::lookup_burst`].
pub const MAX_BURST: usize = 32;

/// Keys of a burst that go through the stages of a lookup together.
const GROUP: usize = 16;

/// A lookup of one key at one depth: 16 bytes.
struct Probe<'a> {
    filter: &'a AtomicU64,
    hash: u32,
    end: End,
}

/// A burst of lookups on its way.
struct Burst<'a> {
    /// Those of a key together and the shortest prefix first.
    probes: ArrayVec<Probe<'a>, { MAX_BURST * MAX_COMPONENTS }>,
    /// Where the probes of each key end.
    ends: [u32; MAX_BURST],
    /// For each key the number of its longest probe that may be there, and one more; 0 for none.
    longest: [u32; MAX_BURST],
    /// What that probe found first in its bucket.
    records: [Option<(u32, Record<'a>)>; MAX_BURST],
    /// Where that probe looks.
    buckets: [Option<Bucket<'a>>; MAX_BURST],
    /// The last domain, its depths and the start of its hashes.
    known: Option<(Domain, u16, Sum)>,
}

/// Where a prefix of a key ends, in one word: its bytes, its components, and which key of the burst it is of.
#[derive(Clone, Copy, Default)]
struct End(u32);

impl End {
    /// To be added for one component more.
    const COMPONENT: u32 = 1 << 8;

    /// Before the first component of a key.
    #[inline(always)]
    fn of(key: usize) -> u32 {
        (key as u32) << 16
    }

    #[inline(always)]
    fn len(self) -> u8 {
        self.0 as u8
    }

    #[inline(always)]
    fn components(self) -> u8 {
        (self.0 >> 8) as u8
    }

    #[inline(always)]
    fn key(self) -> usize {
        (self.0 >> 16) as usize
    }
}

impl<'a> Burst<'a> {
    #[inline(always)]
    fn new() -> Self {
        Self {
            probes: ArrayVec::new(),
            ends: [0; MAX_BURST],
            longest: [0; MAX_BURST],
            records: [None; MAX_BURST],
            buckets: [None; MAX_BURST],
            known: None,
        }
    }

    /// The number of a key's first probe.
    #[inline(always)]
    fn start(&self, key: usize) -> usize {
        key.checked_sub(1)
            .map_or(0, |before| self.ends[before] as usize)
    }

    #[inline(always)]
    fn longest(&self, key: usize) -> Option<&Probe<'a>> {
        self.probes
            .get((self.longest[key] as usize).wrapping_sub(1))
    }

    /// The longest probe of a key that its filter lets through, and all that are shorter.
    fn shorter(&self, key: usize) -> &[Probe<'a>] {
        &self.probes[self.start(key)..self.longest[key] as usize]
    }
}

impl NameTable {
    /// The longest match of one name.
    pub(crate) fn lookup(&self, key: &LookupKey<'_>) -> Option<PrefixMatch> {
        let mut found = [None];
        self.lookup_burst(std::slice::from_ref(key), &mut found);
        found[0]
    }

    /// The longest matches of up to [`MAX_BURST`] names.
    ///
    /// A name waits for memory three times: for the filters of its prefixes, for the bucket of the longest one that its
    /// filter lets through, and for the record there. So groups of names go through four stages one behind the other:
    /// while a group is hashed, what those before it wait for is on its way. A filter that let an absent prefix through,
    /// or an equal hash, is rare: that name begins again with the next shorter prefix.
    pub(crate) fn lookup_burst(&self, keys: &[LookupKey<'_>], out: &mut [Option<PrefixMatch>]) {
        let keys = &keys[..keys.len().min(MAX_BURST).min(out.len())];
        let mut burst = Burst::new();
        let groups = keys.len().div_ceil(GROUP);
        let range = |group: usize| {
            let start = group * GROUP;
            start..(start + GROUP).min(keys.len())
        };
        for key in keys {
            if let (Some(first), Some(last)) =
                (key.name.as_bytes().first(), key.name.as_bytes().last())
            {
                raw::prefetch(first);
                raw::prefetch(last);
            }
        }
        for step in 0..groups + 3 {
            if step < groups {
                self.hash(keys, range(step), &mut burst);
            }
            if (1..=groups).contains(&step) {
                self.choose(range(step - 1), &mut burst);
            }
            if (2..groups + 2).contains(&step) {
                self.open(range(step - 2), &mut burst);
            }
            if step >= 3 {
                self.finish(keys, range(step - 3), &burst, out);
            }
        }
    }

    /// Hashes the prefixes of some keys, as far as the table has prefixes of so many components, and asks for
    /// their filters.
    #[inline(always)]
    fn hash<'a>(&'a self, keys: &[LookupKey<'_>], range: Range<usize>, burst: &mut Burst<'a>) {
        let all = &keys[range.clone()];
        if all.iter().all(|key| key.name.as_bytes().len() <= WINDOW) {
            self.hash_short(all, range.start, burst);
        } else {
            self.hash_long(all, range.start, burst);
        }
    }

    /// Which numbers of components prefixes of this domain have, and the start of their hashes.
    #[inline(always)]
    fn domain(
        &self,
        hasher: &Hasher,
        domain: Domain,
        known: &mut Option<(Domain, u16, Sum)>,
    ) -> (u16, Sum) {
        match *known {
            Some((same, present, start)) if same == domain => (present, start),
            _ => {
                let found = (self.depths(domain), hasher.start(domain));
                *known = Some((domain, found.0, found.1));
                found
            }
        }
    }

    /// [`NameTable::hash`] of names that fit into a window, in passes without jumps that depend on a name: most of
    /// them the CPU would guess wrongly.
    #[inline(never)]
    fn hash_short<'a>(&'a self, keys: &[LookupKey<'_>], first: usize, burst: &mut Burst<'a>) {
        const NOTHING: &[u8; WINDOW] = &[0; WINDOW];
        let hasher = Hasher::new(self.key);
        let mut copies = [[0; WINDOW]; GROUP];
        let mut windows = [NOTHING; GROUP];
        for ((key, window), copy) in keys.iter().zip(&mut windows).zip(&mut copies) {
            *window = match key.window {
                Some(window) => window,
                None => {
                    let name = key.name.as_bytes();
                    copy[..name.len()].copy_from_slice(name);
                    copy
                }
            };
        }
        let mut known = burst.known;
        let mut sums = [[hasher.start(Domain(0)); WINDOW_BLOCKS]; GROUP];
        let mut ends = [End::default(); GROUP * MAX_COMPONENTS];
        let before = burst.probes.len() as u32;
        let (mut count, mut end_of) = (0u32, End::of(0));
        let lasts = burst.ends.iter_mut().skip(first);
        for (((key, last), window), sums) in keys.iter().zip(lasts).zip(windows).zip(&mut sums) {
            let (present, start) = self.domain(&hasher, key.domain, &mut known);
            *sums = hasher.window(start, window);
            let len = key.name.as_bytes().len() as u32;
            let (mut at, mut left, mut end) = (0u32, u32::from(present), end_of);
            while left != 0 {
                let is_there = u32::from(at < len);
                at += 1 + u32::from(window[at as usize % WINDOW]);
                end += End::COMPONENT;
                // Written in any case, counted if it is wanted.
                ends[count as usize % (GROUP * MAX_COMPONENTS)] = End(end + at);
                count += is_there & left & 1;
                left >>= 1;
            }
            *last = before + count;
            end_of += End::of(1);
        }
        burst.known = known;
        let ends = &ends[..(count as usize).min(GROUP * MAX_COMPONENTS)];
        burst.probes.extend(ends.iter().map(|&end| {
            let key = end.key() % GROUP;
            let hash = hasher.prefix(&sums[key], windows[key], end.len());
            self.probe(hash, End(end.0 + End::of(first)))
        }));
    }

    /// [`NameTable::hash`] of any names.
    #[inline(never)]
    fn hash_long<'a>(&'a self, keys: &[LookupKey<'_>], first: usize, burst: &mut Burst<'a>) {
        let hasher = Hasher::new(self.key);
        let mut known = burst.known;
        for (number, key) in (first..).zip(keys) {
            let (present, start) = self.domain(&hasher, key.domain, &mut known);
            let name = key.name.as_bytes();
            hasher.prefixes(start, name, present, |components, hash, len| {
                let components = u32::from(components) * End::COMPONENT;
                let end = End(End::of(number) | components | u32::from(len));
                burst.probes.push(self.probe(hash, end));
            });
            burst.ends[number] = burst.probes.len() as u32;
        }
        burst.known = known;
    }

    #[inline(always)]
    fn probe(&self, hash: u32, end: End) -> Probe<'_> {
        let filter = self.filter(hash);
        raw::prefetch(filter);
        Probe { filter, hash, end }
    }

    /// Finds the longest prefixes that may be there, and asks for their buckets.
    #[inline(never)]
    fn choose<'a>(&'a self, range: Range<usize>, burst: &mut Burst<'a>) {
        let Some(last) = range.end.checked_sub(1) else {
            return;
        };
        let probes = burst.start(range.start)..burst.ends[last] as usize;
        let mut number = probes.start as u32;
        for probe in burst.probes.get(probes).unwrap_or_default() {
            number += 1;
            let longest = &mut burst.longest[probe.end.key() % MAX_BURST];
            // Chosen without a jump, which the CPU would guess wrongly half of the time.
            *longest = select_unpredictable(may_have(probe.filter, probe.hash), number, *longest);
        }
        for number in range {
            if let Some(probe) = burst.longest(number) {
                let bucket = self.page(probe.hash).home(probe.hash);
                bucket.prefetch();
                burst.buckets[number] = Some(bucket);
            }
        }
    }

    /// Finds records for some keys, and asks for them.
    #[inline(never)]
    fn open<'a>(&'a self, range: Range<usize>, burst: &mut Burst<'a>) {
        for number in range {
            let (Some(probe), Some(bucket)) = (burst.longest(number), burst.buckets[number]) else {
                continue;
            };
            let mask = bucket.matches(probe.hash);
            if mask != 0 {
                let id = bucket.record(mask.trailing_zeros());
                let record = records::at(&self.units, id);
                record.prefetch(usize::from(probe.end.len()));
                burst.records[number] = Some((id, record));
            }
        }
    }

    /// Verifies the records of some keys.
    #[inline(never)]
    fn finish(
        &self,
        keys: &[LookupKey<'_>],
        range: Range<usize>,
        burst: &Burst<'_>,
        out: &mut [Option<PrefixMatch>],
    ) {
        let (Some(keys), Some(out)) = (keys.get(range.clone()), out.get_mut(range.clone())) else {
            return;
        };
        for ((key, out), number) in keys.iter().zip(out).zip(range) {
            *out = match (burst.longest(number), burst.records[number % MAX_BURST]) {
                (None, _) => None,
                (Some(probe), Some((id, record))) if self.is_it(key, probe, id, record) => {
                    Some(PrefixMatch {
                        value: record.value(),
                        components: probe.end.components(),
                        record: RecordId(id),
                    })
                }
                _ => self.walk(key, burst.shorter(number)),
            };
        }
    }

    /// The longest of these probes whose record is the key's.
    #[cold]
    fn walk(&self, key: &LookupKey<'_>, probes: &[Probe<'_>]) -> Option<PrefixMatch> {
        probes.iter().rev().find_map(|probe| {
            if !may_have(probe.filter, probe.hash) {
                return None;
            }
            let name = key.name.as_bytes().get(..usize::from(probe.end.len()))?;
            let is_it = |id| records::is(&self.units, id, key.domain, name);
            let id = self.page(probe.hash).find(probe.hash, is_it)?;
            Some(PrefixMatch {
                value: records::at(&self.units, id).value(),
                components: probe.end.components(),
                record: RecordId(id),
            })
        })
    }

    /// Buckets and records that a lookup reads.
    pub(crate) fn lookup_cost(&self, key: &LookupKey<'_>) -> usize {
        let mut burst = Burst::new();
        self.hash(std::slice::from_ref(key), 0..1, &mut burst);
        let mut cost = 0;
        for probe in burst.probes.iter().rev() {
            let name = key.name.as_bytes().get(..usize::from(probe.end.len()));
            let (buckets, found) = self.page(probe.hash).cost(probe.hash, |record| {
                cost += 1;
                name.is_some_and(|name| records::is(&self.units, record, key.domain, name))
            });
            cost += buckets;
            if found {
                break;
            }
        }
        cost
    }

    /// Whether the record is the key's prefix.
    #[inline(always)]
    fn is_it(&self, key: &LookupKey<'_>, probe: &Probe<'_>, id: u32, record: Record<'_>) -> bool {
        let len = usize::from(probe.end.len());
        match key.window {
            Some(window) if len <= WINDOW => record.is_window(key.domain, len, window),
            _ => {
                let name = key.name.as_bytes().get(..len);
                name.is_some_and(|name| records::is(&self.units, id, key.domain, name))
            }
        }
    }
}
