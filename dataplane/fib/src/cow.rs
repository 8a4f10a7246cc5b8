//! A persistent vector of pages in two levels: a clone is one reference count, a write copies one
//! page and the two nodes above it, once per transaction.

use std::sync::Arc;

/// Pages per node of the upper level.
const FAN_OUT: usize = 64;

type Node<T> = [Arc<T>; FAN_OUT];

/// Pages, shared with every clone until they are written.
pub(crate) struct CowVec<T> {
    root: Arc<[Arc<Node<T>>]>,
}

impl<T> Clone for CowVec<T> {
    fn clone(&self) -> Self {
        Self {
            root: Arc::clone(&self.root),
        }
    }
}

impl<T: Clone> CowVec<T> {
    /// One page per item, rounded up with references to the last.
    pub(crate) fn from_arcs(pages: &[Arc<T>]) -> Self {
        let root = pages.chunks(FAN_OUT).map(|pages| {
            let at = |i: usize| Arc::clone(&pages[i.min(pages.len() - 1)]);
            Arc::new(std::array::from_fn(at))
        });
        Self {
            root: root.collect(),
        }
    }

    /// Number of pages, always a multiple of the fan-out.
    pub(crate) fn len(&self) -> usize {
        self.root.len() * FAN_OUT
    }

    /// The page at `index`, which must be below `len`.
    #[inline(always)]
    pub(crate) fn get(&self, index: usize) -> &T {
        &self.root[index / FAN_OUT][index % FAN_OUT]
    }

    /// The page at `index` for writing; copied first if a clone of this vector shares it.
    pub(crate) fn get_mut(&mut self, index: usize) -> &mut T {
        Arc::make_mut(self.slot_mut(index))
    }

    /// The reference at `index`.
    pub(crate) fn arc(&self, index: usize) -> &Arc<T> {
        &self.root[index / FAN_OUT][index % FAN_OUT]
    }

    /// Replaces the reference at `index`.
    pub(crate) fn set(&mut self, index: usize, page: Arc<T>) {
        *self.slot_mut(index) = page;
    }

    fn slot_mut(&mut self, index: usize) -> &mut Arc<T> {
        let node = &mut Arc::make_mut(&mut self.root)[index / FAN_OUT];
        &mut Arc::make_mut(node)[index % FAN_OUT]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_not_seen_by_clones_and_copies_one_page() {
        let pages: Vec<Arc<u32>> = (0..130).map(Arc::new).collect();
        let old = CowVec::from_arcs(&pages);
        assert_eq!(old.len(), 192);
        let mut new = old.clone();
        *new.get_mut(70) = 1000;
        assert_eq!((*old.get(70), *new.get(70)), (70, 1000));
        let shared = (0..130)
            .filter(|&i| Arc::ptr_eq(old.arc(i), new.arc(i)))
            .count();
        assert_eq!(shared, 129);
        let before = Arc::as_ptr(new.arc(70));
        *new.get_mut(70) += 1;
        assert_eq!(
            before,
            Arc::as_ptr(new.arc(70)),
            "copied once per transaction"
        );
    }
}
