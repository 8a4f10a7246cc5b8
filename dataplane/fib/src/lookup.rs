//! Lookups of names, a burst at a time (design §5).

use std::hint::select_unpredictable;
use std::ops::Range;
use std::sync::atomic::AtomicU64;

use arrayvec::ArrayVec;
use dmsc_wire::Domain;

use crate::RecordId;
use crate::end::End;
use crate::habit::Habit;
use crate::hash::{BLOCK, Hasher, MAX_COMPONENTS, NARROW, Sum, WIDE, WINDOW, Window};
use crate::names::{LookupKey, NameTable, PrefixMatch};
use crate::page::{BUCKETS, Bucket, may_have};
use crate::raw;
use crate::records::{self, Record};
use crate::short::{GROUP, Numbers, Short, Windows};

/// Most keys of one [`crate::Fib::lookup_burst`].
pub const MAX_BURST: usize = 32;

/// A part of a burst of lookups, for who measures where the time goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Hashes of prefixes are reckoned, and where names end and what pages they have that are looked for as they are. Very long names have their filters read in the
    /// same pass.
    Hash,
    /// Everything else: filters, buckets, records.
    Find,
}

/// Marks nothing. One function for all who do not measure, so that there is the code of their lookups once.
#[inline(always)]
pub(crate) fn unmarked(_: Pass) {}

/// Groups of a burst.
const GROUPS: usize = MAX_BURST / GROUP;
/// Most probes of them.
const MOST_PROBES: usize = GROUP * MAX_COMPONENTS;
/// Names of no more components are first looked for as they are: most calls name what was registered, and of these one prefix is hashed and
/// looked for instead of all. Of longer names all prefixes are looked for at once: by instructions reckoned, the worst would otherwise cost more than
/// twice as much as the best of as many components.
const FEW: u32 = 8;

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
    /// Of each group, bit by bit, which keys are looked for as they are, filters unasked.
    unasked: [u16; GROUPS],
    known: Known,
}

/// What one group of a burst tells the next.
struct Known {
    /// The last domain, its depths and the start of its hashes.
    domain: Option<(Domain, u16, Sum)>,
    habit: Habit,
}

impl Known {
    /// Of the first group.
    #[inline(always)]
    fn new(habit: Habit) -> Self {
        Self {
            domain: None,
            habit,
        }
    }
}

impl Burst<'_> {
    #[inline(always)]
    fn new(habit: Habit) -> Self {
        Self {
            candidates: [Candidate::default(); MAX_BURST],
            records: [None; MAX_BURST],
            unasked: [0; GROUPS],
            known: Known::new(habit),
        }
    }
}

impl NameTable {
    /// The longest match of one name.
    pub(crate) fn lookup(&self, key: &LookupKey<'_>) -> Option<PrefixMatch> {
        let mut found = [None];
        let habit = &mut Habit::default();
        self.lookup_burst(habit, std::slice::from_ref(key), &mut found, unmarked);
        found[0]
    }

