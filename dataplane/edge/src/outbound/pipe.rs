//! A body on its way into a stream of HTTP/2.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;

/// Bytes of a body that go with the head, before it is known whether the other end takes them. What it does not take waits in the connection.
const WITH_HEAD: usize = 16 << 10;

/// Until the body has ended, or the other end wants no more of it.
#[derive(Debug)]
pub struct Pipe<B: Body> {
    body: B,
    stream: SendStream<Bytes>,
    /// Waits for room; with whether it is the last.
    piece: Option<(Bytes, bool)>,
    sent: usize,
    /// What the other end is told of a body that breaks off.
    why: fn(&B::Error) -> Reason,
}

impl<B: Body<Data = Bytes> + Unpin> Pipe<B> {
    /// Of a body; `why` is what the other end is told if it breaks off.
    pub const fn new(body: B, stream: SendStream<Bytes>, why: fn(&B::Error) -> Reason) -> Self {
        Self {
            body,
            stream,
            piece: None,
            sent: 0,
            why,
        }
    }

    /// Until the other end takes something.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        // The connection asks for the rest of a piece when it has it; asking for more before holds others up.
        self.stream.reserve_capacity(1);
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(context)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(error)),
                // It wants no more.
                None => return Poll::Ready(Err(Reason::NO_ERROR.into())),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether it was the last.
    fn poll_step(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, h2::Error>> {
        if let Some((piece, _)) = &self.piece {
            let length = piece.len();
            if length > 0 && self.sent + length > WITH_HEAD {
                ready!(self.poll_room(context))?;
            }
            self.sent = self.sent.saturating_add(length);
            let Some((piece, last)) = self.piece.take() else {
                return Poll::Ready(Ok(false));
            };
            self.stream.send_data(piece, last)?;
            return Poll::Ready(Ok(last));
        }
        match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            None => {
                self.stream.send_data(Bytes::new(), true)?;
                return Poll::Ready(Ok(true));
            }
            Some(Err(error)) => {
                self.stream.send_reset((self.why)(&error));
                return Poll::Ready(Ok(true));
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(piece) => self.piece = Some((piece, self.body.is_end_stream())),
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        if self.sent > WITH_HEAD {
                            self.stream.reserve_capacity(0);
                        }
                        self.stream.send_trailers(trailers)?;
                        return Poll::Ready(Ok(true));
                    }
                }
            },
        }
        Poll::Ready(Ok(false))
    }
}

impl<B: Body<Data = Bytes> + Unpin> Future for Pipe<B> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            match this.poll_step(context) {
                Poll::Ready(Ok(false)) => {}
                // Of errors the message in the other direction tells.
                Poll::Ready(Ok(true) | Err(_)) => return Poll::Ready(()),
                // Woken, too, when the other end resets the stream.
                Poll::Pending => return this.stream.poll_reset(context).map(drop),
            }
        }
    }
}
