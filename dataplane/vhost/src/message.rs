//! Messages of vhost-user (QEMU, docs/interop/vhost-user.rst), as the process that brings the memory sends them.

use std::io::{self, IoSlice, Read as _};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::error::VhostError;

/// Version 1, in the flags of every message.
const VERSION: u32 = 1;
const IS_REPLY: u32 = 1 << 2;
const WANTS_REPLY: u32 = 1 << 3;
/// Request, flags, length of what follows: each 32 bits in the order of the machine, as all that follows.
const HEADER: usize = 12;

/// A request's number and name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request(u32, &'static str);

pub const GET_FEATURES: Request = Request(1, "GET_FEATURES");
pub const SET_FEATURES: Request = Request(2, "SET_FEATURES");
pub const SET_OWNER: Request = Request(3, "SET_OWNER");
pub const SET_MEM_TABLE: Request = Request(5, "SET_MEM_TABLE");
pub const SET_VRING_NUM: Request = Request(8, "SET_VRING_NUM");
pub const SET_VRING_ADDR: Request = Request(9, "SET_VRING_ADDR");
pub const SET_VRING_BASE: Request = Request(10, "SET_VRING_BASE");
pub const SET_VRING_KICK: Request = Request(12, "SET_VRING_KICK");
pub const SET_VRING_CALL: Request = Request(13, "SET_VRING_CALL");
pub const GET_PROTOCOL_FEATURES: Request = Request(15, "GET_PROTOCOL_FEATURES");
pub const SET_PROTOCOL_FEATURES: Request = Request(16, "SET_PROTOCOL_FEATURES");
pub const SET_VRING_ENABLE: Request = Request(18, "SET_VRING_ENABLE");

/// What a request brings along.
#[derive(Debug, Default)]
pub struct Body(Vec<u8>);

impl Body {
    /// And 32 bits more.
    pub fn u32(mut self, value: u32) -> Body {
        self.0.extend_from_slice(&value.to_ne_bytes());
        self
    }

    /// And 64 bits more.
    pub fn u64(mut self, value: u64) -> Body {
        self.0.extend_from_slice(&value.to_ne_bytes());
        self
    }
}

/// The connection while a port is set up.
pub struct Talk<'a> {
    pub stream: &'a UnixStream,
    /// Whether the device says of each request how it went.
    pub acknowledges: bool,
}

impl Talk<'_> {
    /// Asks for 64 bits.
    pub fn get(&self, request: Request) -> Result<u64, VhostError> {
        self.send(request, VERSION, &[], &[])?;
        self.reply(request)
    }

    /// Tells something, and how it went if the device says so.
    pub fn set(
        &self,
        request: Request,
        body: Body,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), VhostError> {
        if !self.acknowledges {
            return self.send(request, VERSION, &body.0, fds);
        }
        self.send(request, VERSION | WANTS_REPLY, &body.0, fds)?;
        match self.reply(request)? {
            0 => Ok(()),
            _ => Err(VhostError::Refused { request: request.1 }),
        }
    }

    fn send(
        &self,
        request: Request,
        flags: u32,
        body: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), VhostError> {
        let header = Body::default().u32(request.0).u32(flags);
        let header = header.u32(body.len() as u32).0;
        let parts = [IoSlice::new(&header), IoSlice::new(body)];
        let fds: Vec<i32> = fds.iter().map(|fd| fd.as_raw_fd()).collect();
        let rights = [ControlMessage::ScmRights(&fds)];
        let control = if fds.is_empty() { &[] } else { &rights[..] };
        // Some hundred bytes: a socket takes all of them, or none.
        sendmsg::<()>(
            self.stream.as_raw_fd(),
            &parts,
            control,
            MsgFlags::MSG_NOSIGNAL,
            None,
        )
        .map(drop)
        .map_err(|error| broken(request)(error.into()))
    }

    fn reply(&self, request: Request) -> Result<u64, VhostError> {
        let mut bytes = [0; HEADER + 8];
        let mut stream = self.stream;
        stream.read_exact(&mut bytes).map_err(broken(request))?;
        let (header, value) = bytes.split_at(HEADER);
        let u32_at = |at: usize| {
            let bytes = header.get(at..at + 4).and_then(|b| b.try_into().ok());
            bytes.map(u32::from_ne_bytes)
        };
        let is_answer = u32_at(0) == Some(request.0)
            && u32_at(4).is_some_and(|flags| flags & (3 | IS_REPLY) == VERSION | IS_REPLY)
            && u32_at(8) == Some(8);
        let value = value.try_into().map(u64::from_ne_bytes);
        match (is_answer, value) {
            (true, Ok(value)) => Ok(value),
            _ => Err(VhostError::Answer { request: request.1 }),
        }
    }
}

fn broken(request: Request) -> impl FnOnce(io::Error) -> VhostError {
    move |source| VhostError::Broken {
        request: request.1,
        // What the socket says when the time is over.
        source: match source.kind() {
            io::ErrorKind::WouldBlock => {
                io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
            }
            _ => source,
        },
    }
}
