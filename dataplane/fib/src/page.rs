//! A page of the name table: 32 buckets of one cache line, each with 8 entries of (hash, record), and before them a
//! filter of 8 bytes per bucket, which tells without reading the bucket that most absent prefixes are absent. All
//! filters of a million prefixes are 2 MB and stay in the cache; the buckets are 17 MB and do not.
//!
//! The 32 bits of hash are all that the table needs of a name: the leading bits choose the page, the
//! last 5 the bucket, and the rest is the tag that keeps wrong records from being read. So splitting a
//! page and closing the gap after a removal never touch a record.

use std::array::from_fn;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::raw;

/// Buckets of a page: 2 KiB of them, a compromise. What a transaction changes is copied by the page, and the directory of a
/// million prefixes' pages, 4 bytes each, shall stay in the cache.
pub(crate) const BUCKETS: usize = 32;
/// Entries of a bucket.
pub(crate) const ENTRIES: usize = 8;
/// Entries at which a page splits: at 69 % about one bucket in eight overflows into the next.
pub(crate) const SPLIT: u16 = (BUCKETS * ENTRIES * 11 / 16) as u16;
/// Most leading bits of the hash that entries of a page share; the others place an entry within it.
pub(crate) const MAX_DEPTH: u8 = 32 - BUCKETS.ilog2() as u8;

/// One cache line: the hashes of the entries, 0 for those that are free, and their records.
#[derive(Clone, Copy)]
pub(crate) struct Bucket<'a>(&'a [AtomicU32; 2 * ENTRIES]);

impl<'a> Bucket<'a> {
    #[inline(always)]
    fn halves(self) -> (&'a [AtomicU32; ENTRIES], &'a [AtomicU32; ENTRIES]) {
        let (halves, _) = self.0.as_chunks();
        (&halves[0], &halves[1])
    }

    /// Bit i set: entry i has this hash.
    #[inline(always)]
    pub(crate) fn matches(self, hash: u32) -> u32 {
        raw::equal_mask(self.halves().0, hash)
    }

    /// Whether entries that belong here may be in the next bucket.
    #[inline(always)]
    pub(crate) fn is_full(self) -> bool {
        self.matches(0) == 0
    }

    /// The record of entry `at`.
    #[inline(always)]
    pub(crate) fn record(self, at: u32) -> u32 {
        self.halves().1[at as usize % ENTRIES].load(Relaxed)
    }

    /// Asks for it.
    #[inline(always)]
    pub(crate) fn prefetch(self) {
        raw::prefetch(self.0);
    }

    fn hash(self, at: usize) -> u32 {
        self.halves().0[at].load(Relaxed)
    }

    fn set(self, at: usize, hash: u32, record: u32) {
        let (hashes, records) = self.halves();
        hashes[at].store(hash, Relaxed);
        records[at].store(record, Relaxed);
    }

    fn entries(self) -> [(u32, u32); ENTRIES] {
        from_fn(|at| (self.hash(at), self.record(at as u32)))
    }
}

/// The numbers of the three bits of 64 that an entry sets in the filter of its bucket, each modulo 64.
#[inline(always)]
fn filter_bits(hash: u32) -> [u32; 3] {
    let mixed = u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    [
        (mixed >> 58) as u32,
        (mixed >> 52) as u32,
        (mixed >> 46) as u32,
    ]
}

/// Those bits.
fn filter_mask(hash: u32) -> u64 {
    let [a, b, c] = filter_bits(hash).map(|bit| 1u64 << (bit % 64));
    a | b | c
}

/// Whether an entry with this hash may be in the bucket that has this filter.
#[inline(always)]
pub(crate) fn may_have(filter: &AtomicU64, hash: u32) -> bool {
    let filter = filter.load(Relaxed);
    let [a, b, c] = filter_bits(hash).map(|bit| filter >> (bit % 64));
    a & b & c & 1 != 0
}

/// Memory of the filters of a page: of the entries that belong into each bucket, also where they were pushed into a later one.
pub(crate) type FilterBlock = [AtomicU64; BUCKETS];
/// Memory of the buckets of a page.
pub(crate) type BucketBlock = [[AtomicU32; 2 * ENTRIES]; BUCKETS];

/// The page. Only the transaction that took it from the [`crate::ledger`] writes it.
#[derive(Clone, Copy)]
pub(crate) struct NamePage<'a> {
    pub(crate) filters: &'a FilterBlock,
    pub(crate) buckets: &'a BucketBlock,
}

