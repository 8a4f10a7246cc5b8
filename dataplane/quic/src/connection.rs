//! A connection between two pods, and its streams.

use std::io;
use std::pin::Pin as Pinned;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use dmsc_pod::Pin;
use dmsc_wire::{NameBuf, NodeId};
use quinn::{ConnectionError, RecvStream, SendStream, StoppedError, VarInt, WriteError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::colleagues;
use crate::endpoint::Inner;
use crate::error::Ended;
use crate::exhibits::Exhibits;
use crate::judge::Judge;
use crate::life::{Life, State, is_doubt};
use crate::notice;
use crate::peer::{Peer, Role};
use crate::replicas::Heard;
use crate::revoked::Revoked;
use crate::tls::Shown;

/// Why an end closed the connection, as the other sees it.
pub(crate) mod code {
    /// Nothing is wrong.
    pub const DONE: u32 = 0;
    /// The server has not proven the name.
    pub const NOT_PROVEN: u32 = 1;
    /// The certificate is not that of the pod that the packets come from.
    pub const NOT_THE_CALLER: u32 = 2;
    /// Routers say that there is no way.
    pub const UNREACHABLE: u32 = 3;
    /// The certificate that was shown is over.
    pub const CERTIFICATE_EXPIRED: u32 = 4;
    /// What proved the name is over.
    pub const PROOF_EXPIRED: u32 = 5;
    /// The certificate that was shown was taken back.
    pub const CERTIFICATE_REVOKED: u32 = 6;
    /// What proved the name was taken back.
    pub const PROOF_REVOKED: u32 = 7;
}

/// A proven connection. Cheap to clone; it ends with its last clone and stream, or with [`Connection::close`].
#[derive(Debug, Clone)]
pub struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    quic: quinn::Connection,
    /// Keeps the address while the connection lives.
    peer: Arc<Peer>,
    identity: String,
    life: Arc<Life>,
    tasks: [AbortHandle; 2],
    endpoint: Weak<Inner>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        if matches!(self.peer.role, Role::Caller(_))
            && self.quic.close_reason().as_ref().is_some_and(is_doubt)
            && let Some(endpoint) = self.endpoint.upgrade()
        {
            // The gateway may have other proofs by now.
            endpoint.pod.refresh();
        }
        close(&self.quic, code::DONE, "done");
    }
}

pub(crate) fn close(quic: &quinn::Connection, code: u32, reason: &str) {
    quic.close(VarInt::from_u32(code), reason.as_bytes());
}

impl Connection {
    /// At the end that called, once the other has proven the name.
    pub(crate) fn calling(
        quic: quinn::Connection,
        judge: Judge,
        life: Life,
        heard: &Arc<Heard>,
        endpoint: Weak<Inner>,
    ) -> Self {
        let life = Arc::new(life);
        let (peer, identity) = (Arc::clone(&judge.peer), judge.identity.clone());
        let revoked = Arc::clone(&judge.revoked);
        // Whoever has proven the name has answered.
        let gateway = peer.place().map_or(NodeId::NONE, |place| place.gateway);
        let ear = heard.ear(peer.called(), gateway, quic.stable_id());
        let hear = tokio::spawn(Arc::clone(&life).hear(quic.clone(), judge, ear));
        let other = (hear.abort_handle(), endpoint);
        Self::new(quic, peer, (identity, revoked), life, other)
    }

    /// At the end that was called, and has shown these proofs.
    pub(crate) fn called(
        quic: quinn::Connection,
        peer: Arc<Peer>,
        caller: Shown,
        revoked: Arc<Revoked>,
        (exhibits, shown): (Arc<Exhibits>, Vec<Bytes>),
        endpoint: Weak<Inner>,
    ) -> Self {
        let identity = caller.identity.clone();
        let life = Arc::new(Life::called(caller, exhibits, shown));
        let show = Arc::clone(&life).show(quic.clone(), Arc::clone(&peer));
        let tell = colleagues::tell(endpoint.clone(), quic.clone(), peer.called().clone());
        let says = tokio::spawn(async { tokio::join!(show, tell) }).abort_handle();
        Self::new(quic, peer, (identity, revoked), life, (says, endpoint))
    }

    fn new(
        quic: quinn::Connection,
        peer: Arc<Peer>,
        (identity, revoked): (String, Arc<Revoked>),
        life: Arc<Life>,
        (other, endpoint): (AbortHandle, Weak<Inner>),
    ) -> Self {
        let watch = Arc::clone(&life).watch(quic.clone(), Arc::clone(&peer), revoked);
        let watch = tokio::spawn(watch);
        Self {
            shared: Arc::new(Shared {
                quic,
                peer,
                identity,
                life,
                tasks: [watch.abort_handle(), other],
                endpoint,
            }),
        }
    }

