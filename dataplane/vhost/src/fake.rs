//! The device's side of a queue, for tests: one that does what it should, and one that lies.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::memory::{BASE, Memory};
use crate::ring::Places;

/// The other end of a queue.
pub struct Fake {
    pub memory: Arc<Memory>,
    pub places: Places,
    pub size: u16,
    pub seen: u16,
    pub used: u16,
}

/// A buffer as it is described: where, how long, flags, next.
pub type Described = (usize, u32, u16, u16);

impl Fake {
    pub fn new(memory: &Arc<Memory>, places: Places, size: u16) -> Fake {
        Fake {
            memory: Arc::clone(memory),
            places,
            size,
            seen: 0,
            used: 0,
        }
    }

    /// The next chain's head.
    pub fn next(&mut self) -> Option<u16> {
        let index = self.memory.u16(self.places.available + 2).unwrap();
        if index.load(Acquire) == self.seen {
            return None;
        }
        let slot = usize::from(self.seen % self.size);
        self.seen = self.seen.wrapping_add(1);
        let head = self.memory.u16(self.places.available + 4 + 2 * slot);
        Some(head.unwrap().load(Relaxed))
    }

    pub fn described(&self, id: u16) -> Described {
        let at = self.places.table + 16 * usize::from(id);
        let address = self.memory.u64(at).unwrap().load(Relaxed);
        let rest = self.memory.u64(at + 8).unwrap().load(Relaxed);
        let place = (address - BASE) as usize;
        (place, rest as u32, (rest >> 32) as u16, (rest >> 48) as u16)
    }

    /// Gives a chain back without saying so.
    pub fn put(&mut self, id: u32, length: u32) {
        let at = self.places.used + 4 + 8 * usize::from(self.used % self.size);
        self.memory.u32(at).unwrap().store(id, Relaxed);
        self.memory.u32(at + 4).unwrap().store(length, Relaxed);
        self.used = self.used.wrapping_add(1);
    }

    /// Says how much it gave back.
    pub fn say(&self, index: u16) {
        let at = self.places.used + 2;
        self.memory.u16(at).unwrap().store(index, Release);
    }

    /// Where the driver wants to be notified, and where this end does.
    pub fn wanted(&self) -> u16 {
        let at = self.places.available + 4 + 2 * usize::from(self.size);
        self.memory.u16(at).unwrap().load(Relaxed)
    }

    pub fn want(&self, index: u16) {
        let at = self.places.used + 4 + 8 * usize::from(self.size);
        self.memory.u16(at).unwrap().store(index, Relaxed);
    }

    pub fn flags(&self, flags: u16) {
        self.memory
            .u16(self.places.used)
            .unwrap()
            .store(flags, Relaxed);
    }
}
