//! What HTTP/2 says to a program in one step, as one piece.
//!
//! The library lends each frame of data to the kernel instead of copying it: a write for each answer, however many are there. Answers are short as a rule, and a
//! write costs much more than copying one. So what is written is kept here until the library has nothing more to say, or until there is much of it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::flood::Flood;

/// Bytes that are kept at most; more leave in the middle of a step.
const FULL: usize = 32 << 10;
/// Bytes of a flood that are read at once, and forgotten.
const PIECE: usize = 4 << 10;

/// A connection that keeps what is written until somebody says [`Gather::poll_push`]. Clones are the same connection: one for the library, one for who drives it.
#[derive(Debug)]
pub struct Gather<I>(Arc<Mutex<Gathered<I>>>);

#[derive(Debug)]
struct Gathered<I> {
    io: I,
    kept: BytesMut,
    flood: Flood,
}

impl<I> Clone for Gather<I> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<I> Gather<I> {
    /// Of a connection.
    pub fn new(io: I) -> Self {
        Self(Arc::new(Mutex::new(Gathered {
            io,
            kept: BytesMut::new(),
            flood: Flood::new(),
        })))
    }

    /// Nobody but the connection's own task ever asks: it never waits.
    fn lock(&self) -> MutexGuard<'_, Gathered<I>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the memory back until there is something to say again.
    pub fn shrink(&self) {
        let mut gathered = self.lock();
        if gathered.kept.is_empty() {
            gathered.kept = BytesMut::new();
        }
    }

    /// Whether the program floods: from then on nothing more of it is read, and who drives the connection is to end it.
    pub fn is_flooded(&self) -> bool {
        self.lock().flood.is_over()
    }
}

impl<I: AsyncRead + Unpin> Gather<I> {
    /// Reads and forgets what comes, until it ends or so much has come.
    ///
    /// # Errors
    /// The connection's.
    pub fn poll_forget(&self, left: &mut usize, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut piece = [0; PIECE];
        while *left > 0 {
            let mut buffer = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut self.lock().io).poll_read(context, &mut buffer))?;
            match buffer.filled().len() {
                0 => break,
                read => *left = left.saturating_sub(read),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> Gather<I> {
    /// Writes what was kept. Pending: the program does not read, and the task is woken when it does.
    ///
    /// # Errors
    /// The connection's.
    pub fn poll_push(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lock().poll_push(context)
    }
}

impl<I: AsyncWrite + Unpin> Gathered<I> {
    fn poll_push(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.kept.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(context, &self.kept))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.kept.advance(written);
        }
        // From the beginning of its memory, without moving anything.
        self.kept.clear();
        Poll::Ready(Ok(()))
    }

    /// Makes room for so many bytes. `false`: there are too many to be kept.
    fn poll_room(&mut self, length: usize, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.kept.len() + length > FULL {
            ready!(self.poll_push(context))?;
        }
        Poll::Ready(Ok(length <= FULL))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Gather<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut gathered = self.lock();
        // Nobody is woken: who drives it looks after each turn.
        if gathered.flood.is_over() {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut gathered.io).poll_read(context, buffer))?;
        gathered.flood.heard(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Gather<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut gathered = self.lock();
        let mut length = bytes.len();
        if ready!(gathered.poll_room(length, context))? {
            gathered.kept.extend_from_slice(bytes);
        } else {
            length = ready!(Pin::new(&mut gathered.io).poll_write(context, bytes))?;
        }
        gathered.flood.said(length);
        Poll::Ready(Ok(length))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut length = slices.iter().map(|slice| slice.len()).sum();
        let mut gathered = self.lock();
        if ready!(gathered.poll_room(length, context))? {
            for slice in slices {
                gathered.kept.extend_from_slice(slice);
            }
        } else {
            length = ready!(Pin::new(&mut gathered.io).poll_write_vectored(context, slices))?;
        }
        gathered.flood.said(length);
        Poll::Ready(Ok(length))
    }

    /// Above 256 bytes the library would otherwise copy them twice.
    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Said after each frame of data; the step is not over.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = self.lock();
        ready!(gathered.poll_push(context))?;
        Pin::new(&mut gathered.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_is_said_in_one_step_leaves_together() {
        let (mut program, edge) = tokio::io::duplex(1 << 20);
        let gather = Gather::new(edge);
        let mut library = gather.clone();
        library.write_all(b"head").await.unwrap();
        library.flush().await.unwrap();
        let slices = [IoSlice::new(b" and "), IoSlice::new(b"body")];
        assert_eq!(library.write_vectored(&slices).await.unwrap(), 9);
        let mut told = [0; 64];
        tokio::select! {
            biased;
            _ = program.read(&mut told) => panic!("before the step was over"),
            () = tokio::task::yield_now() => {}
        }
        poll_fn(|task| gather.poll_push(task)).await.unwrap();
        let length = program.read(&mut told).await.unwrap();
        assert_eq!(&told[..length], b"head and body");
        // The end leaves with what was said before it.
        library.write_all(b"bye").await.unwrap();
        library.shutdown().await.unwrap();
        let mut rest = Vec::new();
        program.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"bye");
    }

    #[tokio::test]
    async fn no_more_is_kept_than_there_is_room_for() {
        let (mut program, edge) = tokio::io::duplex(1_024);
        let gather = Gather::new(edge);
        let mut library = gather.clone();
        let written = async {
            // Less, exactly as much, and more than is ever kept.
            for length in [FULL - 1, 1, FULL, FULL + 1, 3 * FULL] {
                library.write_all(&vec![7; length]).await.unwrap();
                assert!(gather.lock().kept.len() <= FULL);
            }
            library.shutdown().await.unwrap();
        };
        let mut all = Vec::new();
        let (_, read) = tokio::join!(written, program.read_to_end(&mut all));
        assert_eq!(read.unwrap(), 6 * FULL + 1);
        gather.shrink();
        assert_eq!(gather.lock().kept.capacity(), 0);
    }
}
