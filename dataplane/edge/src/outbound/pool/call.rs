//! One call on a connection of HTTP/2, made by the task that answers the caller: nobody else is woken for it, and head and body leave together.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::Reason;
use h2::client::{ResponseFuture, SendRequest};
use http::header::{CONTENT_LENGTH, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response};
use http_body::Body as _;

use super::super::incoming::{Incoming, Second, Uploading};
use super::super::pipe::Pipe;
use super::super::upload::Upload;

/// A call without an answer.
#[derive(Debug)]
pub struct Unanswered {
    /// Why.
    pub error: h2::Error,
    /// The request, if nothing of it was sent.
    pub back: Option<Box<Request<Upload>>>,
}

/// A request that was sent.
#[derive(Debug)]
pub struct Sent {
    answer: ResponseFuture,
    upload: Option<Uploading>,
}

/// Sends a request. What of its body is not there yet follows by itself.
///
/// # Errors
/// The connection takes no calls.
pub fn send(sender: &mut SendRequest<Bytes>, request: Request<Upload>) -> Result<Sent, Unanswered> {
    // Waits only for a call before, of which a handle of its own has none.
    let mut nobody = Context::from_waker(Waker::noop());
    if let Poll::Ready(Err(error)) = sender.poll_ready(&mut nobody) {
        let back = Some(Box::new(request));
        return Err(Unanswered { error, back });
    }
    let (mut parts, body) = request.into_parts();
    say_length(&mut parts, &body);
    let is_over = body.is_end_stream();
    let request = Request::from_parts(parts, ());
    let (answer, stream) = sender.send_request(request, is_over).map_err(broken)?;
    let mut upload = None;
    if !is_over {
        let mut rest = Pipe::new(body, stream, |_| Reason::CANCEL);
        // Most bodies are there as a whole; the rest is sent by a task, which looks at it at once. One that breaks off does so because its caller did, or because
        // it is sent again elsewhere.
        if Pin::new(&mut rest).poll(&mut nobody).is_pending() {
            upload = Some(Uploading::new(tokio::spawn(rest).abort_handle()));
        }
    }
    Ok(Sent { answer, upload })
}

impl Sent {
    /// The answer's head.
    ///
    /// # Errors
    /// The connection broke under this call.
    pub async fn answer(self) -> Result<Response<Incoming>, Unanswered> {
        let answer = self.answer.await.map_err(broken)?;
        let (parts, stream) = answer.into_parts();
        let body = Second::new(&parts.headers, stream, self.upload);
        Ok(Response::from_parts(parts, Incoming::Second(body)))
    }
}

const fn broken(error: h2::Error) -> Unanswered {
    Unanswered { error, back: None }
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
