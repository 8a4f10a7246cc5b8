//! A persistent map from 32-bit ids: one probe of one page to look up, one page copied to write.

use crate::directory::{Directory, Page};

const SLOTS: usize = 64;
/// Entries at which a page splits.
const SPLIT: usize = 44;

/// A page of a map: open addressing within it.
#[derive(Clone)]
struct IdPage<V> {
    slots: [Option<(u32, V)>; SLOTS],
    used: usize,
    depth: u32,
}

impl<V: Clone> IdPage<V> {
    fn new(depth: u32) -> Self {
        Self {
            slots: std::array::from_fn(|_| None),
            used: 0,
            depth,
        }
    }

    /// The slot of this id, or the free one where it would go; `None` if the page is full.
    #[inline(always)]
    fn slot(&self, id: u32) -> Option<usize> {
        let home = mix(id) as usize;
        (0..SLOTS).map(|step| (home + step) % SLOTS).find(|&at| {
            self.slots[at]
                .as_ref()
                .is_none_or(|(other, _)| *other == id)
        })
    }

    fn put(&mut self, id: u32, value: V) -> Option<V> {
        let at = self.slot(id)?;
        let old = self.slots[at].replace((id, value));
        self.used += usize::from(old.is_none());
        old.map(|(_, value)| value)
    }

    fn remove(&mut self, id: u32) -> Option<V> {
        let at = self.slot(id)?;
        let (_, value) = self.slots[at].take()?;
        self.used -= 1;
        // Entries behind the hole may have been pushed over it: place them again.
        let mut next = (at + 1) % SLOTS;
        while let Some((id, value)) = self.slots[next].take() {
            self.used -= 1;
            self.put(id, value);
            next = (next + 1) % SLOTS;
        }
        Some(value)
    }
}

impl<V: Clone> Page for IdPage<V> {
    fn depth(&self) -> u32 {
        self.depth
    }

    fn split(&self) -> (Self, Self) {
        let (mut clear, mut set) = (Self::new(self.depth + 1), Self::new(self.depth + 1));
        for (id, value) in self.slots.iter().flatten() {
            let half = if mix(*id) << self.depth >> 31 == 0 {
                &mut clear
            } else {
                &mut set
            };
            half.put(*id, value.clone());
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
        let page = self.directory.page(mix(id));
        let slot = page.slots[page.slot(id)?].as_ref();
        slot.map(|(_, value)| value)
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
        let entries = self
            .directory
            .pages()
            .flat_map(|page| page.slots.iter().flatten());
        entries.map(|(id, value)| (*id, value))
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
