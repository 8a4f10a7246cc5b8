//! Why a call failed, in words and in the protocol's own kind.

use bytes::Bytes;
use dmsc_http::preface::Code;
use dmsc_quic::QuicError;
use dmsc_wire::NameBuf;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use super::answer::Answer;
use super::pool::{DialError, Unreadable};

static DMSC_ERROR: HeaderName = HeaderName::from_static("dmsc-error");
static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
static GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The kinds of failures that the edge itself answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// What came is no request.
    BadRequest,
    /// The target of the request is too long.
    LongTarget,
    /// The head of the request is too long, or has too many fields.
    LongHead,
    /// The head of the request did not come to its end.
    SlowHead,
    /// The host is no name.
    BadHost,
    /// CONNECT.
    Connect,
    /// Nobody has announced the name.
    NobodyServes,
    /// No instance took the call; none of them has it.
    NotReached,
    /// It was sent, and no answer came.
    Lost,
    /// No answer in time.
    Timeout,
    /// The caller's body stalled.
    SlowBody,
    /// The caller's body broke off.
    CallerLeft,
    /// The answer is no HTTP.
    BadAnswer,
    /// The head of the answer is too long, or has too many fields.
    LongAnswer,
}

impl Reason {
    /// The word of the header `dmsc-error`, the access log and the metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::LongTarget => "long-target",
            Self::LongHead => "long-head",
            Self::SlowHead => "slow-head",
            Self::BadHost => "bad-host",
            Self::Connect => "connect-refused",
            Self::NobodyServes => "nobody-serves",
            Self::NotReached => "not-reached",
            Self::Lost => "lost-after-sent",
            Self::Timeout => "timeout",
            Self::SlowBody => "slow-body",
            Self::CallerLeft => "caller-left",
            Self::BadAnswer => "bad-answer",
            Self::LongAnswer => "long-answer",
        }
    }

    /// The status of HTTP.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest | Self::BadHost | Self::CallerLeft => StatusCode::BAD_REQUEST,
            Self::LongTarget => StatusCode::URI_TOO_LONG,
            Self::LongHead => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Connect => StatusCode::METHOD_NOT_ALLOWED,
            Self::NobodyServes | Self::NotReached => StatusCode::SERVICE_UNAVAILABLE,
            Self::Lost | Self::BadAnswer | Self::LongAnswer => StatusCode::BAD_GATEWAY,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::SlowHead | Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// The status of gRPC.
    #[must_use]
    pub const fn grpc(self) -> u16 {
        match self {
            Self::BadRequest | Self::BadHost => 3,
            Self::LongTarget | Self::LongHead => 8,
            Self::Connect => 12,
            Self::Timeout | Self::SlowHead | Self::SlowBody => 4,
            Self::CallerLeft => 1,
            Self::NobodyServes | Self::NotReached | Self::Lost => 14,
            Self::BadAnswer | Self::LongAnswer => 13,
        }
    }

    const fn remedy(self) -> &'static str {
        match self {
            Self::BadRequest => "speak HTTP/1.1, or HTTP/2 by prior knowledge",
            Self::LongTarget => "send a shorter path and query, or put them into the body",
            Self::LongHead => "send at most 100 fields, and at most 64 KiB",
            Self::SlowHead => "send the head of the request faster",
            Self::BadHost => "call a host like cart.shop.dmsc",
            Self::Connect => "send requests to this address, it is no proxy",
            Self::NobodyServes => {
                "start an instance, or correct the name; `dmscctl explain` says who has it"
            }
            Self::NotReached => "no program has got it, so it may be sent again",
            Self::Lost => "it may have been executed, so it was not sent again",
            Self::Timeout => {
                "it may have been executed; raise [pod.outbound] timeout if the program needs longer"
            }
            Self::SlowBody => "send the body faster",
            Self::CallerLeft => "send the whole body",
            Self::BadAnswer => "does the program speak the protocol that it was called with?",
            Self::LongAnswer => "have the program say at most 100 fields, and at most 64 KiB",
        }
    }
}

/// One failed call.
#[derive(Debug)]
pub struct Failure {
    /// Its kind.
    pub reason: Reason,
    /// What happened, for people.
    pub what: String,
}

impl Failure {
    /// Of a kind.
    pub fn new(reason: Reason, what: impl Into<String>) -> Self {
        Self {
            reason,
            what: what.into(),
        }
    }

