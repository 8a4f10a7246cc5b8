//! For programs that must have tonic's own channel.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use dmsc_quic::{Connector, Endpoint};
use dmsc_wire::NameBuf;
use http::Uri;
use hyper_util::rt::TokioIo;

use crate::client::authority;
use crate::error::HttpError;
use crate::io::Io;
use crate::lane::open;
use crate::uri::{UriError, name_of_uri};

/// Opens a stream to an instance of a name, whatever URI it is asked for: a connector for `tonic::transport::Endpoint` and other clients of hyper.
#[derive(Debug, Clone)]
pub struct Connect {
    connector: Connector,
    name: NameBuf,
}

impl Connect {
    /// To a name such as `dmsc://shop/cart/v1`.
    ///
    /// # Errors
    /// The URI says no name.
    pub fn new(endpoint: &Endpoint, uri: &str) -> Result<Self, UriError> {
        Ok(Self {
            connector: endpoint.connector(),
            name: name_of_uri(uri)?,
        })
    }
}

impl tower::Service<Uri> for Connect {
    type Response = TokioIo<Io>;
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<Io>, HttpError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), HttpError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { connector, name } = self.clone();
        Box::pin(async move { Ok(TokioIo::new(open(&connector, &name, None).await?)) })
    }
}

/// A [`tonic::transport::Channel`] to a name: for code that must have this type. It connects again when its instance is lost, but to the instance that the network chooses,
/// and a call that an instance refused is not made elsewhere; [`crate::Channel`] does better. Must be called in a tokio runtime.
///
/// # Errors
/// The URI says no name.
pub fn tonic_channel(
    endpoint: &Arc<Endpoint>,
    uri: &str,
) -> Result<tonic::transport::Channel, UriError> {
    let connect = Connect::new(endpoint, uri)?;
    let origin = Uri::builder()
        .scheme("http")
        .authority(authority(&connect.name))
        .path_and_query("/")
        .build()
        .unwrap_or_default();
    Ok(tonic::transport::Endpoint::from(origin).connect_with_connector_lazy(connect))
}
