//! A pod's datagrams as the socket that quinn wants.

use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin as Pinned;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use dmsc_pod::{Datagram, Datagrams, Pin};
use dmsc_wire::{Ecn, ErrorCode, Kind};
use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use crate::peer::Caller;
use crate::table::{Table, own_address};

/// The socket.
#[derive(Debug)]
pub(crate) struct Socket {
    pub datagrams: Datagrams,
    pub table: Table,
    pub unreachable_after: Duration,
}

impl Socket {
    /// Whose datagram it is; `None` when it is not for QUIC, or nobody's.
    fn sort(&self, datagram: &Datagram) -> Option<SocketAddr> {
        let place = Pin {
            gateway: datagram.gateway(),
            attachment: datagram.attachment(),
        };
        let (from, to) = (datagram.source_name()?, datagram.name()?);
        match datagram.kind() {
            Kind::Request => {
                let is =
                    |known: &Caller| known.name.as_name() == from && known.called.as_name() == to;
                let new = || Caller {
                    gateway: place.gateway,
                    attachment: place.attachment,
                    name: from.to_owned(),
                    called: to.to_owned(),
                };
                let at = (place.gateway, place.attachment);
                let (address, peer) = self.table.caller(datagram.flow_label(), at, is, new)?;
                peer.heard();
                Some(address)
            }
            Kind::Response => {
                let (address, peer) = self.table.instance(datagram.flow_label())?;
                if !peer.is_answered_by(from, place) {
                    return None;
                }
                peer.heard();
                Some(address)
            }
            Kind::Error => {
                let message = datagram.error()?;
                if matches!(message.code, ErrorCode::NoRoute | ErrorCode::Denied) {
                    let (_, peer) = self.table.instance(datagram.flow_label())?;
                    peer.no_route(Instant::now(), self.unreachable_after);
                }
                None
            }
            _ => None,
        }
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pinned<Box<dyn UdpPoller>> {
        Box::pin(Poller {
            socket: self,
            waiting: Mutex::new(None),
        })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        // What cannot be sent is lost, as on any link: only a full socket is quinn's to wait for.
        let Some(peer) = self.table.get(transmit.destination) else {
            return Ok(());
        };
        peer.used.store(true, Relaxed);
        let ecn = transmit
            .ecn
            .map_or(Ecn::NotEct, |ecn| Ecn::from_bits(ecn as u8));
        let sent = self
            .datagrams
            .try_send(peer.towards(), peer.flow, ecn, transmit.contents);
        match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut filled = 0;
        for (buffer, meta) in buffers.iter_mut().zip(metas) {
            // The channel makes way for other tasks when much comes that is nobody's.
            let (datagram, address) = loop {
                let datagram = match self.datagrams.poll_recv(context) {
                    Poll::Ready(Some(datagram)) => datagram,
                    Poll::Ready(None) => {
                        return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
                    }
                    Poll::Pending if filled > 0 => return Poll::Ready(Ok(filled)),
                    Poll::Pending => return Poll::Pending,
                };
                let fits = datagram.payload().len() <= buffer.len();
                if let Some(address) = self.sort(&datagram).filter(|_| fits) {
                    break (datagram, address);
                }
            };
            let payload = datagram.payload();
            buffer[..payload.len()].copy_from_slice(payload);
            *meta = RecvMeta::default();
            meta.addr = address;
            meta.len = payload.len();
            meta.stride = payload.len();
            meta.ecn = EcnCodepoint::from_bits(datagram.ecn().bits());
            filled += 1;
        }
        Poll::Ready(Ok(filled))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(own_address())
    }

    /// Routers drop what is too big, so that discovery of the path's MTU sees it.
    fn may_fragment(&self) -> bool {
        false
    }
}

type Waiting = Pinned<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// One connection that waits until the socket takes more. Each waits by itself, so all of them are woken.
struct Poller {
    socket: Arc<Socket>,
    waiting: Mutex<Option<Waiting>>,
}

impl std::fmt::Debug for Poller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Poller").finish_non_exhaustive()
    }
}

impl UdpPoller for Poller {
    fn poll_writable(self: Pinned<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let waiting = this
            .waiting
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let future = waiting.get_or_insert_with(|| {
            let socket = Arc::clone(&this.socket);
            Box::pin(async move { socket.datagrams.writable().await })
        });
        let result = ready!(future.as_mut().poll(context));
        *waiting = None;
        Poll::Ready(result)
    }
}
