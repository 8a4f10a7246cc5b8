//! Between a worker and the reader of its counts: an empty table for a full one, by pointer. Each has its own meanwhile; neither waits.

use crossbeam_queue::ArrayQueue;

use super::Tally;

/// One worker's.
#[derive(Debug)]
pub struct Exchange {
    empty: ArrayQueue<Box<Tally>>,
    full: ArrayQueue<Box<Tally>>,
}

impl Default for Exchange {
    fn default() -> Exchange {
        Exchange {
            empty: ArrayQueue::new(1),
            full: ArrayQueue::new(1),
        }
    }
}

impl Exchange {
    /// The reader's: lays an empty table down; gives it back if one lies there.
    pub fn offer(&self, tally: Box<Tally>) -> Option<Box<Tally>> {
        self.empty.push(tally).err()
    }

    /// The reader's: what the worker laid down.
    pub fn take(&self) -> Option<Box<Tally>> {
        self.full.pop()
    }

    /// Whether an empty table lies there: who is about to sleep takes it first.
    #[inline]
    pub fn is_offered(&self) -> bool {
        !self.empty.is_empty()
    }

    /// The worker's, between rounds: takes the empty table, if there is one, and lays its own down.
    #[inline]
    pub fn trade(&self, own: &mut Box<Tally>) {
        if self.is_offered() {
            self.swap(own);
        }
    }

    #[cold]
    fn swap(&self, own: &mut Box<Tally>) {
        // What lies there first has to be taken: nothing is freed here.
        if self.full.is_full() {
            return;
        }
        if let Some(empty) = self.empty.pop() {
            let full = std::mem::replace(own, empty);
            // There is room: only this worker lays down.
            let _ = self.full.push(full);
        }
    }
}
