//! gRPC: what the generated clients of tonic call through.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use dmsc_quic::Endpoint;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Request, Response, Uri};
use tonic::Status;
use tonic::body::Body;

use crate::client::authority;
use crate::config::Config;
use crate::error::HttpError;
use crate::replay::any;
use crate::upstream::{Protocol, Upstream};
use crate::uri::{UriError, name_of_uri};

/// A channel to a name, in the place of [`tonic::transport::Channel`]: `GreeterClient::new(channel)`. Clones share connections.
///
/// There is one HTTP/2 connection per instance, over one stream of the pod's QUIC connection to it. A call that no program was given, because its instance
/// died or refused it, goes to another; one that was sent ends with `UNAVAILABLE` and is never sent twice. A call's deadline ends it at both ends.
#[derive(Debug, Clone)]
pub struct Channel {
    upstream: Arc<Upstream>,
    authority: Authority,
}

/// A channel to a name such as `dmsc://shop/cart/v1`. Connects with the first call. Must be called in a tokio runtime.
///
/// # Errors
/// The URI says no name.
pub fn channel(endpoint: &Arc<Endpoint>, uri: &str) -> Result<Channel, UriError> {
    Channel::new(endpoint, uri, &Config::default())
}

impl Channel {
    /// As [`channel()`], with other limits; of these, `timeout` does not count: gRPC calls carry their own deadline.
    ///
    /// # Errors
    /// The URI says no name.
    pub fn new(endpoint: &Arc<Endpoint>, uri: &str, config: &Config) -> Result<Self, UriError> {
        let name = name_of_uri(uri)?;
        Ok(Self {
            authority: authority(&name),
            upstream: Upstream::new(endpoint, name, config),
        })
    }
}

impl tower::Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = absolute(&self.authority, path);
        let after = deadline(request.headers());
        let upstream = Arc::clone(&self.upstream);
        Box::pin(async move {
            let request = request.map(any);
            let answer = upstream.call(Protocol::H2, request, after, true).await?;
            Ok(answer.map(|body| {
                Body::new(http_body_util::BodyExt::map_err(
                    body,
                    |error: HttpError| Status::from(error),
                ))
            }))
        })
    }
}

fn absolute(authority: &Authority, path: Option<PathAndQuery>) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority.clone());
    parts.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    // All three are there.
    Uri::from_parts(parts).unwrap_or_default()
}

/// `grpc-timeout`: one to eight digits and a unit.
fn deadline(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3_600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines() {
        for (text, expected) in [
            ("2H", Some(Duration::from_secs(7_200))),
            ("1M", Some(Duration::from_secs(60))),
            ("15S", Some(Duration::from_secs(15))),
            ("99999999m", Some(Duration::from_millis(99_999_999))),
            ("100u", Some(Duration::from_micros(100))),
            ("5n", Some(Duration::from_nanos(5))),
            ("", None),
            ("S", None),
            ("-1S", None),
            ("999999999S", None),
            ("1x", None),
            ("1ü", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            assert_eq!(deadline(&headers), expected, "{text}");
        }
    }

    #[test]
    fn what_is_called_is_absolute() {
        let authority = Authority::from_static("cart.shop.dmsc");
        let path = PathAndQuery::from_static("/a.B/C");
        assert_eq!(
            absolute(&authority, Some(path)),
            "http://cart.shop.dmsc/a.B/C"
        );
        assert_eq!(absolute(&authority, None), "http://cart.shop.dmsc/");
    }
}
