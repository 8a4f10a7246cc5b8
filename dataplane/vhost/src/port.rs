//! A port: both halves, and the connection to the device.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::buffers::{Buffers, HEADER};
use crate::error::VhostError;
use crate::lock::Lock;
use crate::memory::Memory;
use crate::message::Talk;
use crate::negotiate::{self, Queue};
use crate::receive::Receive;
use crate::ring::{Places, Ring};
use crate::transmit::Transmit;

/// Bytes of a page, at whose start buffers begin.
const PAGE: usize = 4_096;

/// What a port is to be.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Buffers from the device; a power of two up to 32,768.
    pub receive: u16,
    /// Buffers to it.
    pub transmit: u16,
    /// Bytes of a buffer, the header of 12 bytes within. A frame takes as many as it needs.
    pub buffer: usize,
    /// Longest frame in bytes, with its Ethernet header.
    pub max_frame: usize,
    /// How long the device may take for an answer while the port is set up.
    pub patience: Duration,
}

impl Default for Config {
    /// 3 MiB of memory, of which only what frames touched is there; frames of an MTU of 9,000, of which 170 may wait: with room for 85, 128 under way at a time
    /// lost some.
    fn default() -> Config {
        Config {
            receive: 512,
            transmit: 256,
            buffer: 4_096,
            max_frame: 9_018,
            patience: Duration::from_secs(1),
        }
    }
}

impl Config {
    fn check(&self) -> Result<(), VhostError> {
        let is_size = |size: u16| size.is_power_of_two() && size <= 1 << 15;
        if !is_size(self.receive) || !is_size(self.transmit) {
            return Err(VhostError::Config(
                "a queue has a power of two of buffers, 32,768 at most",
            ));
        }
        if !(64..=1 << 16).contains(&self.buffer) || !self.buffer.is_multiple_of(2) {
            return Err(VhostError::Config(
                "a buffer has an even number of bytes from 64 to 65,536",
            ));
        }
        let least = usize::from(self.receive.min(self.transmit)) * self.buffer;
        if self.max_frame + HEADER > least {
            return Err(VhostError::Config(
                "the buffers of a queue do not hold the longest frame",
            ));
        }
        Ok(())
    }
}

/// Attached to a device. Dropping it lets go of it.
#[derive(Debug)]
pub struct Port {
    /// Frames to the device.
    pub transmit: Transmit,
    /// Frames from it.
    pub receive: Receive,
    /// Tells when it goes away.
    pub line: Line,
}

/// The connection to the device, on which neither end says anything any more: it becomes readable when the device goes away. Dropping it lets go of the port.
#[derive(Debug)]
pub struct Line {
    stream: UnixStream,
    _lock: Lock,
}

impl Line {
    /// Whether the device went away, or speaks out of turn.
    #[must_use]
    pub fn is_down(&self) -> bool {
        let mut fds = [PollFd::new(self.stream.as_fd(), PollFlags::POLLIN)];
        !matches!(poll(&mut fds, PollTimeout::ZERO), Ok(0))
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl AsRawFd for Line {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

impl Port {
    /// Attaches to the device that listens at `path`. Waits for it, up to `config.patience` for each of its answers.
    ///
    /// # Errors
    /// Nobody listens, another process is attached, or the device is not one that can be used.
    pub fn connect(path: &Path, config: Config) -> Result<Port, VhostError> {
        config.check()?;
        let lock = Lock::take(path)?;
        let stream = open(path, config.patience)?;
        let (acknowledges, agreed) = negotiate::features(&stream)?;

        let (receive_places, end) = Places::new(0, config.receive);
        let (transmit_places, end) = Places::new(end, config.transmit);
        let receive_buffers = Buffers {
            at: end.next_multiple_of(PAGE),
            size: config.buffer,
        };
        let transmit_buffers = Buffers {
            at: receive_buffers.place(config.receive).next_multiple_of(PAGE),
            size: config.buffer,
        };
        let length = transmit_buffers.place(config.transmit);
        let memory = Arc::new(Memory::new(length.next_multiple_of(PAGE))?);

        let ring = |places, size| Ring::new(Arc::clone(&memory), places, size, agreed.by_index);
        let (call, room) = (Arc::new(event()?), Arc::new(event()?));
        let mut receive = Receive::new(
            ring(receive_places, config.receive),
            Arc::clone(&memory),
            receive_buffers,
            config.max_frame,
            event()?,
            call,
        )?;
        let transmit = Transmit::new(
            ring(transmit_places, config.transmit),
            Arc::clone(&memory),
            transmit_buffers,
            config.max_frame,
            event()?,
            room,
        )?;
        receive.give()?;
        let queues = [
            Queue {
                places: receive_places,
                size: config.receive,
                kick: receive.kick(),
                call: receive.call(),
            },
            Queue {
                places: transmit_places,
                size: config.transmit,
                kick: transmit.kick(),
                call: transmit.room(),
            },
        ];
        let talk = Talk {
            stream: &stream,
            acknowledges,
        };
        negotiate::queues(&talk, &memory, &queues)?;
        stream.set_nonblocking(true)?;
        Ok(Port {
            transmit,
            receive,
            line: Line {
                stream,
                _lock: lock,
            },
        })
    }
}

fn event() -> Result<EventFd, VhostError> {
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    EventFd::from_flags(flags).map_err(|error| VhostError::Memory(error.into()))
}

/// Connects without waiting for a device that has no time for anybody.
fn open(path: &Path, patience: Duration) -> Result<UnixStream, VhostError> {
    let failed = |source| VhostError::Connect {
        path: path.into(),
        source,
    };
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    let address = SockAddr::unix(path).map_err(failed)?;
    socket.connect(&address).map_err(failed)?;
    socket.set_nonblocking(false).map_err(failed)?;
    let stream = UnixStream::from(std::os::fd::OwnedFd::from(socket));
    stream.set_read_timeout(Some(patience)).map_err(failed)?;
    stream.set_write_timeout(Some(patience)).map_err(failed)?;
    Ok(stream)
}
