//! Lookups of names, a burst at a time (design §5).

use std::hint::select_unpredictable;
use std::ops::Range;
use std::sync::atomic::AtomicU64;

use arrayvec::ArrayVec;
use dmsc_wire::Domain;

use crate::RecordId;
use crate::hash::{Hasher, MAX_COMPONENTS, Sum, WINDOW, WINDOW_BLOCKS};
use crate::names::{LookupKey, NameTable, PrefixMatch};
use crate::page::{BUCKETS, Bucket, may_have};
use crate::raw;
use crate::records::{self, Record};

/// Most keys of one [`crate::Fib::lookup_burst`].
pub const MAX_BURST: usize = 32;

/// A part of a burst of lookups, for who measures where the time goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Hashes of prefixes are reckoned. Names that lie in no window of a packet or are longer than it have their filters read in the same pass.
    Hash,
    /// Everything else: filters, buckets, records.
    Find,
}

/// Marks nothing. One function for all who do not measure, so that there is the code of their lookups once.
#[inline(always)]
pub(crate) fn unmarked(_: Pass) {}

/// Keys of a burst that go through the stages of a lookup together.
const GROUP: usize = 16;
/// Most probes of them.
const MOST_PROBES: usize = GROUP * MAX_COMPONENTS;

/// The longest prefix of a key that may be in the table.
#[derive(Clone, Copy, Default)]
struct Candidate {
    hash: u32,
    /// Where it would be.
    page: u32,
    /// 0: there is none.
    end: End,
}

