//! Frames from the device.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use nix::sys::eventfd::EventFd;

use crate::buffers::{Buffers, HEADER};
use crate::error::{Lie, VhostError};
use crate::memory::Memory;
use crate::ring::{Ring, WRITE};

/// Where the header says how many buffers the frame takes.
const COUNT: usize = 10;

/// The receiving half of a port.
#[derive(Debug)]
pub struct Receive {
    pub(crate) ring: Ring,
    memory: Arc<Memory>,
    buffers: Buffers,
    /// By buffer: whether the device has it.
    lent: Vec<bool>,
    lent_count: u16,
    /// The frame that is shown: copied, because the device could change what it has shared while somebody looks at it.
    frame: Box<[u8]>,
    /// Its length; `None`: the next one is to be taken.
    held: Option<usize>,
    /// Buffers that the device gave back and that were not taken, as far as was looked.
    waiting: u16,
    kick: EventFd,
    call: Arc<EventFd>,
    too_long: u64,
}

impl Receive {
    pub(crate) fn new(
        ring: Ring,
        memory: Arc<Memory>,
        buffers: Buffers,
        max_frame: usize,
        kick: EventFd,
        call: Arc<EventFd>,
    ) -> Result<Receive, VhostError> {
        let size = ring.size();
        let mut receive = Receive {
            lent: vec![false; size.into()],
            lent_count: 0,
            frame: vec![0; max_frame].into_boxed_slice(),
            held: None,
            waiting: 0,
            ring,
            memory,
            buffers,
            kick,
            call,
            too_long: 0,
        };
        receive.ring.hush_long()?;
        for id in 0..size {
            let (place, length) = (buffers.place(id), buffers.size as u32);
            receive.ring.describe(id, place, length, WRITE, 0)?;
            receive.lend(id)?;
        }
        Ok(receive)
    }

    /// Frames that were longer than the port's, and were dropped.
    #[must_use]
    pub fn too_long(&self) -> u64 {
        self.too_long
    }

    /// Shows what came, frame by frame, until `show` says that it has no room for one (`false`), which is shown again next time. How many it took.
    ///
    /// # Errors
    /// The port is of no use any more.
    pub fn receive(&mut self, show: &mut dyn FnMut(&[u8]) -> bool) -> Result<usize, VhostError> {
        let mut shown = 0;
        self.ring.hush()?;
        while let Some(length) = self.next()? {
            self.held = Some(length);
            if !show(self.frame.get(..length).unwrap_or_default()) {
                break;
            }
            self.held = None;
            shown += 1;
            if self.ring.untold() >= self.ring.size() / 4 {
                self.give()?;
            }
        }
        self.give()?;
        Ok(shown)
    }

    /// The next frame is in `frame`: its length.
    fn next(&mut self) -> Result<Option<usize>, VhostError> {
        if self.held.is_some() {
            return Ok(self.held);
        }
        loop {
            if self.waiting == 0 {
                let told = self.lent_count - self.ring.untold();
                self.waiting = self.ring.returned(told)?;
            }
            if self.waiting == 0 {
                return Ok(None);
            }
            let (id, written) = self.take()?;
            let at = self.buffers.place(id) + COUNT;
            let count = u16::from_le(
                self.memory
                    .u16(at)?
                    .load(std::sync::atomic::Ordering::Relaxed),
            );
            let more = count.checked_sub(1).filter(|more| *more <= self.waiting);
            let Some(more) = more else {
                return Err(VhostError::Lied(Lie::Buffers));
            };
            let first = written.checked_sub(HEADER);
            let first = first.ok_or(VhostError::Lied(Lie::Length))?;
            let mut end = self.copy(id, HEADER, first, 0)?;
            for _ in 0..more {
                let (id, written) = self.take()?;
                end = self.copy(id, 0, written, end)?;
            }
            if end <= self.frame.len() {
                return Ok(Some(end));
            }
            self.too_long += 1;
        }
    }

    /// A buffer that the device gave back, and how much it wrote to it; the device is lent it again with the next [`Receive::give`].
    fn take(&mut self) -> Result<(u16, usize), VhostError> {
        self.waiting -= 1;
        let (id, written) = self.ring.take()?;
        let lent = self.lent.get_mut(usize::from(id));
        if !lent.is_some_and(std::mem::take) {
            return Err(VhostError::Lied(Lie::Id));
        }
        self.lent_count -= 1;
        if written as usize > self.buffers.size {
            return Err(VhostError::Lied(Lie::Length));
        }
        Ok((id, written as usize))
    }

    /// Copies `length` bytes of a buffer behind the frame's first `to` bytes, if there is room for them, and lends it anew; where the frame ends now.
    fn copy(
        &mut self,
        id: u16,
        from: usize,
        length: usize,
        to: usize,
    ) -> Result<usize, VhostError> {
        let end = to + length;
        if let Some(part) = self.frame.get_mut(to..end) {
            self.memory.read(self.buffers.place(id) + from, part)?;
        }
        self.lend(id)?;
        Ok(end)
    }

    fn lend(&mut self, id: u16) -> Result<(), VhostError> {
        if let Some(lent) = self.lent.get_mut(usize::from(id)) {
            *lent = true;
        }
        self.lent_count += 1;
        self.ring.offer(id)
    }

    /// Gives the device what it was lent anew.
    pub(crate) fn give(&mut self) -> Result<(), VhostError> {
        if self.ring.tell()? {
            self.kick
                .write(1)
                .map_err(|error| VhostError::Memory(error.into()))?;
        }
        Ok(())
    }

    /// After [`Receive::receive`] showed all: asks to be woken when more comes. `false`: more came meanwhile, so that nothing will wake.
    ///
    /// # Errors
    /// The port is of no use any more.
    pub fn arm(&mut self) -> Result<bool, VhostError> {
        self.ring.ask()?;
        let told = self.lent_count - self.ring.untold();
        self.waiting = self.ring.returned(told)?;
        Ok(self.waiting == 0 && self.held.is_none())
    }

    /// Becomes readable after [`Receive::arm`], when something came. Each wake-up is an edge, so that nobody who waits for edges needs to read it.
    #[must_use]
    pub fn call(&self) -> &Arc<EventFd> {
        &self.call
    }

    /// By which the device is woken.
    pub(crate) fn kick(&self) -> &EventFd {
        &self.kick
    }
}

impl AsFd for Receive {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.call.as_fd()
    }
}