impl<'a> NamePage<'a> {
    #[inline(always)]
    fn bucket(self, number: usize) -> Bucket<'a> {
        Bucket(&self.buckets[number % BUCKETS])
    }

    /// Removes all entries.
    pub(crate) fn clear(self) {
        self.filters
            .iter()
            .for_each(|filter| filter.store(0, Relaxed));
        let all = self.buckets.as_flattened();
        all.iter().for_each(|word| word.store(0, Relaxed));
    }

    /// Makes it the same as `other`.
    pub(crate) fn copy(self, other: NamePage<'_>) {
        for (filter, other) in self.filters.iter().zip(other.filters) {
            filter.store(other.load(Relaxed), Relaxed);
        }
        let others = other.buckets.as_flattened();
        for (word, other) in self.buckets.as_flattened().iter().zip(others) {
            word.store(other.load(Relaxed), Relaxed);
        }
    }

    /// The filter of the bucket that this hash belongs to.
    #[inline(always)]
    pub(crate) fn filter(self, hash: u32) -> &'a AtomicU64 {
        &self.filters[hash as usize % BUCKETS]
    }

    /// The bucket that this hash belongs to.
    #[inline(always)]
    pub(crate) fn home(self, hash: u32) -> Bucket<'a> {
        self.bucket(hash as usize)
    }

    /// The record with this hash that `is_it`.
    #[inline]
    pub(crate) fn find(self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        for step in 0..BUCKETS {
            let bucket = self.bucket(hash as usize + step);
            let mut mask = bucket.matches(hash);
            while mask != 0 {
                let record = bucket.record(mask.trailing_zeros());
                if is_it(record) {
                    return Some(record);
                }
                mask &= mask - 1;
            }
            if !bucket.is_full() {
                return None;
            }
        }
        None
    }

    /// As [`NamePage::find`]: how many buckets it reads, and whether it finds a record.
    pub(crate) fn cost(self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> (usize, bool) {
        if !may_have(self.filter(hash), hash) {
            return (0, false);
        }
        for step in 0..BUCKETS {
            let bucket = self.bucket(hash as usize + step);
            let matches = bucket.matches(hash);
            let is_here = |at: &u32| matches & 1 << at != 0;
            if (0..ENTRIES as u32)
                .filter(is_here)
                .any(|at| is_it(bucket.record(at)))
            {
                return (step + 1, true);
            }
            if !bucket.is_full() {
                return (step + 1, false);
            }
        }
        (BUCKETS, false)
    }

    /// Adds an entry; false if every bucket is full. The same hash may be there several times.
    #[must_use]
    pub(crate) fn insert(self, hash: u32, record: u32) -> bool {
        for step in 0..BUCKETS {
            let bucket = self.bucket(hash as usize + step);
            let free = bucket.matches(0);
            if free != 0 {
                bucket.set(free.trailing_zeros() as usize, hash, record);
                let filter = self.filter(hash);
                filter.store(filter.load(Relaxed) | filter_mask(hash), Relaxed);
                return true;
            }
        }
        false
    }

    /// Gives the entry of record `old` record `new`, if it is there.
    pub(crate) fn replace(self, hash: u32, old: u32, new: u32) {
        if let Some((bucket, at)) = self.locate(hash, old) {
            self.bucket(bucket).set(at, hash, new);
        }
    }

    /// Removes the entry of this record, if it is there.
    pub(crate) fn remove(self, hash: u32, record: u32) {
        let Some((bucket, at)) = self.locate(hash, record) else {
            return;
        };
        let was_full = self.bucket(bucket).is_full();
        self.bucket(bucket).set(at, 0, 0);
        if was_full {
            self.close_gap(bucket, at);
        }
        let home = hash as usize % BUCKETS;
        self.filters[home].store(self.filter_of(home), Relaxed);
    }

    /// The filter of a bucket, from the entries that belong into it.
    fn filter_of(self, home: usize) -> u64 {
        let mut filter = 0;
        for step in 0..BUCKETS {
            let bucket = self.bucket(home + step);
            for (hash, _) in bucket.entries() {
                if hash != 0 && hash as usize % BUCKETS == home {
                    filter |= filter_mask(hash);
                }
            }
            if !bucket.is_full() {
                break;
            }
        }
        filter
    }

    /// All entries: (hash, record).
    pub(crate) fn entries(self) -> impl Iterator<Item = (u32, u32)> + 'a {
        let all = self
            .buckets
            .iter()
            .flat_map(|words| Bucket(words).entries());
        all.filter(|(hash, _)| *hash != 0)
    }

    /// The record of an entry that a lookup of its hash would not come to.
    pub(crate) fn lost(self) -> Option<u32> {
        let is_lost = |(hash, record): &(u32, u32)| {
            let found = self.find(*hash, |other| other == *record);
            found.is_none() || !may_have(self.filter(*hash), *hash)
        };
        self.entries().find(is_lost).map(|(_, record)| record)
    }

    /// A bucket whose filter is not that of the entries which belong into it.
    pub(crate) fn wrong_filter(self) -> Option<usize> {
        (0..BUCKETS).find(|&home| self.filters[home].load(Relaxed) != self.filter_of(home))
    }

    /// Puts the entries whose bit of hash behind `depth` leading ones is clear into one page and the others into another, both
    /// empty. Returns how many went into each.
    pub(crate) fn split(self, depth: u8, halves: [NamePage<'_>; 2]) -> [u16; 2] {
        let mut counts = [0; 2];
        for (hash, record) in self.entries() {
            let half = (hash << depth >> 31) as usize;
            // A half has at most as many entries as the whole had, so there is room.
            counts[half] += u16::from(halves[half].insert(hash, record));
        }
        counts
    }

    fn locate(self, hash: u32, record: u32) -> Option<(usize, usize)> {
        for step in 0..BUCKETS {
            let index = (hash as usize + step) % BUCKETS;
            let bucket = self.bucket(index);
            let entries = bucket.entries();
            if let Some(at) = entries.iter().position(|entry| *entry == (hash, record)) {
                return Some((index, at));
            }
            if !bucket.is_full() {
                return None;
            }
        }
        None
    }

    /// Bucket `hole` was full and lost entry `at`: moves an entry back that was pushed over it, and so on.
    fn close_gap(self, mut hole: usize, mut at: usize) {
        let start = hole;
        let mut next = (hole + 1) % BUCKETS;
        while next != start {
            let from = self.bucket(next);
            let was_full = from.is_full();
            let distance = |home: u32, to: usize| to.wrapping_sub(home as usize) % BUCKETS;
            let pushed = (0..ENTRIES).find(|&i| {
                let home = from.hash(i);
                home != 0 && distance(home, hole) < distance(home, next)
            });
            if let Some(i) = pushed {
                self.bucket(hole)
                    .set(at, from.hash(i), from.record(i as u32));
                from.set(i, 0, 0);
                (hole, at) = (next, i);
            }
            if !was_full {
                return;
            }
            next = (next + 1) % BUCKETS;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// A page that is never given back.
    fn page() -> NamePage<'static> {
        let filters = Box::leak(Box::new(from_fn(|_| AtomicU64::new(0))));
        let bucket = |_| from_fn(|_| AtomicU32::new(0));
        let buckets = Box::leak(Box::new(from_fn(bucket)));
        NamePage { filters, buckets }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// Few homes, so that buckets overflow far and wrap around.
        #[test]
        fn behaves_like_a_set(ops in prop::collection::vec((28u32..38, 0u32..12, any::<bool>()), 1..400)) {
            let (page, mut model) = (page(), BTreeSet::new());
            for (home, record, add) in ops {
                let hash = home | (record % 3) << 8;
                if add && model.insert((hash, record)) {
                    prop_assert!(page.insert(hash, record));
                } else if !add && model.remove(&(hash, record)) {
                    page.remove(hash, record);
                }
            }
            for home in 28..38 {
                for record in 0..12 {
                    let hash = home | (record % 3) << 8;
                    let found = page.find(hash, |r| r == record).is_some();
                    prop_assert_eq!(found, model.contains(&(hash, record)));
                    prop_assert!(!found || may_have(page.filter(hash), hash));
                }
            }
            prop_assert_eq!((page.lost(), page.wrong_filter()), (None, None));
            let copy = self::page();
            copy.copy(page);
            prop_assert_eq!(page.entries().collect::<BTreeSet<_>>(), model.clone());
            prop_assert_eq!(copy.entries().collect::<BTreeSet<_>>(), model);
            page.clear();
            prop_assert_eq!(page.entries().count(), 0);
        }
    }

    #[test]
    fn a_full_page_refuses_and_still_finds() {
        let page = page();
        for record in 0..(BUCKETS * ENTRIES) as u32 {
            assert!(page.insert(5, record));
        }
        assert!(!page.insert(5, 9999));
        let last = (BUCKETS * ENTRIES) as u32 - 1;
        assert_eq!(page.find(5, |r| r == last), Some(last));
        assert_eq!(page.find(6, |_| true), None);
        page.remove(5, last);
        page.remove(5, 0);
        assert_eq!(page.find(5, |r| r == last), None);
        assert_eq!(page.entries().count(), BUCKETS * ENTRIES - 2);
    }

    #[test]
    fn a_split_follows_the_next_bit() {
        let page = page();
        for hash in [0x8000_0001, 0xc000_0001, 0xc000_0002] {
            assert!(page.insert(hash, hash));
        }
        let [clear, set] = [self::page(), self::page()];
        assert_eq!(page.split(1, [clear, set]), [1, 2]);
        set.replace(0xc000_0002, 0xc000_0002, 17);
        assert_eq!(
            clear.entries().collect::<Vec<_>>(),
            [(0x8000_0001, 0x8000_0001)]
        );
        assert_eq!(set.find(0xc000_0002, |_| true), Some(17));
    }
}
