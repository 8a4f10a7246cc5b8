//! Packets to the gateway.

use std::io;
use std::sync::Arc;

use dmsc_vhost::{Transmit, VhostError};
use nix::sys::eventfd::EventFd;

use super::frame::Outer;

/// The sending half of the port, and the headers before every packet once the gateway's address is known.
pub(crate) struct Outgoing {
    transmit: Transmit,
    outer: Option<Outer>,
}

impl Outgoing {
    pub fn new(transmit: Transmit) -> Outgoing {
        Outgoing {
            transmit,
            outer: None,
        }
    }

    pub fn address(&mut self, outer: Outer) {
        self.outer = Some(outer);
    }

    /// Becomes readable when there is room again.
    pub fn room(&self) -> Arc<EventFd> {
        Arc::clone(self.transmit.room())
    }

    /// Whether so many packets of that length, in bytes, fit now.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: they do not.
    pub fn room_for(&mut self, packets: usize, length: usize) -> io::Result<()> {
        let length = length + super::OUTER;
        match self.transmit.has_room(packets, length) {
            Ok(true) => Ok(()),
            Ok(false) => Err(io::ErrorKind::WouldBlock.into()),
            // Told again by the flush behind it.
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// One packet, in parts, to those that leave with the next flush.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: no room; [`io::ErrorKind::InvalidInput`]: too long.
    pub fn push(&mut self, [header, payload]: [&[u8]; 2]) -> io::Result<()> {
        let Some(outer) = &self.outer else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let outer = outer.before(header.len() + payload.len());
        match self.transmit.push(&[&outer, header, payload]) {
            Ok(true) => Ok(()),
            Ok(false) => Err(io::ErrorKind::WouldBlock.into()),
            Err(VhostError::TooLong { .. }) => Err(io::ErrorKind::InvalidInput.into()),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// A frame that is no packet, at once; lost if there is no room.
    pub fn frame(&mut self, bytes: &[u8]) -> Result<(), VhostError> {
        if self.transmit.push(&[bytes])? {
            self.transmit.flush()?;
        }
        Ok(())
    }

    pub fn flush(&mut self) -> Result<(), VhostError> {
        self.transmit.flush()
    }

    /// Whether it is full, and tells when it is not any more.
    pub fn arm(&mut self) -> Result<bool, VhostError> {
        self.transmit.arm()
    }
}
