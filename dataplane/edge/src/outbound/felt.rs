//! A program's connection as the HTTP library has it: its bytes are felt by the pulse, and the library's own refusals are kept back.
//!
//! The library answers what it cannot read with a bare 400, 414 or 431 and an end. The edge wants to say more: such an answer is not sent, and the edge writes its own
//! when the library has given the connection up.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::pulse::Pulse;

/// How the library's own refusals begin.
const REFUSALS: [(&[u8], StatusCode); 3] = [
    (b"HTTP/1.1 400 ", StatusCode::BAD_REQUEST),
    (b"HTTP/1.1 414 ", StatusCode::URI_TOO_LONG),
    (
        b"HTTP/1.1 431 ",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    ),
];

/// A program's connection, some of whose bytes were read already.
#[derive(Debug)]
pub struct Felt<I> {
    first: Bytes,
    io: I,
    pulse: Arc<Pulse>,
    /// What the library refused; from then on it says nothing more.
    refused: Option<StatusCode>,
}

impl<I> Felt<I> {
    /// `first` come before what `io` has.
    pub const fn new(first: Bytes, io: I, pulse: Arc<Pulse>) -> Self {
        Self {
            first,
            io,
            pulse,
            refused: None,
        }
    }

    /// The connection, and the status of the refusal that was kept back.
    pub fn into_parts(self) -> (I, Option<StatusCode>) {
        (self.io, self.refused)
    }

    /// Whether these bytes are to be kept back.
    fn is_refusal(&mut self, bytes: &[u8]) -> bool {
        if self.refused.is_none() && self.pulse.has_said_all() {
            let mut refusals = REFUSALS.iter();
            let found = refusals.find(|(beginning, _)| bytes.starts_with(beginning));
            self.refused = found.map(|(_, status)| *status);
        }
        self.refused.is_some()
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
        let this = self.get_mut();
        if this.is_refusal(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut this.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.is_refusal(slices.first().map_or(&[], |first| first)) {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        Pin::new(&mut this.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.io).poll_flush(context))?;
        this.pulse.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.refused.is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const BARE: &[u8] =
        b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\r\n";

    #[tokio::test]
    async fn only_what_is_no_answer_is_kept_back() {
        let (mut program, edge) = tokio::io::duplex(1_024);
        let pulse = Pulse::new(true);
        let mut felt = Felt::new(Bytes::new(), edge, Arc::clone(&pulse));
        // Of a program that answers so itself; its head leaves after its call has ended.
        drop(pulse.call());
        felt.write_all(BARE).await.unwrap();
        felt.flush().await.unwrap();
        let mut told = vec![0; BARE.len()];
        program.read_exact(&mut told).await.unwrap();
        assert_eq!(told, BARE);
        // While a call goes on, nothing that is flushed before is the end of it.
        let call = pulse.call();
        felt.flush().await.unwrap();
        drop(call);
        felt.write_all(BARE).await.unwrap();
        felt.flush().await.unwrap();
        felt.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
            .await
            .unwrap();
        felt.write_all(BARE).await.unwrap();
        felt.shutdown().await.unwrap();
        let (edge, refused) = felt.into_parts();
        assert_eq!(refused, Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
        drop(edge);
        let mut told = Vec::new();
        program.read_to_end(&mut told).await.unwrap();
        assert_eq!(told, [BARE, b"HTTP/1.1 100 Continue\r\n\r\n"].concat());
    }
}
