//! A split virtqueue, the driver's side (virtio 1.2, §2.7): which buffers the device has, and which it gave back.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::fence;

use crate::error::{Lie, VhostError};
use crate::memory::{BASE, Memory};

/// The buffer goes on in another.
pub const NEXT: u16 = 1;
/// The device may write to it.
pub const WRITE: u16 = 2;
/// In `flags` of either ring: the other end needs no notification.
const SILENCE: u16 = 1;
/// Bytes of a descriptor.
const DESCRIPTOR: usize = 16;

/// Where the three parts are in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// Descriptors.
    pub table: usize,
    /// Buffers for the device.
    pub available: usize,
    /// Buffers that it gave back.
    pub used: usize,
}

impl Places {
    /// Behind `at`, for `size` buffers; and what follows them.
    pub fn new(at: usize, size: u16) -> (Places, usize) {
        let size = usize::from(size);
        let table = at.next_multiple_of(64);
        let available = (table + DESCRIPTOR * size).next_multiple_of(64);
        let used = (available + 6 + 2 * size).next_multiple_of(64);
        let places = Places {
            table,
            available,
            used,
        };
        (places, used + 6 + 8 * size)
    }
}

/// One queue.
#[derive(Debug)]
pub struct Ring {
    memory: Arc<Memory>,
    places: Places,
    size: u16,
    /// Whether each end says at which index it wants to be notified next, rather than whether at all.
    by_index: bool,
    /// Next to be made available, and up to where the device was told. Indices run on and wrap at 65,536.
    available: u16,
    told: u16,
    /// Next to be taken back.
    used: u16,
}

impl Ring {
    /// An empty ring of `size` buffers, a power of two.
    pub fn new(memory: Arc<Memory>, places: Places, size: u16, by_index: bool) -> Ring {
        Ring {
            memory,
            places,
            size,
            by_index,
            available: 0,
            told: 0,
            used: 0,
        }
    }

    /// How many buffers there are.
    pub fn size(&self) -> u16 {
        self.size
    }

    fn slot(&self, index: u16) -> usize {
        usize::from(index & (self.size - 1))
    }

    /// Describes buffer `id`: `length` bytes at `place` of the memory.
    pub fn describe(
        &self,
        id: u16,
        place: usize,
        length: u32,
        flags: u16,
        next: u16,
    ) -> Result<(), VhostError> {
        let at = self.places.table + DESCRIPTOR * self.slot(id);
        let rest = u64::from(length) | u64::from(flags) << 32 | u64::from(next) << 48;
        let address = (BASE + place as u64).to_le();
        self.memory.u64(at)?.store(address, Relaxed);
        self.memory.u64(at + 8)?.store(rest.to_le(), Relaxed);
        Ok(())
    }

    /// Puts a chain that begins with `head` behind those that the device is told next.
    pub fn offer(&mut self, head: u16) -> Result<(), VhostError> {
        let at = self.places.available + 4 + 2 * self.slot(self.available);
        self.memory.u16(at)?.store(head.to_le(), Relaxed);
        self.available = self.available.wrapping_add(1);
        Ok(())
    }

    /// How many the device was not told yet.
    pub fn untold(&self) -> u16 {
        self.available.wrapping_sub(self.told)
    }

    /// Tells the device; whether it wants to be woken for it.
    pub fn tell(&mut self) -> Result<bool, VhostError> {
        let (old, new) = (self.told, self.available);
        if old == new {
            return Ok(false);
        }
        let at = self.places.available + 2;
        // What was described and offered is to be seen with it.
        self.memory.u16(at)?.store(new.to_le(), Release);
        self.told = new;
        // The device says that it goes to sleep, and then looks again: one of both sees the other.
        fence(SeqCst);
        if self.by_index {
            let at = self.places.used + 4 + 8 * usize::from(self.size);
            let wanted = u16::from_le(self.memory.u16(at)?.load(Relaxed));
            Ok(passes(wanted, old, new))
        } else {
            let flags = u16::from_le(self.memory.u16(self.places.used)?.load(Relaxed));
            Ok(flags & SILENCE == 0)
        }
    }

