//! A pod's datagrams as the socket that quinn wants.

use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin as Pinned;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use dmsc_pod::train::MAX_PACKETS as MAX_TRAIN;
use dmsc_pod::{Datagram, Datagrams, Pin};
use dmsc_wire::{Class, Ecn, ErrorCode, Kind};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use crate::fill::Fill;
use crate::peer::Caller;
use crate::table::{Table, own_address};

/// Bytes of each of the 32 buffers that quinn has for what comes in.
const RECEIVE_BUFFER: usize = 65_536;

/// The socket.
#[derive(Debug)]
pub(crate) struct Socket {
    pub datagrams: Datagrams,
    pub table: Table,
    pub unreachable_after: Duration,
    /// Of what this end calls.
    class: Class,
    /// It took no more.
    full: AtomicBool,
    receive_segments: usize,
}

impl Socket {
    /// `largest`: of a datagram that comes in, in bytes.
    pub fn new(
        datagrams: Datagrams,
        table: Table,
        unreachable_after: Duration,
        class: Class,
        largest: usize,
    ) -> Self {
        Self {
            datagrams,
            table,
            unreachable_after,
            class,
            full: AtomicBool::new(false),
            receive_segments: (RECEIVE_BUFFER / largest.max(1)).clamp(1, MAX_TRAIN),
        }
    }

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
                peer.called_with(datagram.treatment());
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
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len());
        let contents = transmit.contents;
        let treatment = peer.answers_with().unwrap_or_else(|| self.class.into());
        let (towards, flow) = (peer.towards(), peer.flow);
        let sent = self
            .datagrams
            .try_send_all(towards, flow, treatment, ecn, contents, segment);
        match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.full.store(true, Relaxed);
                Err(error)
            }
            _ => Ok(()),
        }
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut fill = Fill::new(buffers, metas);
        // Until something came for QUIC. What is nobody's is bounded by the datagrams.
        while fill.is_empty() {
            ready!(self.datagrams.poll_recv(
                context,
                &mut |datagram| match self.sort(&datagram) {
                    Some(address) => fill.put(address, &datagram),
                    None => true,
                }
            ))?;
        }
        Poll::Ready(Ok(fill.filled()))
    }

    fn max_transmit_segments(&self) -> usize {
        MAX_TRAIN
    }

    fn max_receive_segments(&self) -> usize {
        self.receive_segments
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
        // Asked before every transmit: only a socket that was full is waited for.
        if !this.socket.full.load(Relaxed) {
            return Poll::Ready(Ok(()));
        }
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
        this.socket.full.store(false, Relaxed);
        Poll::Ready(result)
    }
}
