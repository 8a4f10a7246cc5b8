//! Connects a tonic channel to a Unix socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint, Uri};

/// The socket of an agent could not be reached.
#[derive(Debug)]
pub struct UnixSocketError {
    path: PathBuf,
    source: tonic::transport::Error,
}

impl std::fmt::Display for UnixSocketError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "no agent answers on {}: is the dataplane running, and is this its [agent] socket?",
            self.path.display()
        )
    }
}

impl std::error::Error for UnixSocketError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Connects to `path` within two seconds; calls on the channel reconnect by themselves after a restart of the peer.
///
/// # Errors
/// When nobody listens on `path`.
pub async fn connect_unix(path: &Path) -> Result<Channel, UnixSocketError> {
    let socket = path.to_path_buf();
    // The URI is never resolved: the connector below always opens the socket.
    Endpoint::from_static("http://agent.dmsc.invalid")
        .connect_timeout(Duration::from_secs(2))
        .connect_with_connector(tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move {
                tokio::net::UnixStream::connect(socket)
                    .await
                    .map(TokioIo::new)
            }
        }))
        .await
        .map_err(|source| UnixSocketError {
            path: path.to_path_buf(),
            source,
        })
}