/// A burst of lookups on its way.
struct Burst<'a> {
    candidates: [Candidate; MAX_BURST],
    /// What each candidate's bucket has first.
    records: [Option<(u32, Record<'a>)>; MAX_BURST],
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
    fn at(components: u8, len: u8) -> Self {
        Self(u32::from(components) * Self::COMPONENT + u32::from(len))
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

impl Burst<'_> {
    #[inline(always)]
    fn new() -> Self {
        Self {
            candidates: [Candidate::default(); MAX_BURST],
            records: [None; MAX_BURST],
            known: None,
        }
    }
}

impl NameTable {
    /// The longest match of one name.
    pub(crate) fn lookup(&self, key: &LookupKey<'_>) -> Option<PrefixMatch> {
        let mut found = [None];
        self.lookup_burst(std::slice::from_ref(key), &mut found, unmarked);
        found[0]
    }

    /// The longest matches of up to [`MAX_BURST`] names.
    ///
    /// A name waits for memory three times: for the filters of its prefixes, which are asked for while others are hashed, for the bucket of
    /// the longest prefix that its filter lets through, and for the record there. So groups of names go through three stages one behind
    /// the other: while a group is hashed, the buckets and records that those before it wait for are on their way. A filter that let an
    /// absent prefix through, or an equal hash, is rare: that name begins again.
    ///
    /// `mark` is told of every pass when it is over, but of the last one. It is handed on by value, so that one which does nothing is nothing in
    /// the code either.
    pub(crate) fn lookup_burst(
        &self,
        keys: &[LookupKey<'_>],
        out: &mut [Option<PrefixMatch>],
        mark: impl Fn(Pass) + Copy,
    ) {
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
        for step in 0..groups + 2 {
            if step < groups {
                self.choose(keys, range(step), &mut burst, mark);
            }
            if (1..=groups).contains(&step) {
                self.open(range(step - 1), &mut burst);
            }
            if step >= 2 {
                self.finish(keys, range(step - 2), &burst, out);
            }
        }
    }

    /// Finds the longest prefixes of some keys that may be there, and asks for their buckets.
    #[inline(always)]
    fn choose(
        &self,
        keys: &[LookupKey<'_>],
        range: Range<usize>,
        burst: &mut Burst<'_>,
        mark: impl Fn(Pass) + Copy,
    ) {
        const NOTHING: &[u8; WINDOW] = &[0; WINDOW];
        let (Some(keys), Some(candidates)) = (
            keys.get(range.clone()),
            burst.candidates.get_mut(range.clone()),
        ) else {
            return;
        };
        let mut windows = [NOTHING; GROUP];
        let mut is_short = true;
        for (key, window) in keys.iter().zip(&mut windows) {
            is_short &= key.window.is_some() & (key.name.as_bytes().len() <= WINDOW);
            *window = key.window.unwrap_or(NOTHING);
        }
        mark(Pass::Find);
        if is_short {
            self.choose_short(keys, &windows, candidates, &mut burst.known, mark);
        } else {
            self.choose_any(keys, candidates, &mut burst.known);
            mark(Pass::Hash);
        }
        for candidate in candidates {
            if candidate.end.len() != 0 {
                self.bucket(candidate).prefetch();
            }
        }
    }

    #[inline(always)]
    fn bucket(&self, candidate: &Candidate) -> Bucket<'_> {
        self.pages.at(candidate.page).home(candidate.hash)
    }

    /// Whether a prefix with this hash may be in its page, and which page that is.
    #[inline(always)]
    fn ask(&self, hash: u32) -> (bool, u32) {
        let page = self.index.page(hash);
        (may_have(self.filter(page, hash), hash), page)
    }

    #[inline(always)]
    fn filter(&self, page: u32, hash: u32) -> &AtomicU64 {
        &self.pages.filters(page)[hash as usize % BUCKETS]
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

    /// [`NameTable::choose`] for names that fit into their windows, in passes without jumps that depend on a name: most of them the CPU would
    /// guess wrongly.
    #[inline(never)]
    fn choose_short(
        &self,
        keys: &[LookupKey<'_>],
        windows: &[&[u8; WINDOW]; GROUP],
        candidates: &mut [Candidate],
        known: &mut Option<(Domain, u16, Sum)>,
        mark: impl Fn(Pass),
    ) {
        let hasher = Hasher::new(self.key);
        let mut sums = [[hasher.start(Domain(0)); WINDOW_BLOCKS]; GROUP];
        let mut ends = [End::default(); MOST_PROBES];
        let (mut count, mut end_of) = (0u32, End::of(0));
        for ((key, window), sums) in keys.iter().zip(windows).zip(&mut sums) {
            let (present, start) = self.domain(&hasher, key.domain, known);
            *sums = hasher.window(start, window);
            let len = key.name.as_bytes().len() as u8;
            let (mut left, mut end) = (u32::from(present), End(end_of));
            while left != 0 {
                let is_there = end.len() < len;
                let length = window[usize::from(end.len()) % WINDOW];
                end.0 += End::COMPONENT + 1 + u32::from(length);
                // The same for all names of a domain, so the CPU guesses it.
                if left & 1 == 1 {
                    // Written in any case, counted if it is there.
                    ends[count as usize % MOST_PROBES] = end;
                    count += u32::from(is_there);
                }
                left >>= 1;
            }
            end_of += End::of(1);
        }
        // Passes of their own, because one would have more to remember than the CPU has registers.
        let ends = &ends[..(count as usize).min(MOST_PROBES)];
        let mut hashes = [0; MOST_PROBES];
        let mut pages = [0; MOST_PROBES];
        for (hash, end) in hashes.iter_mut().zip(ends) {
            let key = end.key() % GROUP;
            *hash = hasher.prefix(&sums[key], windows[key], end.len());
        }
        mark(Pass::Hash);
        for (&hash, page) in hashes.iter().zip(&mut pages).take(ends.len()) {
            *page = self.index.page(hash);
            raw::prefetch(self.filter(*page, hash));
        }
        // For each key the number of its longest prefix that may be there, and one more.
        let mut longest = [0u32; GROUP];
        let probes = ends.iter().zip(&hashes).zip(&pages);
        for (number, ((end, &hash), page)) in (1..).zip(probes) {
            let may_be = may_have(self.filter(*page, hash), hash);
            let longest = &mut longest[end.key() % GROUP];
            // Chosen without a jump, which the CPU would guess wrongly half of the time.
            *longest = select_unpredictable(may_be, number, *longest);
        }
        for (candidate, number) in candidates.iter_mut().zip(longest) {
            let number = number.wrapping_sub(1) as usize;
            if let Some(end) = ends.get(number) {
                *candidate = Candidate {
                    hash: hashes[number % MOST_PROBES],
                    page: pages[number % MOST_PROBES],
                    end: *end,
                };
            }
        }
    }

    /// [`NameTable::choose`] for any names.
    #[inline(never)]
    fn choose_any(
        &self,
        keys: &[LookupKey<'_>],
        candidates: &mut [Candidate],
        known: &mut Option<(Domain, u16, Sum)>,
    ) {
        let hasher = Hasher::new(self.key);
        for (key, candidate) in keys.iter().zip(candidates) {
            let (present, start) = self.domain(&hasher, key.domain, known);
            let name = key.name.as_bytes();
            hasher.prefixes(start, name, present, |components, hash, len| {
                let (may_be, page) = self.ask(hash);
                if may_be {
                    let end = End::at(components, len);
                    *candidate = Candidate { hash, page, end };
                }
            });
        }
    }

    /// Finds records for some keys, and asks for them.
    #[inline(never)]
    fn open<'a>(&'a self, range: Range<usize>, burst: &mut Burst<'a>) {
        let candidates = burst.candidates.get(range.clone()).unwrap_or_default();
        let records = burst.records.get_mut(range).unwrap_or_default();
        for (candidate, record) in candidates.iter().zip(records) {
            if candidate.end.len() == 0 {
                continue;
            }
            let bucket = self.bucket(candidate);
            let mask = bucket.matches(candidate.hash);
            if mask != 0 {
                let id = bucket.record(mask.trailing_zeros());
                let its = records::at(&self.units, id);
                its.prefetch(usize::from(candidate.end.len()));
                *record = Some((id, its));
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
        let candidates = burst.candidates.get(range.clone()).unwrap_or_default();
        let records = burst.records.get(range.clone()).unwrap_or_default();
        let keys = keys.get(range.clone()).unwrap_or_default();
        let out = out.get_mut(range).unwrap_or_default();
        let all = keys.iter().zip(candidates).zip(records).zip(out);
        for (((key, candidate), record), out) in all {
            *out = None;
            if candidate.end.len() == 0 {
                continue;
            }
            // Written where it stays, part by part: a copy of the whole waits for its parts.
            match *record {
                Some((id, record)) if self.is_it(key, candidate, id, record) => {
                    *out = Some(PrefixMatch {
                        value: record.value(),
                        components: candidate.end.components(),
                        record: RecordId(id),
                    });
                }
                _ => *out = self.walk(key),
            }
        }
    }

    /// The longest match of a name, found prefix by prefix.
    #[cold]
    fn walk(&self, key: &LookupKey<'_>) -> Option<PrefixMatch> {
        let probes = self.probes(key);
        probes.iter().rev().find_map(|&(hash, end)| {
            let (may_be, page) = self.ask(hash);
            if !may_be {
                return None;
            }
            let name = key.name.as_bytes().get(..usize::from(end.len()))?;
            let is_it = |id| records::is(&self.units, id, key.domain, name);
            let id = self.pages.at(page).find(hash, is_it)?;
            Some(PrefixMatch {
                value: records::at(&self.units, id).value(),
                components: end.components(),
                record: RecordId(id),
            })
        })
    }

    /// Hashes and ends of the prefixes of a name that there may be, the shortest first.
    fn probes(&self, key: &LookupKey<'_>) -> ArrayVec<(u32, End), MAX_COMPONENTS> {
        let hasher = Hasher::new(self.key);
        let (present, start) = self.domain(&hasher, key.domain, &mut None);
        let mut probes = ArrayVec::new();
        let name = key.name.as_bytes();
        hasher.prefixes(start, name, present, |components, hash, len| {
            probes.push((hash, End::at(components, len)));
        });
        probes
    }

    /// Buckets and records that a lookup reads.
    pub(crate) fn lookup_cost(&self, key: &LookupKey<'_>) -> usize {
        let mut cost = 0;
        for (hash, end) in self.probes(key).into_iter().rev() {
            let name = key.name.as_bytes().get(..usize::from(end.len()));
            let (buckets, found) = self.page(hash).cost(hash, |record| {
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
    fn is_it(
        &self,
        key: &LookupKey<'_>,
        candidate: &Candidate,
        id: u32,
        record: Record<'_>,
    ) -> bool {
        let len = usize::from(candidate.end.len());
        match key.window {
            Some(window) if len <= WINDOW => record.is_window(key.domain, len, window),
            _ => {
                let name = key.name.as_bytes().get(..len);
                name.is_some_and(|name| records::is(&self.units, id, key.domain, name))
            }
        }
    }
}