    /// Of a connection to an instance that broke under a call; `code` is what the instance said of it, `given` whether its program may have got the call,
    /// `unreadable` why what came could not be read.
    #[must_use]
    pub fn broken(unreadable: Option<Unreadable>, code: Option<Code>, given: bool) -> Self {
        if let Some(unreadable) = unreadable {
            return unreadable.into();
        }
        if given {
            let what = match code {
                Some(Code::Gone) => "the program closed the connection before it answered",
                _ => "the connection was lost before an answer came",
            };
            return Self::new(Reason::Lost, what);
        }
        let what = match code {
            Some(Code::NotServed) => "the instance does not serve this name",
            Some(Code::NobodyListens) => "the instance's program takes no connections",
            Some(Code::Unhealthy) => "the instance's program is not well",
            Some(Code::Overloaded) => "the instance has too many connections",
            Some(Code::Draining) => "the instance ends soon",
            Some(Code::BadPreface) => "the instance speaks another version of the stream format",
            Some(Code::Gone) | None => "the connection to the instance was closed",
        };
        Self::new(Reason::NotReached, what)
    }

    /// For a connection of HTTP/1.1 of which nothing else is known, and which ends with it.
    #[must_use]
    pub fn last_words(&self) -> String {
        let (status, code) = (self.reason.status(), self.reason.as_str());
        let text = self.text(None) + "\n";
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ndmsc-error: {code}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{text}",
            text.len()
        )
    }

    fn text(&self, name: Option<&NameBuf>) -> String {
        let name = name.map_or_else(String::new, |name| format!("{name}: "));
        format!("{name}{}; {}", self.what, self.reason.remedy())
    }

    /// How a gRPC call ends with it.
    #[must_use]
    pub fn trailers(&self, name: Option<&NameBuf>) -> HeaderMap {
        let mut trailers = HeaderMap::new();
        trailers.insert(GRPC_STATUS.clone(), HeaderValue::from(self.reason.grpc()));
        if let Ok(message) = HeaderValue::from_str(&escaped(&self.text(name))) {
            trailers.insert(GRPC_MESSAGE.clone(), message);
        }
        let code = HeaderValue::from_static(self.reason.as_str());
        trailers.insert(DMSC_ERROR.clone(), code);
        trailers
    }

    /// What the caller is told.
    #[must_use]
    pub fn response(&self, name: Option<&NameBuf>, grpc: bool) -> Response<Answer> {
        if grpc {
            let mut response = Response::new(Answer::empty());
            let headers = response.headers_mut();
            *headers = self.trailers(name);
            let kind = HeaderValue::from_static("application/grpc");
            headers.insert(header::CONTENT_TYPE, kind);
            return response;
        }
        let code = HeaderValue::from_static(self.reason.as_str());
        let body = Bytes::from(self.text(name) + "\n");
        let mut response = Response::new(Answer::text(body));
        *response.status_mut() = self.reason.status();
        let headers = response.headers_mut();
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, plain);
        headers.insert(DMSC_ERROR.clone(), code);
        response
    }
}

impl From<Unreadable> for Failure {
    fn from(unreadable: Unreadable) -> Self {
        let (reason, what) = match unreadable {
            Unreadable::NoHttp => (Reason::BadAnswer, "the program's answer is no HTTP"),
            Unreadable::NoHttp2 => (Reason::BadAnswer, "the program's answer is no HTTP/2"),
            Unreadable::Long => (
                Reason::LongAnswer,
                "the head of the program's answer is too long",
            ),
            Unreadable::LongOrNoHttp => (
                Reason::BadAnswer,
                "the head of the program's answer is no HTTP/2, or longer than 64 KiB",
            ),
        };
        Self::new(reason, what)
    }
}

/// Nothing was given to a program.
impl From<&DialError> for Failure {
    fn from(error: &DialError) -> Self {
        let what = match error {
            DialError::Quic(QuicError::NoRoute(_)) => "no instance can be reached from here".into(),
            other => other.to_string(),
        };
        Self::new(Reason::NotReached, what)
    }
}

/// As gRPC over HTTP/2 has messages in headers: printable ASCII, others as %XX.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (0x20..=0x7e).contains(&byte) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_why_and_what_to_do() {
        let name = NameBuf::parse("/shop/cart").unwrap();
        let failure = Failure::new(Reason::NobodyServes, "nobody serves this 100 % name");
        let response = failure.response(Some(&name), false);
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["dmsc-error"], "nobody-serves");
        let response = failure.response(Some(&name), true);
        assert_eq!(
            (
                response.status().as_u16(),
                &response.headers()["grpc-status"]
            ),
            (200, &HeaderValue::from(14))
        );
        let message = response.headers()["grpc-message"].to_str().unwrap();
        assert!(
            message.starts_with("/shop/cart: nobody serves this 100 %25 name; start"),
            "{message}"
        );
    }
}
