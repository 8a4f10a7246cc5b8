//! Frames to the device.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use nix::sys::eventfd::EventFd;

use crate::buffers::{Buffers, HEADER};
use crate::error::{Lie, VhostError};
use crate::memory::Memory;
use crate::ring::{NEXT, Ring};

/// The sending half of a port.
#[derive(Debug)]
pub struct Transmit {
    pub(crate) ring: Ring,
    memory: Arc<Memory>,
    buffers: Buffers,
    max_frame: usize,
    /// Buffers that nothing is in. The one that became free last is used first: it is in the cache still.
    free: Vec<u16>,
    /// By the first buffer of a frame that the device has: how many it takes. 0: the device has none that begins there.
    counts: Vec<u16>,
    /// By buffer: the next of the same frame.
    next: Vec<u16>,
    /// Frames that the device has, and that it is not told yet.
    lent: u16,
    kick: EventFd,
    room: Arc<EventFd>,
    /// Whether the device was asked to tell of room.
    asked: bool,
    /// Kicks so far.
    kicks: u64,
}

impl Transmit {
    pub(crate) fn new(
        ring: Ring,
        memory: Arc<Memory>,
        buffers: Buffers,
        max_frame: usize,
        kick: EventFd,
        room: Arc<EventFd>,
    ) -> Result<Transmit, VhostError> {
        let size = ring.size();
        ring.hush_long()?;
        Ok(Transmit {
            free: (0..size).rev().collect(),
            counts: vec![0; size.into()],
            next: vec![0; size.into()],
            lent: 0,
            ring,
            memory,
            buffers,
            max_frame,
            kick,
            room,
            asked: false,
            kicks: 0,
        })
    }

    /// Longest frame, bytes.
    #[must_use]
    pub fn max_frame(&self) -> usize {
        self.max_frame
    }

    /// How often the device had to be woken so far.
    #[must_use]
    pub fn kicks(&self) -> u64 {
        self.kicks
    }

    /// Whether so many frames of `length` bytes fit now.
    ///
    /// # Errors
    /// The port is of no use any more.
    pub fn has_room(&mut self, frames: usize, length: usize) -> Result<bool, VhostError> {
        let count = frames * (HEADER + length).div_ceil(self.buffers.size);
        if self.free.len() < count {
            self.reclaim()?;
        }
        Ok(self.free.len() >= count)
    }

    /// Puts a frame, which is these parts one behind the other, to those that leave with the next [`Transmit::flush`]. `false`: there is no room for it now.
    ///
    /// # Errors
    /// [`VhostError::TooLong`]; any other means that the port is of no use any more.
    pub fn push(&mut self, parts: &[&[u8]]) -> Result<bool, VhostError> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if length > self.max_frame {
            let max = self.max_frame;
            return Err(VhostError::TooLong { length, max });
        }
        let size = self.buffers.size;
        let count = (HEADER + length).div_ceil(size);
        // Once per burst also where there is room: what was used last is used again.
        if self.ring.untold() == 0 || self.free.len() < count {
            self.reclaim()?;
        }
        let Some(keep) = self.free.len().checked_sub(count) else {
            return Ok(false);
        };
        if std::mem::take(&mut self.asked) {
            self.ring.hush()?;
        }
        // The last one is the first of the frame.
        let mut ids = self.free.iter().skip(keep).rev().copied();
        let Some(head) = ids.next() else {
            return Ok(false);
        };
        let mut id = head;
        let mut at = HEADER;
        self.memory.write(self.buffers.place(id), &[0; HEADER])?;
        for part in parts {
            let mut rest = *part;
            while !rest.is_empty() {
                if at == size {
                    let Some(next) = ids.next() else {
                        return Err(VhostError::Lied(Lie::Place));
                    };
                    let place = self.buffers.place(id);
                    self.ring.describe(id, place, size as u32, NEXT, next)?;
                    if let Some(slot) = self.next.get_mut(usize::from(id)) {
                        *slot = next;
                    }
                    (id, at) = (next, 0);
                }
                let (now, later) = rest.split_at(rest.len().min(size - at));
                self.memory.write(self.buffers.place(id) + at, now)?;
                at += now.len();
                rest = later;
            }
        }
        let place = self.buffers.place(id);
        self.ring.describe(id, place, at as u32, 0, 0)?;
        self.ring.offer(head)?;
        if let Some(slot) = self.counts.get_mut(usize::from(head)) {
            *slot = count as u16;
        }
        self.free.truncate(keep);
        self.lent += 1;
        Ok(true)
    }

    /// Tells the device of what was pushed, and wakes it if it sleeps.
    ///
    /// # Errors
    /// The port is of no use any more.
    pub fn flush(&mut self) -> Result<(), VhostError> {
        if self.ring.tell()? {
            self.kicks += 1;
            self.kick
                .write(1)
                .map_err(|error| VhostError::Memory(error.into()))?;
        }
        Ok(())
    }

    fn reclaim(&mut self) -> Result<(), VhostError> {
        let told = self.lent - self.ring.untold();
        for _ in 0..self.ring.returned(told)? {
            let (head, _) = self.ring.take()?;
            let count = self.counts.get_mut(usize::from(head));
            let count = count.map_or(0, std::mem::take);
            if count == 0 {
                return Err(VhostError::Lied(Lie::Id));
            }
            let mut id = head;
            for _ in 0..count {
                self.free.push(id);
                id = self.next.get(usize::from(id)).copied().unwrap_or_default();
            }
            self.lent -= 1;
        }
        Ok(())
    }

    /// After [`Transmit::push`] found no room: asks to be told by [`Transmit::room`] when there is some. `false`: there is some by now, so that nothing will be told.
    ///
    /// # Errors
    /// The port is of no use any more.
    pub fn arm(&mut self) -> Result<bool, VhostError> {
        self.reclaim()?;
        self.ring.ask()?;
        self.asked = true;
        let told = self.lent - self.ring.untold();
        Ok(self.ring.returned(told)? == 0)
    }

    /// Becomes readable after [`Transmit::arm`], when the device gave buffers back.
    #[must_use]
    pub fn room(&self) -> &Arc<EventFd> {
        &self.room
    }

    /// By which the device is woken.
    pub(crate) fn kick(&self) -> &EventFd {
        &self.kick
    }
}

impl AsFd for Transmit {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.room.as_fd()
    }
}