    /// A new stream in both directions. The other end hears of it with the first byte.
    ///
    /// # Errors
    /// The connection is over; nothing was sent.
    pub async fn open_bi(&self) -> Result<Stream, ConnectionError> {
        let (send, recv) = self.shared.quic.open_bi().await?;
        Ok(self.stream(send, recv))
    }

    /// The next stream that the other end opened.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn accept_bi(&self) -> Result<Stream, ConnectionError> {
        let (send, recv) = self.shared.quic.accept_bi().await?;
        Ok(self.stream(send, recv))
    }

    fn stream(&self, send: SendStream, recv: RecvStream) -> Stream {
        Stream {
            send,
            recv,
            connection: self.clone(),
        }
    }

    /// The pod at the other end, by its certificate.
    #[must_use]
    pub fn peer_identity(&self) -> &str {
        &self.shared.identity
    }

    /// The name that was called.
    #[must_use]
    pub fn name(&self) -> &NameBuf {
        self.shared.peer.called()
    }

    /// Where the other end is.
    #[must_use]
    pub fn instance(&self) -> Option<Pin> {
        self.shared.peer.place()
    }

    /// At the end that called: a call over it was answered after so long. Its gateway cannot see that, so it is told, once a second.
    pub fn answered(&self, after: Duration) {
        if let Some(endpoint) = self.shared.endpoint.upgrade() {
            endpoint.pod.answered(self.name(), after);
        }
    }

    /// Ends it with all its streams.
    pub fn close(&self) {
        close(&self.shared.quic, code::DONE, "closed");
    }

    /// Until it is over, and why.
    pub async fn closed(&self) -> ConnectionError {
        self.shared.quic.closed().await
    }

    /// Whether new calls can be made on it, as far as is known. One that is drained or ends soon is not open, though calls under way go on.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.shared.life.state().retired && self.shared.quic.close_reason().is_none()
    }

    /// Until new calls are to be made on another connection: the other end drains, what it has shown expires soon, or this one is over.
    pub async fn retired(&self) {
        let mut state = self.retirement();
        let retired = state.wait_for(|state| state.retired);
        tokio::select! {
            _ = retired => {}
            _ = self.shared.quic.closed() => {}
        }
    }

    /// Makes the caller take its new calls elsewhere; those under way go on, and the connection ends with the last of them. Returns when the
    /// caller's end has heard it. At the caller's own end it says nothing, and does the same.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn drain(&self) -> Result<(), ConnectionError> {
        if matches!(self.shared.peer.role, Role::Instance { .. }) {
            self.shared.life.retire();
            return Ok(());
        }
        let mut stream = self.shared.quic.open_uni().await?;
        match stream.write_chunk(notice::drain()).await {
            Err(WriteError::ConnectionLost(error)) => return Err(error),
            // It is not listened to.
            Err(_) => return Ok(()),
            Ok(()) => drop(stream.finish()),
        }
        match stream.stopped().await {
            Err(StoppedError::ConnectionLost(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Until when what the other end has shown counts, s since 1970. Renewed proofs move it on; a renewed certificate takes a new connection.
    #[must_use]
    pub fn ends_s(&self) -> u64 {
        self.shared.life.ends().0
    }

    /// Why this end ended it, if it did so by itself. Why the other end did is in [`Connection::closed`].
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        self.shared.life.state().ended
    }

    /// Told when it retires; ends with the connection.
    pub(crate) fn retirement(&self) -> watch::Receiver<State> {
        self.shared.life.subscribe()
    }

    /// The same for all clones of one connection, and for no other that is open.
    #[must_use]
    pub fn id(&self) -> usize {
        self.shared.quic.stable_id()
    }

    /// What QUIC measures of it: round trip, losses, bytes, MTU.
    #[must_use]
    pub fn stats(&self) -> quinn::ConnectionStats {
        self.shared.quic.stats()
    }

    /// Whether somebody beside the asker has it.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }
}

/// A stream in both directions.
#[derive(Debug)]
pub struct Stream {
    send: SendStream,
    recv: RecvStream,
    connection: Connection,
}

impl Stream {
    /// Its connection.
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Reads to the end.
    ///
    /// # Errors
    /// More than `max` bytes, or the stream or connection broke.
    pub async fn read_to_end(&mut self, max: usize) -> Result<Vec<u8>, quinn::ReadToEndError> {
        self.recv.read_to_end(max).await
    }

    /// Both directions by themselves.
    pub const fn parts(&mut self) -> (&mut SendStream, &mut RecvStream) {
        (&mut self.send, &mut self.recv)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pinned<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        AsyncRead::poll_read(Pinned::new(&mut self.get_mut().recv), context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pinned<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pinned::new(&mut self.get_mut().send), context, bytes)
    }

    fn poll_flush(self: Pinned<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pinned::new(&mut self.get_mut().send), context)
    }

    fn poll_shutdown(self: Pinned<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pinned::new(&mut self.get_mut().send), context)
    }
}
