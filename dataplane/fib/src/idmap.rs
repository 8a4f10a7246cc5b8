//! A persistent map from 32-bit ids: one probe of one page to look up, one page copied to write.

use std::ptr;

use crate::audit::{Fault, same};
use crate::directory::{Directory, Page};
use crate::raw;

/// Ids that are compared at once.
const BUCKET: usize = 8;
const BUCKETS: usize = 8;
const SLOTS: usize = BUCKET * BUCKETS;
/// Entries at which a page splits.
const SPLIT: usize = 44;

/// A page of a map. An entry is in the bucket that its id belongs to, or, where that was full, anywhere in the page.
#[derive(Clone)]
struct IdPage<V> {
    /// Of the entries; of free ones anything.
    ids: [[u32; BUCKET]; BUCKETS],
    values: [Option<V>; SLOTS],
    used: usize,
    depth: u32,
}

impl<V: Clone> IdPage<V> {
    fn new(depth: u32) -> Self {
        Self {
            ids: [[0; BUCKET]; BUCKETS],
            values: std::array::from_fn(|_| None),
            used: 0,
            depth,
        }
    }

    #[inline(always)]
    fn get(&self, id: u32, hash: u32) -> Option<&V> {
        let home = hash as usize % BUCKETS;
        let mask = raw::equal_ids(&self.ids[home], id);
        let first = home * BUCKET + mask.trailing_zeros() as usize % BUCKET;
        match &self.values[first] {
            Some(value) if mask != 0 => Some(value),
            _ => self.values[self.slot(id)?].as_ref(),
        }
    }

    /// Where the entry with this id is.
    #[inline(never)] // for lookups: one in twenty is not in its bucket
    fn slot(&self, id: u32) -> Option<usize> {
        let home = mix(id) as usize;
        for bucket in (home..home + BUCKETS).map(|bucket| bucket % BUCKETS) {
            let mut mask = raw::equal_ids(&self.ids[bucket], id);
            while mask != 0 {
                let at = bucket * BUCKET + mask.trailing_zeros() as usize;
                if self.values[at].is_some() {
                    return Some(at);
                }
                mask &= mask - 1;
            }
        }
        None
    }

    /// Where an entry with this id may go.
    fn free(&self, hash: u32) -> Option<usize> {
        let home = hash as usize % BUCKETS * BUCKET;
        (home..home + BUCKET)
            .chain(0..SLOTS)
            .find(|&at| self.values[at].is_none())
    }

    fn put(&mut self, id: u32, value: V) -> Option<V> {
        let at = self.slot(id).or_else(|| self.free(mix(id)))?;
        self.ids.as_flattened_mut()[at] = id;
        let old = self.values[at].replace(value);
        self.used += usize::from(old.is_none());
        old
    }

    fn remove(&mut self, id: u32) -> Option<V> {
        let old = self.values[self.slot(id)?].take();
        self.used -= usize::from(old.is_some());
        old
    }

    fn entries(&self) -> impl Iterator<Item = (u32, &V)> {
        let all = self.ids.as_flattened().iter().zip(&self.values);
        all.filter_map(|(id, value)| Some((*id, value.as_ref()?)))
    }
}

impl<V: Clone> Page for IdPage<V> {
    fn depth(&self) -> u32 {
        self.depth
    }

    fn split(&self) -> (Self, Self) {
        let (mut clear, mut set) = (Self::new(self.depth + 1), Self::new(self.depth + 1));
        for (id, value) in self.entries() {
            let half = if mix(id) << self.depth >> 31 == 0 {
                &mut clear
            } else {
                &mut set
            };
            half.put(id, value.clone());
        }
        (clear, set)
    }
}

/// Spreads ids that are given in sequence. One-to-one, so no page can fill with equal hashes.
#[inline(always)]
fn mix(id: u32) -> u32 {
    let id = (id ^ id >> 16).wrapping_mul(0x85eb_ca6b);
    let id = (id ^ id >> 13).wrapping_mul(0xc2b2_ae35);
    id ^ id >> 16
}