    /// The longest matches of up to [`MAX_BURST`] names.
    ///
    /// A name that is in the table as it is waits for memory twice: for its bucket and for the record there. Of names that are not, all prefixes are
    /// looked for: they wait for the filters of these, for the bucket of the longest prefix that its filter lets through, and for the record; if most
    /// names were so lately, they begin with that. So groups of names go through three stages one behind the other: while a group is hashed,
    /// the buckets and records that those before it wait for are on their way. A filter that let an absent prefix through, an equal hash, or an
    /// entry that had no room in its bucket is rare: that name begins again.
    ///
    /// `mark` is told of every pass when it is over, but of the last one. It is handed on by value, so that one which does nothing is nothing in
    /// the code either.
    pub(crate) fn lookup_burst(
        &self,
        habit: &mut Habit,
        keys: &[LookupKey<'_>],
        out: &mut [Option<PrefixMatch>],
        mark: impl Fn(Pass) + Copy,
    ) {
        let keys = &keys[..keys.len().min(MAX_BURST).min(out.len())];
        let mut burst = Burst::new(*habit);
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
                self.choose(keys, range(step), None, &mut burst, mark);
            }
            if (1..=groups).contains(&step) {
                let others = self.open(range(step - 1), &mut burst);
                if !others.is_empty() {
                    self.open_others(keys, range(step - 1), &others, &mut burst, mark);
                }
            }
            if step >= 2 {
                self.finish(keys, range(step - 2), &burst, out);
            }
        }
        *habit = burst.known.habit;
    }

    /// Finds the longest prefixes of some keys that may be there, and asks for their buckets. With `others`: of these of them only, which are not
    /// there as they are.
    #[inline(always)]
    fn choose(
        &self,
        keys: &[LookupKey<'_>],
        range: Range<usize>,
        others: Option<&Numbers>,
        burst: &mut Burst<'_>,
        mark: impl Fn(Pass) + Copy,
    ) {
        const NOTHING: &Window<NARROW> = &[[0; BLOCK]; NARROW];
        let (Some(keys), Some(candidates)) = (
            keys.get(range.clone()),
            burst.candidates.get_mut(range.clone()),
        ) else {
            return;
        };
        let mut windows = [NOTHING; GROUP];
        let (mut is_short, mut longest) = (true, 0);
        for (key, window) in keys.iter().zip(&mut windows) {
            let len = key.name.as_bytes().len();
            longest = longest.max(len);
            is_short &= key.window.is_some();
            *window = key.window.map_or(NOTHING, |window| {
                window.as_chunks().0.first_chunk().unwrap_or(NOTHING)
            });
        }
        mark(Pass::Find);
        let known = &mut burst.known;
        let mut unasked = 0;
        if is_short && longest <= WINDOW {
            unasked = self.choose_short(keys, &windows, others, candidates, known, mark);
        } else if longest <= WIDE * BLOCK {
            unasked = self.choose_copies(keys, others, candidates, known, mark);
        } else {
            self.choose_any(keys, candidates, known);
            mark(Pass::Hash);
        }
        burst.unasked[range.start / GROUP % GROUPS] = unasked;
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
    fn domain(&self, hasher: &Hasher, domain: Domain, known: &mut Known) -> (u16, Sum) {
        match known.domain {
            Some((same, present, start)) if same == domain => (present, start),
            _ => {
                let found = (self.depths(domain), hasher.start(domain));
                known.domain = Some((domain, found.0, found.1));
                found
            }
        }
    }

    /// [`NameTable::choose`] for names that fit into their windows, in passes without jumps that depend on a name: most of them the CPU would
    /// guess wrongly. Bit by bit, which are chosen as they are, filters unasked.
    #[inline(never)]
    fn choose_short<const BLOCKS: usize>(
        &self,
        keys: &[LookupKey<'_>],
        windows: &Windows<'_, BLOCKS>,
        others: Option<&Numbers>,
        candidates: &mut [Candidate],
        known: &mut Known,
        mark: impl Fn(Pass) + Copy,
    ) -> u16 {
        let hasher = Hasher::new(self.key);
        let mut group = Short {
            hasher,
            windows,
            lens: [0; GROUP],
            presents: [0; GROUP],
            sums: [[hasher.start(Domain(0)); BLOCKS]; GROUP],
        };
        let mut take = |number: usize, key: &LookupKey<'_>| {
            let (present, start) = self.domain(&hasher, key.domain, known);
            group.lens[number] = key.name.as_bytes().len() as u16;
            group.presents[number] = present;
            group.sums[number] = hasher.window(start, windows[number]);
        };
        if let Some(others) = others {
            for number in others.iter().map(|number| usize::from(*number) % GROUP) {
                if let Some(key) = keys.get(number) {
                    take(number, key);
                }
            }
            mark(Pass::Hash);
            self.choose_others(&group, others, candidates, mark);
            return 0;
        }
        for (number, key) in keys.iter().enumerate().take(GROUP) {
            take(number, key);
        }
        if known.habit.are_whole() {
            let whole = self.choose_whole(&group, candidates);
            mark(Pass::Hash);
            if whole.count_ones() as usize != keys.len() {
                let all = 0..keys.len().min(GROUP) as u8;
                let deep: Numbers = all.filter(|number| whole >> number & 1 == 0).collect();
                self.choose_others(&group, &deep, candidates, mark);
                known.habit.learn(0, group.in_domains_with_prefixes(&deep));
            }
            return whole;
        }
        mark(Pass::Hash);
        let all: Numbers = (0..keys.len().min(GROUP) as u8).collect();
        let whole = self.choose_others(&group, &all, candidates, mark);
        let asked = group.in_domains_with_prefixes(&all);
        known.habit.learn(whole, asked - whole);
        0
    }

    /// Chooses names as they are, with all of their components, or as many as any prefix of their domain has. Bit by bit, which do not have too many for
    /// that.
    #[inline(always)]
    fn choose_whole<const BLOCKS: usize>(
        &self,
        group: &Short<'_, BLOCKS>,
        candidates: &mut [Candidate],
    ) -> u16 {
        let lens = group.lens.iter().zip(&group.presents);
        let all = candidates.iter_mut().zip(lens).zip(group.windows);
        for ((candidate, (&len, &present)), window) in all {
            let present = u32::from(present);
            let are_deep = u32::from(present >> FEW != 0);
            // With deeper prefixes as many steps as there may be, or the last one.
            let mut left = present & ((1 << FEW) - 1) | are_deep << FEW;
            let (mut end, mut longest) = (End::default(), End::default());
            while left > are_deep {
                let is_there = end.len() < len;
                end.step(window);
                // The same for all names of a domain, so the CPU guesses it.
                if left & 1 == 1 {
                    longest = select_unpredictable(is_there, end, longest);
                }
                left >>= 1;
            }
            let is_longest = are_deep == 0 || end.len() >= len;
            candidate.end = select_unpredictable(is_longest, longest, End::default());
        }
        // A pass of its own, because one would have more to remember than the CPU has registers.
        let all = candidates.iter_mut().zip(&group.sums).zip(group.windows);
        for ((candidate, sums), window) in all {
            candidate.hash = group.hasher.prefix(sums, window, candidate.end.len());
            candidate.page = self.index.page(candidate.hash);
        }
        let all = (0..).zip(candidates.iter()).take(GROUP);
        all.fold(0, |whole, (number, candidate)| {
            whole | u16::from(candidate.end.len() != 0) << number
        })
    }

    /// [`NameTable::choose_short`] for names that are longer than a window, or at the end of what may be read: they are copied.
    #[inline(never)]
    fn choose_copies(
        &self,
        keys: &[LookupKey<'_>],
        others: Option<&Numbers>,
        candidates: &mut [Candidate],
        known: &mut Known,
        mark: impl Fn(Pass) + Copy,
    ) -> u16 {
        let mut copies = [[[0; BLOCK]; WIDE]; GROUP];
        for (key, copy) in keys.iter().zip(&mut copies) {
            let name = key.name.as_bytes();
            if let Some(room) = copy.as_flattened_mut().get_mut(..name.len()) {
                room.copy_from_slice(name);
            }
        }
        self.choose_short(keys, &copies.each_ref(), others, candidates, known, mark)
    }

    /// Chooses among all prefixes of those names that have these numbers. How many are chosen that are found as they are, too.
    #[inline(never)]
    fn choose_others<const BLOCKS: usize>(
        &self,
        group: &Short<'_, BLOCKS>,
        others: &[u8],
        candidates: &mut [Candidate],
        mark: impl Fn(Pass),
    ) -> usize {
        // Of each key: how many probes there are with its last one.
        let mut lasts = [0; GROUP];
        let mut ends = [End::default(); MOST_PROBES];
        let mut count = 0u32;
        for number in others.iter().map(|number| usize::from(*number) % GROUP) {
            let (len, window) = (group.lens[number], group.windows[number]);
            let (mut left, mut end) = (group.presents[number], End::of(number));
            while left != 0 {
                let is_there = end.len() < len;
                end.step(window);
                // Written in any case, counted if it is there.
                if left & 1 == 1 {
                    ends[count as usize % MOST_PROBES] = end;
                    count += u32::from(is_there);
                }
                left >>= 1;
            }
            lasts[number] = count;
        }
        let ends = &ends[..(count as usize).min(MOST_PROBES)];
        let mut hashes = [0; MOST_PROBES];
        let mut pages = [0; MOST_PROBES];
        mark(Pass::Find);
        for (hash, end) in hashes.iter_mut().zip(ends) {
            let key = end.key() % GROUP;
            let (sums, window) = (&group.sums[key], group.windows[key]);
            *hash = group.hasher.prefix(sums, window, end.len());
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
        let is_whole = |(longest, last): &(&u32, &u32)| {
            let end = ends.get(longest.wrapping_sub(1) as usize);
            longest == last && end.is_some_and(|end| u32::from(end.components()) <= FEW)
        };
        longest.iter().zip(&lasts).filter(is_whole).count()
    }

    /// [`NameTable::choose`] for any names.
    #[inline(never)]
    fn choose_any(&self, keys: &[LookupKey<'_>], candidates: &mut [Candidate], known: &mut Known) {
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

    /// Finds records for some keys, and asks for them. The numbers of keys that were chosen as they are, and are not there.
    #[inline(never)]
    fn open<'a>(&'a self, range: Range<usize>, burst: &mut Burst<'a>) -> Numbers {
        let mut others = Numbers::new();
        let unasked = burst.unasked[range.start / GROUP % GROUPS];
        let candidates = burst.candidates.get(range.clone()).unwrap_or_default();
        let records = burst.records.get_mut(range.clone()).unwrap_or_default();
        for (number, (candidate, record)) in (0..).zip(candidates.iter().zip(records)) {
            if candidate.end.len() == 0 {
                continue;
            }
            let bucket = self.bucket(candidate);
            let mask = bucket.matches(candidate.hash);
            if mask != 0 {
                *record = Some(self.record(bucket, mask, candidate));
            } else if unasked >> number & 1 != 0 && !self.is_beyond(bucket, candidate) {
                // There are no more than keys of a group.
                let _ = others.try_push(number);
            }
        }
        let whole = unasked.count_ones() as usize - others.len();
        burst.known.habit.learn(whole, others.len());
        others
    }

    /// Whether a prefix that is not in its bucket may be in the next one.
    #[inline(always)]
    fn is_beyond(&self, bucket: Bucket<'_>, candidate: &Candidate) -> bool {
        bucket.is_full() && may_have(self.filter(candidate.page, candidate.hash), candidate.hash)
    }

    #[inline(always)]
    fn record(&self, bucket: Bucket<'_>, mask: u32, candidate: &Candidate) -> (u32, Record<'_>) {
        let id = bucket.record(mask.trailing_zeros());
        let its = records::at(&self.units, id);
        its.prefetch(usize::from(candidate.end.len()));
        (id, its)
    }

    /// [`NameTable::choose`] and [`NameTable::open`] for names of a group that are not there as they are.
    #[inline(never)]
    fn open_others<'a>(
        &'a self,
        keys: &[LookupKey<'_>],
        range: Range<usize>,
        others: &Numbers,
        burst: &mut Burst<'a>,
        mark: impl Fn(Pass) + Copy,
    ) {
        for number in others {
            burst.candidates[(range.start + usize::from(*number)) % MAX_BURST].end = End::default();
        }
        self.choose(keys, range.clone(), Some(others), burst, mark);
        for number in others {
            let at = (range.start + usize::from(*number)) % MAX_BURST;
            let candidate = &burst.candidates[at];
            let bucket = self.bucket(candidate);
            let mask = bucket.matches(candidate.hash);
            if mask != 0 && candidate.end.len() != 0 {
                burst.records[at] = Some(self.record(bucket, mask, candidate));
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
        let known = &mut Known::new(Habit::default());
        let (present, start) = self.domain(&hasher, key.domain, known);
        let mut probes = ArrayVec::new();
        let name = key.name.as_bytes();
        hasher.prefixes(start, name, present, |components, hash, len| {
            probes.push((hash, End::at(components, len)));
        });
        probes
    }

    /// Buckets and records that a lookup reads which asks filters first.
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
