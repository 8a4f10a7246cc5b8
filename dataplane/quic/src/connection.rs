//! A connection between two pods, and its streams.

use std::io;
use std::pin::Pin as Pinned;
use std::sync::Arc;
use std::task::{Context, Poll};

use dmsc_pod::Pin;
use dmsc_wire::NameBuf;
use quinn::{ConnectionError, RecvStream, SendStream, VarInt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::AbortHandle;

use crate::peer::Peer;

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
    watch: AbortHandle,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.watch.abort();
        close(&self.quic, code::DONE, "done");
    }
}

pub(crate) fn close(quic: &quinn::Connection, code: u32, reason: &str) {
    quic.close(VarInt::from_u32(code), reason.as_bytes());
}

impl Connection {
    pub(crate) fn new(quic: quinn::Connection, peer: Arc<Peer>, identity: String) -> Self {
        let (watched, place) = (quic.clone(), Arc::clone(&peer));
        let watch = tokio::spawn(async move {
            tokio::select! {
                () = place.unreachable() => close(&watched, code::UNREACHABLE, "no route"),
                _ = watched.closed() => {}
            }
        });
        Self {
            shared: Arc::new(Shared {
                quic,
                peer,
                identity,
                watch: watch.abort_handle(),
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

    /// Ends it with all its streams.
    pub fn close(&self) {
        close(&self.shared.quic, code::DONE, "closed");
    }

    /// Until it is over, and why.
    pub async fn closed(&self) -> ConnectionError {
        self.shared.quic.closed().await
    }

    /// Whether calls can be made on it, as far as is known.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shared.quic.close_reason().is_none()
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
