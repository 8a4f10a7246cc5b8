//! A group of names that are looked up together, each within its window.

use arrayvec::ArrayVec;

use crate::hash::{Hasher, Sum, Window};

/// Keys of a burst that go through the stages of a lookup together.
pub(crate) const GROUP: usize = 16;

/// Keys of a group by their numbers.
pub(crate) type Numbers = ArrayVec<u8, GROUP>;

/// The names of a group of keys.
pub(crate) type Windows<'a, const BLOCKS: usize> = [&'a Window<BLOCKS>; GROUP];

/// A group of names that fit into their windows.
pub(crate) struct Short<'a, const BLOCKS: usize> {
    pub(crate) hasher: Hasher,
    pub(crate) windows: &'a Windows<'a, BLOCKS>,
    /// Bytes of the names.
    pub(crate) lens: [u16; GROUP],
    /// Numbers of components that prefixes of their domains have.
    pub(crate) presents: [u16; GROUP],
    /// What has come of the names before each block.
    pub(crate) sums: [[Sum; BLOCKS]; GROUP],
}

impl<const BLOCKS: usize> Short<'_, BLOCKS> {
    /// Of which of these names anything can be learned.
    pub(crate) fn in_domains_with_prefixes(&self, numbers: &Numbers) -> usize {
        let present = |number: &&u8| self.presents[usize::from(**number) % GROUP] != 0;
        numbers.iter().filter(present).count()
    }
}
