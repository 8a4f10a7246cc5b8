//! Listening sockets of one pod, opened in its namespace, or taken over from the process before.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

use crate::config::Outbound;

/// Connections that wait in the kernel to be accepted.
const BACKLOG: i32 = 4_096;

/// An address that cannot be listened on.
#[derive(Debug, Error)]
#[error(
    "[pod.outbound] {field} = {address}: {source}; is it an address of the pod's namespace, and free there?"
)]
pub struct SocketError {
    /// The field that names it.
    pub field: &'static str,
    /// As configured.
    pub address: SocketAddr,
    /// Why not.
    pub source: io::Error,
}

/// The sockets of `[pod.outbound]`, none blocking.
#[derive(Debug, Default)]
pub struct Sockets {
    /// `http`.
    pub http: Option<TcpListener>,
    /// `tcp`.
    pub tcp: Option<TcpListener>,
    /// `dns`, UDP.
    pub dns_udp: Option<UdpSocket>,
    /// `dns`, TCP.
    pub dns_tcp: Option<TcpListener>,
}

impl Sockets {
    /// Opens those of `outbound` that are not in `self`; others are closed. On a thread that is in the pod's namespace.
    ///
    /// # Errors
    /// An address that is taken, or not one of the namespace.
    pub fn complete(self, outbound: Option<&Outbound>) -> Result<Self, SocketError> {
        let Some(outbound) = outbound else {
            return Ok(Self::default());
        };
        Ok(Self {
            http: tcp("http", outbound.http, self.http)?,
            tcp: tcp("tcp", outbound.tcp, self.tcp)?,
            dns_udp: udp("dns", outbound.dns, self.dns_udp)?,
            dns_tcp: tcp("dns", outbound.dns, self.dns_tcp)?,
        })
    }

    /// The same sockets once more, for somebody who takes them over.
    ///
    /// # Errors
    /// No more file descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        let tcp = |one: &Option<TcpListener>| one.as_ref().map(TcpListener::try_clone).transpose();
        Ok(Self {
            http: tcp(&self.http)?,
            tcp: tcp(&self.tcp)?,
            dns_udp: self
                .dns_udp
                .as_ref()
                .map(UdpSocket::try_clone)
                .transpose()?,
            dns_tcp: tcp(&self.dns_tcp)?,
        })
    }
}

fn tcp(
    field: &'static str,
    address: Option<SocketAddr>,
    taken: Option<TcpListener>,
) -> Result<Option<TcpListener>, SocketError> {
    let Some(address) = address else {
        return Ok(None);
    };
    if let Some(taken) = taken.filter(|one| one.local_addr().is_ok_and(|at| at == address)) {
        return Ok(Some(taken));
    }
    let open = || {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    open().map(Some).map_err(|source| SocketError {
        field,
        address,
        source,
    })
}

fn udp(
    field: &'static str,
    address: Option<SocketAddr>,
    taken: Option<UdpSocket>,
) -> Result<Option<UdpSocket>, SocketError> {
    let Some(address) = address else {
        return Ok(None);
    };
    if let Some(taken) = taken.filter(|one| one.local_addr().is_ok_and(|at| at == address)) {
        return Ok(Some(taken));
    }
    let open = || {
        let socket = UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    open().map(Some).map_err(|source| SocketError {
        field,
        address,
        source,
    })
}
