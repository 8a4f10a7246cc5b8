//! A body as it comes: of an answer from an instance's program, or of a request from a program here.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};
use tokio::task::AbortHandle;

/// Of which HTTP.
#[derive(Debug)]
pub enum Incoming {
    /// None.
    Nothing,
    /// HTTP/1.1.
    First(hyper::body::Incoming),
    /// HTTP/2.
    Second(Second),
}

/// Of HTTP/2: a stream of a connection that others share.
#[derive(Debug)]
pub struct Second {
    stream: RecvStream,
    /// Bytes that are still to come, if the head said how many.
    left: Option<u64>,
    ended: bool,
    upload: Option<Uploading>,
}

/// The rest of a request, which is broken off when nobody wants its answer any more.
#[derive(Debug)]
pub struct Uploading(Option<AbortHandle>);

impl Uploading {
    /// Of the task that sends it.
    pub const fn new(task: AbortHandle) -> Self {
        Self(Some(task))
    }

    /// It comes to its own end.
    fn let_go(mut self) {
        self.0 = None;
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        // An answer may come to its end before its request does.
        if (self.ended || self.stream.is_end_stream())
            && let Some(upload) = self.upload.take()
        {
            upload.let_go();
        }
    }
}

impl Second {
    /// Of a message with these headers; `upload` is what still sends the request that it answers.
    pub fn new(headers: &HeaderMap, stream: RecvStream, upload: Option<Uploading>) -> Self {
        let length = headers.get(CONTENT_LENGTH);
        Self {
            left: length.and_then(|length| length.to_str().ok()?.parse().ok()),
            stream,
            ended: false,
            upload,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.ended {
            match ready!(self.stream.poll_data(context)) {
                Some(Ok(data)) => {
                    // It is on its way to the caller, whose own window bounds what waits there. Errors say that the stream is over.
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                // It said all, and wants to hear no more (RFC 9113, 8.1).
                Some(Err(error)) if error.reason() == Some(Reason::NO_ERROR) => {}
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {}
            }
            self.ended = true;
        }
        let trailers = ready!(self.stream.poll_trailers(context));
        Poll::Ready(match trailers {
            Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
            Err(error) if error.reason() == Some(Reason::NO_ERROR) => None,
            Err(error) => Some(Err(error)),
        })
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Nothing => Poll::Ready(None),
            Self::First(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Self::Second(body) => body.poll_frame(context).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::First(body) => body.is_end_stream(),
            Self::Second(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Nothing => SizeHint::with_exact(0),
            Self::First(body) => body.size_hint(),
            Self::Second(body) if body.is_end_stream() => SizeHint::with_exact(0),
            Self::Second(body) => body.left.map_or_else(SizeHint::new, SizeHint::with_exact),
        }
    }
}
