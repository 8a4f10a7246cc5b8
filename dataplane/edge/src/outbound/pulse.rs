//! How long a program's connection has been quiet, and its bytes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A head must be there so long after its first byte.
const HEAD: Duration = Duration::from_secs(10);
/// A connection without a call is closed after so long.
const IDLE: Duration = Duration::from_secs(60);

/// Of one connection.
#[derive(Debug)]
pub struct Pulse {
    base: Instant,
    /// Whether heads are awaited byte by byte (HTTP/1).
    heads: bool,
    calls: AtomicU32,
    in_head: AtomicBool,
    /// Since when it is as it is, ms after `base`.
    since: AtomicU64,
}

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooQuiet {
    /// A head began, and did not end.
    Head,
    /// No call for a long time.
    Idle,
}

impl Pulse {
    /// Of a connection whose first bytes are there, or not.
    #[must_use]
    pub fn new(heads: bool) -> Arc<Self> {
        Arc::new(Self {
            base: Instant::now(),
            heads,
            calls: AtomicU32::new(0),
            in_head: AtomicBool::new(heads),
            since: AtomicU64::new(0),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn heard(&self) {
        if self.heads && self.calls.load(Relaxed) == 0 && !self.in_head.swap(true, Relaxed) {
            self.since.store(self.now(), Relaxed);
        }
    }

    /// A call goes on until the guard is dropped.
    #[must_use]
    pub fn call(self: &Arc<Self>) -> Call {
        self.calls.fetch_add(1, Relaxed);
        self.in_head.store(false, Relaxed);
        Call(Arc::clone(self))
    }

    /// Why it is to be closed now, or when to look again.
    ///
    /// # Errors
    /// It has been quiet for too long.
    pub fn check(&self) -> Result<Instant, TooQuiet> {
        let now = Instant::now();
        if self.calls.load(Relaxed) > 0 {
            return Ok(now + HEAD);
        }
        let since = self.base + Duration::from_millis(self.since.load(Relaxed));
        let (why, limit) = if self.in_head.load(Relaxed) {
            (TooQuiet::Head, HEAD)
        } else {
            (TooQuiet::Idle, IDLE)
        };
        // A head may begin at any time.
        let look = now + HEAD;
        match since + limit {
            end if end <= now => Err(why),
            end => Ok(end.min(look)),
        }
    }
}

/// A call of a connection.
#[derive(Debug)]
pub struct Call(Arc<Pulse>);

impl Drop for Call {
    fn drop(&mut self) {
        if self.0.calls.fetch_sub(1, Relaxed) == 1 {
            self.0.since.store(self.0.now(), Relaxed);
            self.0.in_head.store(false, Relaxed);
        }
    }
}

/// A program's connection, some of whose bytes were read already.
#[derive(Debug)]
pub struct Felt<I> {
    first: Bytes,
    io: I,
    pulse: Arc<Pulse>,
}

impl<I> Felt<I> {
    /// `first` come before what `io` has.
    pub const fn new(first: Bytes, io: I, pulse: Arc<Pulse>) -> Self {
        Self { first, io, pulse }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Felt<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.first.is_empty() {
            let step = this.first.len().min(buffer.remaining());
            buffer.put_slice(&this.first[..step]);
            this.first.advance(step);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            this.pulse.heard();
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Felt<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}
