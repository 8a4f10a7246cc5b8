//! Lookups of names, a burst at a time (design §5).

use std::hint::select_unpredictable;
use std::ops::Range;

use arrayvec::ArrayVec;
use dmsc_wire::Domain;

use crate::RecordId;
use crate::hash::{Hasher, MAX_COMPONENTS, Sum, WINDOW, WINDOW_BLOCKS};
use crate::names::{LookupKey, NameTable, PrefixMatch};
use crate::page::NamePage;
use crate::raw;
use crate::records::{self, Record};

/// Most keys of one [`crate::Fib::lookup_burst`].
pub const MAX_BURST: usize = 32;

/// Keys of a burst that go through the stages of a lookup together.
const GROUP: usize = 16;

/// A lookup of one key at one depth.
struct Probe<'a> {
    page: &'a NamePage,
    hash: u32,
    len: u8,
    components: u8,
    /// Which key of the burst.
    key: u8,
}

/// A burst of lookups on its way.
struct Burst<'a> {
    /// Those of a key together and the shortest prefix first.
    probes: ArrayVec<Probe<'a>, { MAX_BURST * MAX_COMPONENTS }>,
    /// Where the probes of each key end.
    ends: [u16; MAX_BURST],
    /// For each key the number of its longest probe that may be there, and one more; 0 for none.
    longest: [u16; MAX_BURST],
    /// What that probe found first.
    records: [Option<(u32, Record<'a>)>; MAX_BURST],
    /// The last domain, its depths and the start of its hashes.
    known: Option<(Domain, u16, Sum)>,
}

/// Where a prefix of a key ends.
#[derive(Clone, Copy, Default)]
struct End {
    key: u8,
    components: u8,
    len: u8,
}

impl<'a> Burst<'a> {
    #[inline(always)]
    fn new() -> Self {
        Self {
            probes: ArrayVec::new(),
            ends: [0; MAX_BURST],
            longest: [0; MAX_BURST],
            records: [None; MAX_BURST],
            known: None,
        }
    }

    /// The number of a key's first probe.
    #[inline(always)]
    fn start(&self, key: usize) -> usize {
        key.checked_sub(1)
            .map_or(0, |before| usize::from(self.ends[before]))
    }

    #[inline(always)]
    fn longest(&self, key: usize) -> Option<&Probe<'a>> {
        self.probes
            .get(usize::from(self.longest[key]).wrapping_sub(1))
    }

    /// The longest probe of a key that its filter lets through, and all that are shorter.
    fn shorter(&self, key: usize) -> &[Probe<'a>] {
        &self.probes[self.start(key)..usize::from(self.longest[key])]
    }

    /// Finds the longest prefixes that may be there, and asks for their buckets.
    #[inline(never)]
    fn filter(&mut self, range: Range<usize>) {
        let Some(last) = range.end.checked_sub(1) else {
            return;
        };
        for number in self.start(range.start)..usize::from(self.ends[last]) {
            let probe = &self.probes[number];
            let longest = &mut self.longest[usize::from(probe.key) % MAX_BURST];
            // Chosen without a jump, which the CPU would guess wrongly half of the time.
            let may_have = probe.page.may_have(probe.hash);
            *longest = select_unpredictable(may_have, number as u16 + 1, *longest);
        }
        for number in range {
            if let Some(probe) = self.longest(number) {
                raw::prefetch(probe.page.home(probe.hash));
            }
        }
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
        let keys = &keys[..keys.len().min(MAX_BURST)];
        let mut burst = Burst::new();
        let groups = keys.len().div_ceil(GROUP);
        let range = |group: usize| {
            let start = group * GROUP;
            start..(start + GROUP).min(keys.len())
        };
        for step in 0..groups + 3 {
            if step < groups {
                self.hash(keys, range(step), &mut burst);
            }
            if (1..=groups).contains(&step) {
                burst.filter(range(step - 1));
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
        let hasher = Hasher::new(self.key);
        let mut copies = ArrayVec::<[u8; WINDOW], GROUP>::new();
        for key in keys.iter().filter(|key| key.window.is_none()) {
            let mut copy = [0; WINDOW];
            let name = key.name.as_bytes();
            copy[..name.len()].copy_from_slice(name);
            copies.push(copy);
        }
        let mut copies = copies.iter();
        let mut windows: [&[u8; WINDOW]; GROUP] = [&[0; WINDOW]; GROUP];
        let mut sums = [[hasher.start(Domain(0)); WINDOW_BLOCKS]; GROUP];
        let mut ends = [End::default(); GROUP * MAX_COMPONENTS];
        let before = burst.probes.len();
        let mut count = 0;
        for (number, key) in keys.iter().enumerate().take(GROUP) {
            let (present, start) = self.domain(&hasher, key.domain, &mut burst.known);
            let window = key.window.or_else(|| copies.next()).unwrap_or(&[0; WINDOW]);
            windows[number] = window;
            sums[number] = hasher.window(start, window);
            let len = key.name.as_bytes().len();
            let mut at = 0;
            for depth in 0..16 - present.leading_zeros() {
                let is_there = at < len;
                let next = at + 1 + usize::from(window[at % WINDOW]);
                at = select_unpredictable(is_there, next, at);
                ends[count % (GROUP * MAX_COMPONENTS)] = End {
                    key: number as u8,
                    components: depth as u8 + 1,
                    len: at as u8,
                };
                count += usize::from(is_there) & usize::from(present >> depth & 1);
            }
            burst.ends[first + number] = (before + count) as u16;
        }
        for end in ends.iter().take(count) {
            let number = usize::from(end.key) % GROUP;
            let hash = hasher.prefix(&sums[number], windows[number], end.len);
            let key = first + usize::from(end.key);
            self.probe(burst, key, hash, end.components, end.len);
        }
    }

    /// [`NameTable::hash`] of any names.
    #[inline(never)]
    fn hash_long<'a>(&'a self, keys: &[LookupKey<'_>], first: usize, burst: &mut Burst<'a>) {
        let hasher = Hasher::new(self.key);
        for (number, key) in (first..).zip(keys) {
            let (present, start) = self.domain(&hasher, key.domain, &mut burst.known);
            let name = key.name.as_bytes();
            hasher.prefixes(start, name, present, |components, hash, len| {
                self.probe(burst, number, hash, components, len);
            });
            burst.ends[number] = burst.probes.len() as u16;
        }
    }

    #[inline(always)]
    fn probe<'a>(&'a self, burst: &mut Burst<'a>, key: usize, hash: u32, components: u8, len: u8) {
        let page = self.page(hash);
        raw::prefetch(page.filter(hash));
        burst.probes.push(Probe {
            page,
            hash,
            len,
            components,
            key: key as u8,
        });
    }

    /// Finds records for some keys, and asks for them.
    #[inline(never)]
    fn open<'a>(&'a self, range: Range<usize>, burst: &mut Burst<'a>) {
        for number in range {
            let Some(probe) = burst.longest(number) else {
                continue;
            };
            let bucket = probe.page.home(probe.hash);
            let mask = bucket.matches(probe.hash);
            if mask != 0 {
                let id = bucket.record(mask.trailing_zeros());
                let record = records::at(&self.units, id);
                record.prefetch(usize::from(probe.len));
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
        for number in range {
            let key = &keys[number];
            let found = burst.longest(number).and_then(|probe| {
                burst.records[number]
                    .and_then(|(id, record)| self.verify(key, probe, id, record))
                    .or_else(|| self.walk(key, burst.shorter(number)))
            });
            if let Some(out) = out.get_mut(number) {
                *out = found;
            }
        }
    }

    /// The longest of these probes whose record is the key's.
    #[cold]
    fn walk(&self, key: &LookupKey<'_>, probes: &[Probe<'_>]) -> Option<PrefixMatch> {
        probes.iter().rev().find_map(|probe| {
            if !probe.page.may_have(probe.hash) {
                return None;
            }
            let name = key.name.as_bytes().get(..usize::from(probe.len))?;
            let is_it = |id| records::is(&self.units, id, key.domain, name);
            let id = probe.page.find(probe.hash, is_it)?;
            Some(PrefixMatch {
                value: records::at(&self.units, id).value(),
                components: probe.components,
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
            let name = key.name.as_bytes().get(..usize::from(probe.len));
            let (buckets, found) = probe.page.cost(probe.hash, |record| {
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

    /// The match of a probe, if the record is the key's prefix.
    #[inline(always)]
    fn verify(
        &self,
        key: &LookupKey<'_>,
        probe: &Probe<'_>,
        id: u32,
        record: Record<'_>,
    ) -> Option<PrefixMatch> {
        let len = usize::from(probe.len);
        let is_it = match key.window {
            Some(window) if len <= WINDOW => record.is_window(key.domain, len, window),
            _ => {
                let name = key.name.as_bytes().get(..len)?;
                records::is(&self.units, id, key.domain, name)
            }
        };
        is_it.then(|| PrefixMatch {
            value: record.value(),
            components: probe.components,
            record: RecordId(id),
        })
    }
}
