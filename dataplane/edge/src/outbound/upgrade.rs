//! Connections that go over to another protocol, and then carry bytes both ways.
//!
//! Programs ask for it with `Upgrade` (RFC 9110, 7.8), and over HTTP/2 for WebSocket with an extended CONNECT (RFC 8441). Programs that serve are asked with `Upgrade`.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use h2::ext::Protocol;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes};
use tokio::sync::oneshot;
use tracing::debug;

use super::account::Account;
use super::failure::{Failure, Reason};
use super::headers;
use super::passage::Passage;
use super::pool::Lent;

const BUFFER: usize = 16 << 10;
const WEBSOCKET: &str = "websocket";

/// The protocol that a request wants to go over to.
#[must_use]
pub fn wanted<B>(request: &Request<B>) -> Option<HeaderValue> {
    if request.version() < Version::HTTP_2 {
        return headers::upgrade(request.headers());
    }
    let protocol = request.extensions().get::<Protocol>()?;
    let websocket = request.method() == Method::CONNECT && protocol.as_str() == WEBSOCKET;
    websocket.then(|| HeaderValue::from_static(WEBSOCKET))
}

/// Makes of an extended CONNECT the request of HTTP/1.1 that stands for it (RFC 6455, 4.1).
pub fn to_first(parts: &mut Parts) {
    parts.version = Version::HTTP_11;
    parts.method = Method::GET;
    let host = parts.uri.authority().map(|authority| authority.as_str());
    if let Some(Ok(host)) = host.map(HeaderValue::from_str) {
        parts.headers.insert(header::HOST, host);
    }
    let key = BASE64_STANDARD.encode(rand::random::<[u8; 16]>());
    // It is a header's value by its alphabet.
    if let Ok(key) = HeaderValue::from_str(&key) {
        parts.headers.insert(header::SEC_WEBSOCKET_KEY, key);
    }
    let version = header::SEC_WEBSOCKET_VERSION;
    let version = parts.headers.entry(version);
    version.or_insert(HeaderValue::from_static("13"));
}

/// An answer to an extended CONNECT that would read as if the program had gone over, though it has not.
///
/// # Errors
/// What the caller is told instead.
pub fn check<B>(response: &Response<B>, version: Version) -> Result<(), Failure> {
    if version == Version::HTTP_2 && response.status().is_success() {
        let what = "the program answered, but did not go over to WebSocket";
        return Err(Failure::new(Reason::BadAnswer, what));
    }
    Ok(())
}

/// The head of an answer that goes over, as the caller's version says it.
pub fn answer(status: &mut StatusCode, headers: &mut HeaderMap, version: Version) {
    let wanted = headers.get(header::UPGRADE).cloned();
    headers::end_to_end(headers);
    if version == Version::HTTP_2 {
        *status = StatusCode::OK;
        headers.remove(header::SEC_WEBSOCKET_ACCEPT);
        headers.remove(header::CONTENT_LENGTH);
        return;
    }
    if let Some(wanted) = wanted {
        headers.insert(header::UPGRADE, wanted);
    }
    let connection = HeaderValue::from_static("upgrade");
    headers.insert(header::CONNECTION, connection);
}

/// The connection of a program that wants to go over, once it has.
#[derive(Debug)]
pub enum Own {
    /// Of HTTP/1.1.
    First(OnUpgrade),
    /// A stream of HTTP/2.
    Second(oneshot::Receiver<Passage>),
}

/// Until both ends have said all, or one broke off.
pub async fn carry(own: Own, theirs: OnUpgrade, lent: Lent, account: Box<Account>) {
    let gone = match own {
        Own::First(own) => match own.await {
            Ok(own) => both_ways(TokioIo::new(own), theirs, account).await,
            Err(error) => Err(error.to_string()),
        },
        Own::Second(own) => match own.await {
            Ok(own) => both_ways(own, theirs, account).await,
            Err(error) => Err(error.to_string()),
        },
    };
    if let Err(error) = gone {
        debug!(error, "a connection did not go over to another protocol");
    }
    drop(lent);
}

async fn both_ways(
    mut own: impl AsyncRead + AsyncWrite + Unpin,
    theirs: OnUpgrade,
    mut account: Box<Account>,
) -> Result<(), String> {
    let theirs = theirs.await.map_err(|error| error.to_string())?;
    let mut theirs = TokioIo::new(theirs);
    match copy_bidirectional_with_sizes(&mut own, &mut theirs, BUFFER, BUFFER).await {
        Ok((there, back)) => {
            account.bytes_in += there;
            account.bytes_out += back;
            account.end(true);
        }
        Err(error) => debug!(%error, "an upgraded connection broke off"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(protocol: Option<&'static str>) -> Request<()> {
        let mut request = Request::connect("http://cart.shop.dmsc/chat?x=1")
            .body(())
            .unwrap();
        *request.version_mut() = Version::HTTP_2;
        if let Some(protocol) = protocol {
            let protocol = Protocol::from_static(protocol);
            request.extensions_mut().insert(protocol);
        }
        request
    }

    #[test]
    fn only_websocket_is_gone_over_to_from_http2() {
        assert!(wanted(&connect(None)).is_none());
        assert!(wanted(&connect(Some("connect-udp"))).is_none());
        let request = connect(Some(WEBSOCKET));
        assert_eq!(wanted(&request).unwrap(), WEBSOCKET);
        let (mut parts, ()) = request.into_parts();
        to_first(&mut parts);
        assert_eq!(
            (&parts.method, parts.version),
            (&Method::GET, Version::HTTP_11)
        );
        assert_eq!(parts.headers["host"], "cart.shop.dmsc");
        assert_eq!(parts.headers["sec-websocket-version"], "13");
        assert_eq!(parts.headers["sec-websocket-key"].len(), 24);
    }

    #[test]
    fn an_answer_without_an_upgrade_is_no_success() {
        let mut response = Response::new(());
        assert!(check(&response, Version::HTTP_11).is_ok());
        assert!(check(&response, Version::HTTP_2).is_err());
        *response.status_mut() = StatusCode::NOT_FOUND;
        assert!(check(&response, Version::HTTP_2).is_ok());
    }
}
