//! The pod's one UDP socket.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll};

use dmsc_wire::UDP_PORT;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::error::PodError;

/// The socket as tasks use it.
///
/// Whether it takes packets is asked for only when it took none. Tokio's own socket always asks; the kernel then wakes the thread for each packet that has left the
/// device, once more than it must for each call.
#[derive(Debug)]
pub(crate) struct Socket(AsyncFd<UdpSocket>);

impl Socket {
    /// Of one that does not block. Must be called in a tokio runtime.
    pub fn new(socket: UdpSocket) -> io::Result<Self> {
        watched(socket, Interest::READABLE).map(Self)
    }

    /// Packets go there, and are taken from there only.
    pub fn connect(&self, to: SocketAddr) -> io::Result<()> {
        self.0.get_ref().connect(to)
    }

    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().peer_addr()
    }

    /// Sends a packet without waiting.
    pub fn try_send(&self, packet: &[u8]) -> io::Result<usize> {
        self.0.get_ref().send(packet)
    }

    /// Until it may take packets again. Any number of tasks may wait.
    pub async fn writable(&self) -> io::Result<()> {
        let asking = self.0.get_ref().try_clone()?;
        let asking = watched(asking, Interest::WRITABLE)?;
        asking.writable().await.map(drop)
    }

    /// Until there may be something to read. Only the last task that asked is woken.
    pub fn poll_recv_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What is not said to be over is still ready.
        self.0.poll_read_ready(context).map_ok(drop)
    }

    /// Reads; [`io::ErrorKind::WouldBlock`] means that nothing more is there.
    pub fn try_read<R>(&self, read: impl FnOnce(&UdpSocket) -> io::Result<R>) -> io::Result<R> {
        self.0.try_io(Interest::READABLE, read)
    }
}

#[expect(
    deprecated,
    reason = "unsound for what does not own its descriptor only, which std's socket does; the replacement is unsafe for all"
)]
fn watched(socket: UdpSocket, interest: Interest) -> io::Result<AsyncFd<UdpSocket>> {
    AsyncFd::with_interest(socket, interest)
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

/// Opens a non-blocking socket on `port` (0 = any) towards the gateway's usual data port, with `buffer` bytes each way if the kernel grants them.
///
/// Connected, so that only the gateway is heard and its absence is told; registration tells whether its data port is another.
///
/// # Errors
/// [`PodError::Bind`], for example if the port is taken; [`PodError::Socket`] if there is no route to the gateway.
pub fn open(gateway: SocketAddr, port: u16, buffer: usize) -> Result<UdpSocket, PodError> {
    let bind = |source| PodError::Bind { port, source };
    let any: IpAddr = match gateway {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = socket2::Socket::new(
        Domain::for_address(gateway),
        Type::DGRAM,
        Some(Protocol::UDP),
    )
    .map_err(bind)?;
    // Beyond the system's limit only with privileges; without, up to the limit. Less is no error.
    if setsockopt(&socket, sockopt::RcvBufForce, &buffer).is_err() {
        let _ = socket.set_recv_buffer_size(buffer);
    }
    if setsockopt(&socket, sockopt::SndBufForce, &buffer).is_err() {
        let _ = socket.set_send_buffer_size(buffer);
    }
    socket
        .bind(&SocketAddr::new(any, port).into())
        .map_err(bind)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SocketAddr::new(gateway.ip(), UDP_PORT).into())?;
    Ok(socket.into())
}
