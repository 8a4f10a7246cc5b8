//! Why a port cannot be had, or is not to be used any more.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// A port failed. All but [`VhostError::TooLong`] mean that it is of no use any more: drop it, and take another way.
#[derive(Debug, Error)]
pub enum VhostError {
    /// Nobody listens there.
    #[error(
        "{path}: no device listens there: {source}; is the gateway running, and does it have a vhost port of this socket?"
    )]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has the port: a second guest would take the device away from the first.
    #[error("{path}: another process is attached; it must let go first")]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// The file beside the socket that says who is attached cannot be had.
    #[error("{path}: cannot be locked: {source}; its folder must be writable for this process")]
    Lock {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection broke off while the port was being set up; a device that says nothing in time, too.
    #[error("the device broke off at {request}: {source}")]
    Broken {
        /// What it was asked.
        request: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The answer is none to what was asked.
    #[error("the device's answer to {request} cannot be used")]
    Answer {
        /// What it was asked.
        request: &'static str,
    },
    /// The device does not accept what a port needs.
    #[error("the device refused {request}")]
    Refused {
        /// What it was asked.
        request: &'static str,
    },
    /// The device lacks what a port needs.
    #[error("the device does not offer {0}")]
    Lacks(&'static str),
    /// A configuration that cannot be.
    #[error("{0}")]
    Config(&'static str),
    /// No memory to share, or no descriptor to be woken by.
    #[error("memory to share: {0}")]
    Memory(#[from] io::Error),
    /// The device wrote what cannot be into a ring: it is broken, or means ill.
    #[error("the device wrote {0} into a ring")]
    Lied(Lie),
    /// Longer than the port's frames; nothing was sent, and the port can be used on.
    #[error("a frame of {length} bytes is longer than the port's {max}")]
    TooLong {
        /// Its length, bytes.
        length: usize,
        /// The longest, bytes.
        max: usize,
    },
}

/// What cannot be true of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Lie {
    /// More buffers used than it was given.
    #[error("more buffers than it has")]
    Count,
    /// A buffer that it does not have.
    #[error("a buffer that it does not have")]
    Id,
    /// More bytes than the buffer holds, or fewer than the header.
    #[error("a length that the buffer does not have")]
    Length,
    /// A frame of no buffers, or of more than it used.
    #[error("a frame of more buffers than it used")]
    Buffers,
    /// A place outside of the memory: a defect here rather than there.
    #[error("a place outside of the memory")]
    Place,
}
