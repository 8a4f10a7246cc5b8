//! One call on a connection of HTTP/2: its request as it came, and its answer on the way back.

use std::cell::RefCell;
use std::error::Error;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::SystemTime;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::header::{CONTENT_LENGTH, DATE, HeaderValue};
use http::{Method, Request, Response};
use http_body::Body as _;
use tokio::sync::oneshot;
use tracing::debug;

use super::answer::Answer;
use super::caller::Caller;
use super::incoming::{Incoming, Second};
use super::passage::Passage;
use super::pipe::Pipe;
use super::upgrade::Own;

/// Until the answer's last byte is said, or the program wants no more of it.
pub async fn run(
    caller: Arc<Caller>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let (parts, stream) = request.into_parts();
    let goes_over = parts.method == Method::CONNECT;
    if goes_over {
        return Box::pin(go_over(&caller, parts, stream, respond)).await;
    }
    let body = Incoming::Second(Second::new(&parts.headers, stream, None));
    let request = Request::from_parts(parts, body);
    let call = pin!(caller.call(request, None));
    if let Some(response) = until_reset(&mut respond, call).await {
        say(response, respond).await;
    }
}

/// An extended CONNECT, after which the stream carries bytes if the program takes it.
async fn go_over(
    caller: &Caller,
    parts: http::request::Parts,
    stream: RecvStream,
    mut respond: SendResponse<Bytes>,
) {
    // Its body begins only when it has gone over (RFC 8441, 4).
    let length = parts.headers.get(CONTENT_LENGTH);
    if length.is_some_and(|length| length.as_bytes() != b"0") {
        return respond.send_reset(Reason::PROTOCOL_ERROR);
    }
    let (give, own) = oneshot::channel();
    let request = Request::from_parts(parts, Incoming::Nothing);
    let call = pin!(caller.call(request, Some(Own::Second(own))));
    let Some(response) = until_reset(&mut respond, call).await else {
        return;
    };
    if !response.status().is_success() {
        return say(response, respond).await;
    }
    let head = response.map(drop);
    match respond.send_response(dated(head), false) {
        Ok(send) => drop(give.send(Passage::new(send, stream))),
        Err(error) => debug!(%error, "an answer was not said"),
    }
}

/// `None`: the program took its request back.
async fn until_reset(
    respond: &mut SendResponse<Bytes>,
    mut call: Pin<&mut impl Future<Output = Response<Answer>>>,
) -> Option<Response<Answer>> {
    poll_fn(|context| match call.as_mut().poll(context) {
        Poll::Ready(response) => Poll::Ready(Some(response)),
        Poll::Pending => respond.poll_reset(context).map(|_| None),
    })
    .await
}

/// Says an answer. Its call ends when the body is dropped, if not before.
async fn say(response: Response<Answer>, mut respond: SendResponse<Bytes>) {
    let (mut parts, body) = response.into_parts();
    let is_over = body.is_end_stream();
    if !is_over && let Some(length) = body.size_hint().exact() {
        let length = HeaderValue::from(length);
        parts.headers.entry(CONTENT_LENGTH).or_insert(length);
    }
    let head = Response::from_parts(parts, ());
    match respond.send_response(dated(head), is_over) {
        Ok(_) if is_over => {}
        Ok(stream) => Pipe::new(body, stream, |error| why(error.as_ref())).await,
        Err(error) => {
            debug!(%error, "an answer was not said");
            respond.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}

/// What the program is told when its answer breaks off: what the other program said, if it did.
fn why(error: &(dyn Error + 'static)) -> Reason {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.reason().unwrap_or(Reason::INTERNAL_ERROR);
        }
        cause = error.source();
    }
    Reason::INTERNAL_ERROR
}

/// An answer without a date gets one (RFC 9110, 6.6.1).
fn dated(mut response: Response<()>) -> Response<()> {
    response.headers_mut().entry(DATE).or_insert_with(date);
    response
}

thread_local! {
    /// The second, and how it is written.
    static DATED: RefCell<(u64, HeaderValue)> = const { RefCell::new((0, HeaderValue::from_static(""))) };
}

fn date() -> HeaderValue {
    let now = SystemTime::now();
    let second = now.duration_since(SystemTime::UNIX_EPOCH);
    let second = second.map_or(1, |since| since.as_secs());
    DATED.with_borrow_mut(|(known, value)| {
        if *known != second {
            // It is a header's value by its alphabet.
            if let Ok(new) = HeaderValue::from_str(&httpdate::fmt_http_date(now)) {
                (*known, *value) = (second, new);
            }
        }
        value.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_date_and_keeps_its_own() {
        let response = dated(Response::new(()));
        let text = response.headers()[DATE].to_str().unwrap().to_owned();
        let date = httpdate::parse_http_date(&text).unwrap();
        assert!(date.elapsed().unwrap().as_secs() < 60, "{text}");
        let mut response = Response::new(());
        let own = HeaderValue::from_static("Thu, 01 Jan 1970 00:00:01 GMT");
        response.headers_mut().insert(DATE, own.clone());
        assert_eq!(dated(response).headers()[DATE], own);
    }

    #[test]
    fn what_a_program_broke_off_with_is_passed_on() {
        let error = h2::Error::from(Reason::ENHANCE_YOUR_CALM);
        assert_eq!(why(&error), Reason::ENHANCE_YOUR_CALM);
        let other = std::io::Error::other("other");
        assert_eq!(why(&other), Reason::INTERNAL_ERROR);
    }
}