/// The map.
pub(crate) struct IdMap<V> {
    directory: Directory<IdPage<V>>,
    len: usize,
}

impl<V> Clone for IdMap<V> {
    fn clone(&self) -> Self {
        Self {
            directory: self.directory.clone(),
            len: self.len,
        }
    }
}

impl<V: Clone> IdMap<V> {
    pub(crate) fn new() -> Self {
        Self {
            directory: Directory::new(IdPage::new(0)),
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    pub(crate) fn get(&self, id: u32) -> Option<&V> {
        let hash = mix(id);
        self.directory.page(hash).get(id, hash)
    }

    pub(crate) fn put(&mut self, id: u32, value: V) -> Option<V> {
        let hash = mix(id);
        while self.directory.page(hash).used >= SPLIT && self.directory.split(hash) {}
        let old = self.directory.update(hash, |page| page.put(id, value));
        self.len += usize::from(old.is_none());
        old
    }

    pub(crate) fn remove(&mut self, id: u32) -> Option<V> {
        self.get(id)?;
        self.len -= 1;
        self.directory.update(mix(id), |page| page.remove(id))
    }

    /// All entries, in no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &V)> {
        self.directory.pages().flat_map(IdPage::entries)
    }

    /// Whether every entry is found, and counted once.
    pub(crate) fn audit(&self, what: &'static str) -> Result<(), Fault> {
        if !self.directory.is_sound() {
            return Err(Fault::Directory(what));
        }
        let mut found = 0;
        for page in self.directory.pages() {
            let before = found;
            for (id, value) in page.entries() {
                if !self.get(id).is_some_and(|other| ptr::eq(other, value)) {
                    return Err(Fault::Id { what, id });
                }
                found += 1;
            }
            same(what, page.used, found - before)?;
        }
        same(what, self.len, found)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.directory.bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn content<V: Clone>(map: &IdMap<V>) -> BTreeMap<u32, V> {
        map.iter().map(|(id, value)| (id, value.clone())).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn behaves_like_a_btree_map(
            ops in prop::collection::vec((0u32..300, prop::option::weighted(0.6, any::<u16>())), 1..900)
        ) {
            let (mut map, mut model) = (IdMap::new(), BTreeMap::new());
            let mut old = (map.clone(), model.clone());
            for (i, (id, value)) in ops.into_iter().enumerate() {
                match value {
                    Some(value) => prop_assert_eq!(map.put(id, value), model.insert(id, value)),
                    None => prop_assert_eq!(map.remove(id), model.remove(&id)),
                }
                prop_assert_eq!(map.len(), model.len());
                if i % 100 == 0 {
                    prop_assert_eq!(content(&old.0), old.1, "an older clone changed");
                    old = (map.clone(), model.clone());
                }
            }
            for id in 0..300 {
                prop_assert_eq!(map.get(id), model.get(&id));
            }
            prop_assert_eq!(content(&map), model);
        }
    }

    #[test]
    fn what_a_lookup_does_not_find_and_what_is_counted_twice_is_told() {
        let mut map = IdMap::new();
        for id in 0..1_000u32 {
            map.put(id, id);
        }
        assert_eq!(map.audit("ids"), Ok(()));
        let mut counted = map.clone();
        counted.len += 1;
        assert!(matches!(counted.audit("ids"), Err(Fault::Count { .. })));
        // An id that belongs to a page of another half of the hashes.
        let stranger = (1_000..).find(|id| mix(*id) >> 31 != mix(7) >> 31);
        let stranger = stranger.unwrap_or_default();
        map.directory.update(mix(7), |page| page.put(stranger, 0));
        let (what, id) = ("ids", stranger);
        assert_eq!(map.audit("ids"), Err(Fault::Id { what, id }));
    }

    #[test]
    fn grows_page_by_page() {
        let mut map = IdMap::new();
        for id in 0..20_000u32 {
            map.put(id, id);
        }
        assert!((0..20_000).all(|id| map.get(id) == Some(&id)));
        assert_eq!(map.get(20_000), None);
        assert!(map.bytes() < 20_000 * 40, "{} bytes", map.bytes());
    }
}