    /// How many chains the device gave back that were not taken; at most `lent`, which is how many it has.
    pub fn returned(&self, lent: u16) -> Result<u16, VhostError> {
        let index = u16::from_le(self.memory.u16(self.places.used + 2)?.load(Acquire));
        let returned = index.wrapping_sub(self.used);
        if returned > lent {
            return Err(VhostError::Lied(Lie::Count));
        }
        Ok(returned)
    }

    /// The next of those that [`Ring::returned`] told: the chain's head, and how many bytes were written to it. Neither is checked here, but that the head can be
    /// an id at all.
    pub fn take(&mut self) -> Result<(u16, u32), VhostError> {
        let at = self.places.used + 4 + 8 * self.slot(self.used);
        let id = u32::from_le(self.memory.u32(at)?.load(Relaxed));
        let length = u32::from_le(self.memory.u32(at + 4)?.load(Relaxed));
        self.used = self.used.wrapping_add(1);
        match u16::try_from(id) {
            Ok(id) if id < self.size => Ok((id, length)),
            _ => Err(VhostError::Lied(Lie::Id)),
        }
    }

    /// Asks to be notified when the device gives more back. Whether it did so meanwhile is to be looked at once more behind it.
    pub fn ask(&self) -> Result<(), VhostError> {
        if self.by_index {
            self.wanted(self.used)?;
        } else {
            self.flags(0)?;
        }
        fence(SeqCst);
        Ok(())
    }

    /// Asks for no notifications. By index they stop by themselves, after one: nothing needs to be written.
    pub fn hush(&self) -> Result<(), VhostError> {
        if self.by_index {
            return Ok(());
        }
        self.flags(SILENCE)
    }

    /// Asks for none for as long as possible: at the start, where by index the first would be told.
    pub fn hush_long(&self) -> Result<(), VhostError> {
        if self.by_index {
            return self.wanted(self.used.wrapping_sub(1));
        }
        self.flags(SILENCE)
    }

    fn wanted(&self, index: u16) -> Result<(), VhostError> {
        let at = self.places.available + 4 + 2 * usize::from(self.size);
        self.memory.u16(at)?.store(index.to_le(), Relaxed);
        Ok(())
    }

    fn flags(&self, flags: u16) -> Result<(), VhostError> {
        let at = self.places.available;
        self.memory.u16(at)?.store(flags.to_le(), Relaxed);
        Ok(())
    }
}

/// Whether going from `old` to `new` passes the index at which the other end wants to be notified (virtio 1.2, §2.7.10).
fn passes(wanted: u16, old: u16, new: u16) -> bool {
    new.wrapping_sub(wanted).wrapping_sub(1) < new.wrapping_sub(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_passed_also_where_indices_wrap() {
        for (wanted, old, new, passed) in [
            (0, 0, 1, true),
            (5, 0, 5, false),
            (4, 0, 5, true),
            (0xffff, 0, 1, false),
            (0xffff, 0xfffe, 0, true),
            (0xffff, 0xffff, 3, true),
            (2, 0xfff0, 2, false),
            (1, 0xfff0, 2, true),
            (7, 7, 7, false),
        ] {
            assert_eq!(passes(wanted, old, new), passed, "{wanted} {old} {new}");
        }
    }

    #[test]
    fn parts_are_aligned_and_do_not_overlap() {
        for size in [1_u16, 2, 64, 256, 1_024, 32_768] {
            let (places, end) = Places::new(100, size);
            let size = usize::from(size);
            assert!(places.table >= 100 && places.table.is_multiple_of(16));
            assert!(places.available >= places.table + 16 * size);
            // An index at the end of each, too.
            assert!(places.used >= places.available + 6 + 2 * size);
            assert!(places.used.is_multiple_of(4));
            assert!(end >= places.used + 6 + 8 * size);
        }
    }
}
