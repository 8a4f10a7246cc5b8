//! One call on a connection of HTTP/2, made by the task that answers the caller: nobody else is woken for it, and head and body leave together.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, SendStream};
use http::header::{CONTENT_LENGTH, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response};
use http_body::Body as _;

use super::super::incoming::{Incoming, Second, Uploading};
use super::super::upload::Upload;

/// Bytes of a body that go with the head, before it is known whether the program takes them. What it does not take waits in the connection.
const WITH_HEAD: usize = 16 << 10;

/// A call without an answer.
#[derive(Debug)]
pub struct Unanswered {
    /// Why.
    pub error: h2::Error,
    /// The request, if nothing of it was sent.
    pub back: Option<Request<Upload>>,
}

/// Sends a request; the answer's head.
///
/// # Errors
/// The connection takes no calls, or broke under this one.
pub async fn call(
    sender: &mut SendRequest<Bytes>,
    request: Request<Upload>,
) -> Result<Response<Incoming>, Unanswered> {
    if let Err(error) = poll_fn(|context| sender.poll_ready(context)).await {
        let back = Some(request);
        return Err(Unanswered { error, back });
    }
    let broken = |error| Unanswered { error, back: None };
    let (mut parts, body) = request.into_parts();
    say_length(&mut parts, &body);
    let is_over = body.is_end_stream();
    let request = Request::from_parts(parts, ());
    let (answer, stream) = sender.send_request(request, is_over).map_err(broken)?;
    let mut upload = None;
    if !is_over {
        let mut rest = Rest::new(body, stream);
        // Most bodies are there as a whole.
        let is_sent = poll_fn(|context| Poll::Ready(Pin::new(&mut rest).poll(context).is_ready()));
        if !is_sent.await {
            upload = Some(Uploading::new(tokio::spawn(rest).abort_handle()));
        }
    }
    let answer = answer.await.map_err(broken)?;
    let (parts, stream) = answer.into_parts();
    let body = Second::new(&parts.headers, stream, upload);
    Ok(Response::from_parts(parts, Incoming::Second(body)))
}

/// The length of the body, where it is known and the caller did not say it (RFC 9110, 8.6).
fn say_length(parts: &mut Parts, body: &Upload) {
    let has_content = |method: &Method| [Method::POST, Method::PUT, Method::PATCH].contains(method);
    if let Some(length) = body.size_hint().exact()
        && (length > 0 || has_content(&parts.method))
    {
        let length = HeaderValue::from(length);
        parts.headers.entry(CONTENT_LENGTH).or_insert(length);
    }
}

/// The body on its way out, until it has ended or the program wants no more of it.
struct Rest {
    body: Upload,
    stream: SendStream<Bytes>,
    /// Waits for room; with whether it is the last.
    piece: Option<(Bytes, bool)>,
    sent: usize,
}

impl Rest {
    const fn new(body: Upload, stream: SendStream<Bytes>) -> Self {
        Self {
            body,
            stream,
            piece: None,
            sent: 0,
        }
    }

    /// Until the program takes something.
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
            // The caller broke off, or the request is made again elsewhere.
            Some(Err(_)) => {
                self.stream.send_reset(Reason::CANCEL);
                return Poll::Ready(Ok(true));
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(piece) => self.piece = Some((piece, self.body.is_end_stream())),
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        self.stream.reserve_capacity(0);
                        self.stream.send_trailers(trailers)?;
                        return Poll::Ready(Ok(true));
                    }
                }
            },
        }
        Poll::Ready(Ok(false))
    }
}

impl Future for Rest {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            // Woken, too, when the program resets the stream.
            if this.stream.poll_reset(context).is_ready() {
                return Poll::Ready(());
            }
            // The answer tells of errors.
            match ready!(this.poll_step(context)) {
                Ok(false) => {}
                Ok(true) | Err(_) => return Poll::Ready(()),
            }
        }
    }
}
