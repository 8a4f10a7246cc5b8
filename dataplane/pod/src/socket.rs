//! The pod's one UDP socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use dmsc_wire::UDP_PORT;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::error::PodError;

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
    let socket = Socket::new(
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
