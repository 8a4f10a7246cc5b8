//! One stream as the connection that HTTP programs know: `AsyncRead` and `AsyncWrite`, at both ends.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use dmsc_quic::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;

use crate::peer::Peer;
use crate::preface::Code;

/// A stream behind its preface. Dropped before it was shut down, it is broken off with [`Code::Gone`], so that the other end sees no proper end.
#[derive(Debug)]
pub struct Io {
    stream: Stream,
    peer: Peer,
    fate: Fate,
    shut_down: bool,
    /// Of the listener's limit.
    _place: Option<OwnedSemaphorePermit>,
}

impl Io {
    pub(crate) fn new(stream: Stream, place: Option<OwnedSemaphorePermit>) -> Self {
        let peer = Peer::of(stream.connection());
        Self {
            stream,
            peer,
            fate: Fate::default(),
            shut_down: false,
            _place: place,
        }
    }

    /// The pod at the other end.
    #[must_use]
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }

    pub(crate) const fn connection(&self) -> &dmsc_quic::Connection {
        self.stream.connection()
    }

    /// Ends it in both directions, and says why.
    pub(crate) fn break_off(mut self, code: Code) {
        code.break_off(&mut self.stream);
        self.shut_down = true;
    }

    pub(crate) fn fate(&self) -> Fate {
        self.fate.clone()
    }
}

/// Why a stream broke, for those who only hear of it through HTTP, which forgets the cause.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fate(Arc<OnceLock<Broken>>);

/// What a stream ended with.
#[derive(Debug, Clone)]
pub(crate) enum Broken {
    /// The other end said why.
    Off(Code),
    /// The connection was lost, or the code is not known.
    Lost(String),
}

impl Fate {
    fn note(&self, error: &io::Error) {
        let broken = Code::of(error).map_or_else(|| Broken::Lost(error.to_string()), Broken::Off);
        let _ = self.0.set(broken);
    }

    pub fn get(&self) -> Option<&Broken> {
        self.0.get()
    }

    /// The other end's promise that no program was given anything.
    pub fn nothing_given(&self) -> Option<Code> {
        match self.get() {
            Some(Broken::Off(code)) if code.nothing_given() => Some(*code),
            _ => None,
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        Pin::new(&mut this.stream)
            .poll_read(context, buffer)
            .map_err(|error| this.fate.noted(error))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        Pin::new(&mut this.stream)
            .poll_write(context, bytes)
            .map_err(|error| this.fate.noted(error))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.shut_down {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))
                .map_err(|error| this.fate.noted(error))?;
            this.shut_down = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl Fate {
    fn noted(&self, error: io::Error) -> io::Error {
        self.note(&error);
        error
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        if !self.shut_down {
            Code::Gone.break_off(&mut self.stream);
        }
    }
}

/// Handlers of tonic find a [`Peer`] among the extensions of their request.
impl tonic::transport::server::Connected for Io {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}
