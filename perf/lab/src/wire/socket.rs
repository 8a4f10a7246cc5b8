//! A packet socket on one interface: whole Ethernet frames, in and out.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
    socket, sockopt,
};

/// A packet socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// There is no such interface in this network namespace.
    #[error("no interface {0} in this network namespace; `ip link` lists them")]
    NoInterface(String),
    /// The kernel refused.
    #[error("cannot {what} on {interface}: {errno} (packet sockets need root or CAP_NET_RAW)")]
    Refused {
        /// What was tried.
        what: &'static str,
        /// On which interface.
        interface: String,
        /// What the kernel said.
        errno: Errno,
    },
}

/// Sends and receives frames on one interface; neither blocks.
#[derive(Debug)]
pub struct PacketSocket(OwnedFd);

impl PacketSocket {
    /// Opens a socket for all frames on `interface`, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// When there is no such interface, or no permission.
    pub fn open(interface: &str) -> Result<Self, SocketError> {
        let refused = |what| {
            move |errno| SocketError::Refused {
                what,
                interface: interface.to_string(),
                errno,
            }
        };
        // The link-layer address of an interface, as the kernel lists it, is what bind takes: no address is made up here.
        let address = nix::ifaddrs::getifaddrs()
            .map_err(refused("list interfaces"))?
            .filter(|entry| entry.interface_name == interface)
            .find_map(|entry| entry.address.and_then(|a| a.as_link_addr().copied()))
            .ok_or_else(|| SocketError::NoInterface(interface.to_string()))?;
        let fd = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
            SockProtocol::EthAll,
        )
        .map_err(refused("open a packet socket"))?;
        bind(fd.as_raw_fd(), &address).map_err(refused("bind a packet socket"))?;
        // A burst of large frames must fit while this process waits for its turn on a busy core.
        setsockopt(&fd, sockopt::RcvBufForce, &(16 << 20))
            .map_err(refused("enlarge the buffer"))?;
        setsockopt(&fd, sockopt::SndBufForce, &(16 << 20))
            .map_err(refused("enlarge the buffer"))?;
        Ok(Self(fd))
    }

    /// The next frame, if one is there. A pending error of the interface (it went down) is taken and reported as no frame.
    pub fn receive<'b>(&self, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        match recv(self.0.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => buffer.get(..length),
            Err(_) => None,
        }
    }

    /// Sends a frame; false if the interface does not take it (down, or its queue full).
    pub fn send(&self, frame: &[u8]) -> bool {
        send(self.0.as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT).is_ok()
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
