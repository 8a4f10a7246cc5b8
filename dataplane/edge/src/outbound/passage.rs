//! A stream of HTTP/2 as bytes, once its program has gone over to another protocol (RFC 8441).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Both directions.
#[derive(Debug)]
pub struct Passage {
    send: SendStream<Bytes>,
    recv: RecvStream,
    /// Came, and is not read yet.
    rest: Bytes,
}

impl Passage {
    /// Of a stream whose heads were said.
    pub const fn new(send: SendStream<Bytes>, recv: RecvStream) -> Self {
        let rest = Bytes::new();
        Self { send, recv, rest }
    }
}

/// Whether somebody only wants to hear no more.
fn is_end(reason: Option<Reason>) -> bool {
    matches!(reason, Some(Reason::NO_ERROR | Reason::CANCEL))
}

fn broken(error: h2::Error) -> io::Error {
    match error.reason() {
        Some(Reason::NO_ERROR | Reason::CANCEL | Reason::STREAM_CLOSED) => {
            io::ErrorKind::BrokenPipe.into()
        }
        _ => io::Error::other(error),
    }
}

impl AsyncRead for Passage {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.rest.is_empty() {
            match ready!(this.recv.poll_data(context)) {
                Some(Ok(data)) => {
                    // Errors say that the stream is over, which the next look tells.
                    let _ = this.recv.flow_control().release_capacity(data.len());
                    this.rest = data;
                }
                Some(Err(error)) if is_end(error.reason()) => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let step = this.rest.len().min(buffer.remaining());
        buffer.put_slice(&this.rest[..step]);
        this.rest.advance(step);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Passage {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        this.send.reserve_capacity(bytes.len());
        let room = loop {
            match this.send.capacity() {
                0 => match ready!(this.send.poll_capacity(context)) {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                    None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                },
                room => break room.min(bytes.len()),
            }
        };
        let piece = Bytes::copy_from_slice(&bytes[..room]);
        this.send.send_data(piece, false).map_err(broken)?;
        Poll::Ready(Ok(room))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = self.get_mut().send.send_data(Bytes::new(), true);
        Poll::Ready(sent.map_err(broken))
    }
}
