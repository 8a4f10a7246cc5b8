//! A stream to an instance's program, as bytes.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use dmsc_http::preface::{self, Code};
use dmsc_quic::{QuicError, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::choose::{Callee, Instance};
use crate::pod;
use crate::stats::{Direction, OpenStream, QuicConnection};

/// What became of a stream, for those who gave it away.
#[derive(Debug, Default)]
pub struct Fate {
    code: OnceLock<Code>,
    received: AtomicU64,
}

impl Fate {
    /// Why the other edge ended it early.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        self.code.get().copied()
    }

    /// Bytes that came.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    fn note(&self, error: &io::Error) {
        if let Some(code) = Code::of(error) {
            let _ = self.code.set(code);
        }
    }
}

/// One stream. Dropped before both directions ended, it is broken off at the other end as well.
#[derive(Debug)]
pub struct Tunnel {
    stream: Stream,
    fate: Arc<Fate>,
    quic: OpenStream,
    said_all: bool,
    heard_all: bool,
}

impl Tunnel {
    fn new(stream: Stream, quic: OpenStream) -> Self {
        Self {
            stream,
            fate: Arc::default(),
            quic,
            said_all: false,
            heard_all: false,
        }
    }

    /// What becomes of it.
    #[must_use]
    pub const fn fate(&self) -> &Arc<Fate> {
        &self.fate
    }

    /// Its connection.
    #[must_use]
    pub fn quic(&self) -> &Arc<QuicConnection> {
        &self.quic
    }

    /// Both directions by themselves, for who moves bytes without copying them. Say with [`Tunnel::ended`] which of them came to their ends.
    pub const fn parts(&mut self) -> (&mut quinn::SendStream, &mut quinn::RecvStream) {
        self.stream.parts()
    }

    /// The directions that ended in order.
    pub const fn ended(&mut self, said_all: bool, heard_all: bool) {
        self.said_all = said_all;
        self.heard_all = heard_all;
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        let (send, recv) = self.stream.parts();
        // Errors say that it is over already.
        if !self.said_all {
            let _ = send.reset(Code::Gone.to_quic());
        }
        if !self.heard_all {
            let _ = recv.stop(Code::Gone.to_quic());
        }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match ready!(Pin::new(&mut this.stream).poll_read(context, buffer)) {
            Ok(()) => {
                let read = buffer.filled().len() - before;
                this.heard_all |= read == 0 && buffer.remaining() > 0;
                this.fate.received.fetch_add(read as u64, Relaxed);
                Poll::Ready(Ok(()))
            }
            Err(error) => {
                this.fate.note(&error);
                Poll::Ready(Err(error))
            }
        }
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write(context, bytes));
        Poll::Ready(written.inspect_err(|error| this.fate.note(error)))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
        this.said_all = true;
        Poll::Ready(Ok(()))
    }
}

impl Callee {
    /// A stream to the program of an instance.
    ///
    /// # Errors
    /// The instance cannot be reached, or has not proven the name: nothing was given to the program.
    pub async fn dial(
        &self,
        instance: &Instance,
        context: &pod::Context,
    ) -> Result<Tunnel, QuicError> {
        let connection = match instance.pin {
            Some(pin) => context.connector.connect_to(&self.name, pin).await?,
            None => context.connector.connect(&self.name).await?,
        };
        let quic = noted(instance, &connection, context).stream();
        let stream = preface::begin(&connection, &self.name).await?;
        Ok(Tunnel::new(stream, quic))
    }
}

fn noted(
    instance: &Instance,
    connection: &dmsc_quic::Connection,
    context: &pod::Context,
) -> Arc<QuicConnection> {
    let noted = instance.kept.quic.lock();
    let mut noted = noted.unwrap_or_else(PoisonError::into_inner);
    match noted.as_ref() {
        Some(noted) if noted.connection.id() == connection.id() => Arc::clone(noted),
        _ => {
            let stats = &context.shared.stats;
            let new = stats.quic(Direction::Out, connection.clone());
            *noted = Some(Arc::clone(&new));
            new
        }
    }
}
