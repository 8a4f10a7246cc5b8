//! Extendible hashing over numbered pages: a directory by the leading bits of a 32-bit hash, in which one full page splits
//! without moving any other. A table grows page by page, so no transaction pays for a rehash.

use std::sync::Arc;

/// Entries of a node: what is copied of the directory when a page is written.
const FAN_OUT: usize = 256;
/// Leading bits that an empty directory tells apart: one node.
const MIN_DEPTH: u8 = FAN_OUT.ilog2() as u8;

type Node = [u32; FAN_OUT];

/// Numbers of pages by the leading bits of a hash. Neighbouring entries have the same page as long as it has not needed all of the
/// bits yet. A clone is one reference count, a write copies one node, once per transaction.
#[derive(Clone)]
pub(crate) struct Index {
    nodes: Arc<[Arc<Node>]>,
    depth: u8,
}

impl Index {
    /// One page for all.
    pub(crate) fn new(page: u32) -> Self {
        Self {
            nodes: Arc::new([Arc::new([page; FAN_OUT])]),
            depth: MIN_DEPTH,
        }
    }

    /// The page of this hash.
    #[inline(always)]
    pub(crate) fn page(&self, hash: u32) -> u32 {
        let at = (hash >> (32 - self.depth)) as usize;
        self.nodes[at / FAN_OUT][at % FAN_OUT]
    }

    /// Leading bits that are told apart.
    pub(crate) fn depth(&self) -> u8 {
        self.depth
    }

    /// Gives all hashes that share `depth` leading bits with this one another page.
    pub(crate) fn set(&mut self, hash: u32, depth: u8, page: u32) {
        let count = 1 << (self.depth - depth);
        let first = (hash >> (32 - self.depth)) as usize & !(count - 1);
        let nodes = Arc::make_mut(&mut self.nodes);
        let mut at = first;
        while at < first + count {
            let end = (first + count - at / FAN_OUT * FAN_OUT).min(FAN_OUT);
            let node = Arc::make_mut(&mut nodes[at / FAN_OUT]);
            node[at % FAN_OUT..end].fill(page);
            at = (at / FAN_OUT + 1) * FAN_OUT;
        }
    }

    /// Tells one more bit apart.
    pub(crate) fn double(&mut self) {
        let half = |node: &Arc<Node>, half: usize| {
            Arc::new(std::array::from_fn(|i| node[half * FAN_OUT / 2 + i / 2]))
        };
        let nodes = self.nodes.iter();
        self.nodes = nodes
            .flat_map(|node| [half(node, 0), half(node, 1)])
            .collect();
        self.depth += 1;
    }

    /// Entry by entry: as many equal ones follow each other as share a page.
    pub(crate) fn entries(&self) -> impl Iterator<Item = u32> + '_ {
        self.nodes.iter().flat_map(|node| node.iter().copied())
    }

    /// Bytes of all nodes.
    pub(crate) fn bytes(&self) -> usize {
        self.nodes.len() * (size_of::<Node>() + size_of::<Arc<Node>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_the_leading_bits() {
        let mut index = Index::new(7);
        let old = index.clone();
        index.set(0x8000_0000, 1, 8);
        for _ in 0..3 {
            index.double();
        }
        index.set(0xc123_4567, 11, 9);
        index.set(0x4000_0000, 2, 10);
        assert_eq!(index.depth(), MIN_DEPTH + 3);
        for (hash, page) in [
            (0, 7),
            (0x3fff_ffff, 7),
            (0x4000_0000, 10),
            (0x7fff_ffff, 10),
            (0x8000_0000, 8),
            (0xc123_4567, 9),
            (0xc13f_ffff, 9),
            (0xc140_0000, 8),
            (u32::MAX, 8),
        ] {
            assert_eq!(index.page(hash), page, "{hash:x}");
        }
        assert_eq!(index.entries().count(), 2048);
        assert!(old.entries().all(|page| page == 7));
    }
}
