//! A burst: what the socket holds at the moment, read with as few system calls as it takes and handed on packet by packet.

use std::io::{self, IoSliceMut};
use std::ops::Range;

use quinn_udp::{RecvMeta, UdpSocketState};

use crate::socket::Socket;

/// Messages per system call.
const MESSAGES: usize = 16;
/// Largest message: with UDP_GRO a train of packets. Memory that no message reached is not resident.
const MESSAGE: usize = 65_536;

/// Messages that were read, and how far they were handed on.
pub(crate) struct Burst {
    options: UdpSocketState,
    bytes: Box<[u8]>,
    metas: [RecvMeta; MESSAGES],
    read: usize,
    /// The message, and the place in it, of the next packet.
    at: (usize, usize),
}

impl Burst {
    /// Sets the socket up: trains are taken whole, and nothing larger than the link is fragmented.
    ///
    /// # Errors
    /// The kernel refuses an option that it should have.
    pub fn new(socket: &Socket) -> io::Result<Self> {
        Ok(Self {
            options: UdpSocketState::new(socket.into())?,
            bytes: vec![0; MESSAGES * MESSAGE].into_boxed_slice(),
            metas: [RecvMeta::default(); MESSAGES],
            read: 0,
            at: (0, 0),
        })
    }

    /// Where the next packet is.
    fn place(&self) -> Option<Range<usize>> {
        let (message, offset) = self.at;
        let meta = self.metas[..self.read].get(message)?;
        let end = (offset + meta.stride.max(1)).min(meta.len);
        Some(message * MESSAGE + offset..message * MESSAGE + end)
    }

    /// The next packet, again and again until [`Burst::advance`].
    pub fn packet(&self) -> Option<&[u8]> {
        self.place().map(|place| &self.bytes[place])
    }

    /// The next packet is dealt with.
    pub fn advance(&mut self) {
        let (message, offset) = self.at;
        let Some(meta) = self.metas[..self.read].get(message) else {
            return;
        };
        let next = offset + meta.stride.max(1);
        self.at = if next < meta.len {
            (message, next)
        } else {
            (message + 1, 0)
        };
    }

    /// Reads what the socket has, instead of what was read before. Nothing there is not an error: the socket is then not ready any more.
    ///
    /// # Errors
    /// What the socket says about packets that were sent.
    pub fn read(&mut self, socket: &Socket) -> io::Result<()> {
        (self.read, self.at) = (0, (0, 0));
        let result = socket.try_read(|socket| {
            let mut chunks = self.bytes.chunks_exact_mut(MESSAGE);
            let mut buffers: [IoSliceMut<'_>; MESSAGES] =
                std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
            self.read = self
                .options
                .recv(socket.into(), &mut buffers, &mut self.metas)?;
            // Fewer than asked for: the socket is empty. Saying so here saves the system call that would find it out; what
            // comes from now on makes it ready again.
            if self.read < MESSAGES {
                Err(io::ErrorKind::WouldBlock.into())
            } else {
                Ok(())
            }
        });
        match result {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }
}
