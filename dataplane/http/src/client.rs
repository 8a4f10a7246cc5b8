//! Plain HTTP requests to names.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use dmsc_quic::Endpoint;
use dmsc_wire::NameBuf;
use http::header::HOST;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Request, Response, Uri};
use http_body::Body;

use crate::answer::Answer;
use crate::config::Config;
use crate::error::{BoxError, HttpError};
use crate::host::{SUFFIX, host_of_name};
use crate::replay::any;
use crate::upstream::{Protocol, Upstream};
use crate::uri::name_of_uri;

/// Makes HTTP/1.1 requests to names. Clones share connections.
///
/// A call that no program was given, because its instance died or refused it, goes to another. One that was sent is made again only if its method is idempotent and
/// no byte of the answer has come; otherwise it ends with [`HttpError::Lost`].
#[derive(Debug, Clone)]
pub struct Client {
    endpoint: Arc<Endpoint>,
    config: Arc<Config>,
    names: Arc<Mutex<HashMap<NameBuf, Known>>>,
}

#[derive(Debug)]
struct Known {
    upstream: Arc<Upstream>,
    used: Instant,
}

impl Client {
    /// With the defaults.
    #[must_use]
    pub fn new(endpoint: &Arc<Endpoint>) -> Self {
        Self::with_config(endpoint, Config::default())
    }

    /// With other limits.
    #[must_use]
    pub fn with_config(endpoint: &Arc<Endpoint>, config: Config) -> Self {
        Self {
            endpoint: Arc::clone(endpoint),
            config: Arc::new(config),
            names: Arc::default(),
        }
    }

    /// Calls the name `uri`, such as `dmsc://shop/cart/v1`, with a request for a path there. Of the request's own URI, only path and query count; `Host`
    /// is the name's (`v1.cart.shop.dmsc`) unless it is given. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// There is no answer, or none in time: see [`HttpError`].
    pub async fn send<B>(
        &self,
        uri: &str,
        request: Request<B>,
    ) -> Result<Response<Answer>, HttpError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.send_to(&name_of_uri(uri)?, request).await
    }

    /// As [`Client::send`], to a name.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn send_to<B>(
        &self,
        name: &NameBuf,
        request: Request<B>,
    ) -> Result<Response<Answer>, HttpError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let upstream = self.upstream(name)?;
        let mut request = request.map(any);
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        *request.version_mut() = http::Version::HTTP_11;
        if !request.headers().contains_key(HOST) {
            // An authority is a header's value.
            if let Ok(host) = HeaderValue::from_str(authority(name).as_str()) {
                request.headers_mut().insert(HOST, host);
            }
        }
        upstream
            .call(Protocol::H1, request, self.config.timeout, false)
            .await
    }

    fn upstream(&self, name: &NameBuf) -> Result<Arc<Upstream>, HttpError> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let used = Instant::now();
        if let Some(known) = names.get_mut(name) {
            known.used = used;
            return Ok(Arc::clone(&known.upstream));
        }
        if names.len() >= self.config.names.max(1) {
            // The one that nobody has needed for longest makes room.
            let free = names
                .iter()
                .filter(|(_, known)| Arc::strong_count(&known.upstream) == 1)
                .min_by_key(|(_, known)| known.used)
                .map(|(name, _)| name.clone())
                .ok_or(HttpError::Names(self.config.names))?;
            names.remove(&free);
        }
        let upstream = Upstream::new(&self.endpoint, name.clone(), &self.config);
        let known = Known {
            upstream: Arc::clone(&upstream),
            used,
        };
        names.insert(name.clone(), known);
        Ok(upstream)
    }
}

/// What a program is told that it was called as: the name as a host, or `dmsc` for a name that is none.
pub(crate) fn authority(name: &NameBuf) -> Authority {
    host_of_name(name.as_name())
        .ok()
        .and_then(|host| host.parse().ok())
        .unwrap_or_else(|| Authority::from_static(SUFFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        let of = |text: &str| authority(&NameBuf::parse(text).unwrap());
        assert_eq!(of("/shop/cart/v1"), "v1.cart.shop.dmsc");
        assert_eq!(of("/shop/Cart"), "dmsc");
    }
}
