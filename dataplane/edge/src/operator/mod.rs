//! The operator's API (edge.proto) on a Unix socket: what is served, called and connected. It only looks.

mod local;
mod pages;
mod roles;
mod service;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dmsc_proto::v1::edge_server::EdgeServer;
use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tracing::{error, warn};

use crate::edge::Edge;
use crate::pod::Phase;
use roles::Viewers;
use service::Service;

/// Calls of one connection at a time.
const CALLS: u32 = 16;

/// A socket that cannot be used.
#[derive(Debug, Error)]
pub enum OperatorError {
    /// Somebody answers on it.
    #[error("operator {path}: another edge serves there; replace it with --takeover, stop it, or give this one another socket", path = .0.display())]
    Taken(PathBuf),
    /// It cannot be made.
    #[error("operator {path}: {why}", path = .path.display())]
    Socket {
        /// As configured.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
}

/// Listens at once, then answers until the process takes no new calls; nothing if none is configured.
///
/// # Errors
/// When the socket cannot be used.
pub async fn serve(edge: Arc<Edge>) -> anyhow::Result<()> {
    let Some(path) = edge.config.operator.clone() else {
        return Ok(());
    };
    let viewers = Viewers::new(edge.config.view_group.clone());
    if let Some(group) = viewers.missing() {
        warn!(group, "view_group: no such Unix group: only root may look");
    }
    let listener = bind(&path, 0o666).await?;
    let incoming = local::incoming(listener, viewers.clone());
    let mut phase = edge.phase();
    let service = InterceptedService::new(
        EdgeServer::new(Service::new(edge)),
        move |request: tonic::Request<()>| viewers.permit(&request).map(|()| request),
    );
    let server = Server::builder()
        .max_concurrent_streams(CALLS)
        .add_service(service);
    tokio::spawn(async move {
        tokio::select! {
            served = server.serve_with_incoming(incoming) => {
                if let Err(error) = served {
                    error!(%error, "the operator's socket is served no more");
                }
            }
            _ = phase.wait_for(|phase| *phase > Phase::Running) => {}
        }
    });
    Ok(())
}

/// A socket left by a process that is gone is replaced; one that answers is not.
pub(crate) async fn bind(path: &Path, mode: u32) -> Result<UnixListener, OperatorError> {
    let wrong = |why| OperatorError::Socket {
        path: path.to_path_buf(),
        why,
    };
    if UnixStream::connect(path).await.is_ok() {
        return Err(OperatorError::Taken(path.to_path_buf()));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(wrong(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(wrong)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(wrong)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[tokio::test]
    async fn a_socket_is_taken_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edge.sock");
        std::fs::write(&path, "left by a process that is gone").unwrap();
        let _listener = bind(&path, 0o600).await.unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        let again = bind(&path, 0o600).await;
        assert!(matches!(again, Err(OperatorError::Taken(_))));
        let wrong = bind(Path::new("/no/such/folder/s"), 0o600)
            .await
            .unwrap_err();
        assert!(wrong.to_string().contains("/no/such/folder/s"), "{wrong}");
    }
}
