//! Memory that all generations of a table share: blocks by number, in chunks that stay where they are.
//!
//! A block is written by one transaction, before any reader can know its number, and is then what it is until no generation that
//! reaches it is left ([`crate::ledger`] knows when). So a generation is a handful of numbers, copying one costs nothing
//! for the blocks that it shares, and nobody counts references to them. Blocks are made of atomics, which are plain loads and
//! stores here: a wrong number would give a wrong answer, never undefined behaviour.

use std::sync::Arc;

use crate::raw::huge::{Huge, Plain};

/// Blocks, `N` to a chunk. A clone sees the blocks that there were.
pub(crate) struct Blocks<T, const N: usize> {
    chunks: Arc<[Huge<[T; N]>]>,
}

impl<T, const N: usize> Clone for Blocks<T, N> {
    fn clone(&self) -> Self {
        Self {
            chunks: Arc::clone(&self.chunks),
        }
    }
}

impl<T: Plain, const N: usize> Blocks<T, N> {
    /// One chunk of zeros.
    pub(crate) fn new() -> Self {
        Self {
            chunks: Arc::new([Huge::new()]),
        }
    }

    /// Number of blocks.
    pub(crate) fn len(&self) -> usize {
        self.chunks.len() * N
    }

    /// The block with this number, which must be below `len`.
    #[inline(always)]
    pub(crate) fn at(&self, number: u32) -> &T {
        &self.chunks[number as usize / N][number as usize % N]
    }

    /// The block with this number, which must be below `len`, and those behind it in its chunk.
    #[inline(always)]
    pub(crate) fn from(&self, number: u32) -> &[T] {
        &self.chunks[number as usize / N][number as usize % N..]
    }

    /// Adds a chunk of zeros.
    pub(crate) fn grow(&mut self) {
        let more = std::iter::once(Huge::new());
        self.chunks = self.chunks.iter().cloned().chain(more).collect();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::*;

    #[test]
    fn blocks_stay_where_they_are_while_there_come_more() {
        let mut blocks: Blocks<AtomicU32, 8> = Blocks::new();
        let old = blocks.clone();
        blocks.at(7).store(70, Relaxed);
        blocks.grow();
        blocks.at(8).store(80, Relaxed);
        assert_eq!((old.len(), blocks.len()), (8, 16));
        assert_eq!(
            (old.at(7).load(Relaxed), blocks.at(8).load(Relaxed)),
            (70, 80)
        );
        assert!(std::ptr::eq(old.at(7), blocks.at(7)));
        assert_eq!((blocks.from(13).len(), blocks.from(8).len()), (3, 8));
    }
}
