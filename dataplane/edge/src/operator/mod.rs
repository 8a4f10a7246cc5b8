//! The operator's API (edge.proto) on a Unix socket: what is served, called and connected. It only looks.

mod pages;
mod service;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dmsc_daemon::{Caller, Groups, Places, Role, SocketError, socket};
use dmsc_proto::v1::edge_server::EdgeServer;
use thiserror::Error;
use tokio::net::UnixListener;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::{Request, Status};
use tracing::{error, warn};

use crate::edge::Edge;
use crate::pod::Phase;
use service::Service;

/// Calls of one connection at a time.
const CALLS: u32 = 16;
/// Strangers are told that they may not look.
const PLACES: Places = Places {
    members: 64,
    strangers: 8,
};
/// Who may look.
const RULE: &str = "root has it, and members of view_group in the edge's configuration";

/// A socket that cannot be used.
#[derive(Debug, Error)]
pub enum OperatorError {
    /// Somebody answers on it.
    #[error("operator {path}: another edge serves there; replace it with --takeover, stop it, or give this one another socket", path = .0.display())]
    Taken(PathBuf),
    /// It cannot be made.
    #[error("operator {0}")]
    Socket(SocketError),
}

/// Listens at once, then answers until the process takes no new calls; nothing if none is configured.
///
/// # Errors
/// When the socket cannot be used.
pub async fn serve(edge: Arc<Edge>) -> anyhow::Result<()> {
    let Some(path) = edge.config.operator.clone() else {
        return Ok(());
    };
    let viewers = Groups {
        view: edge.config.view_group.clone(),
        own_user: true,
        ..Groups::default()
    };
    for group in viewers.missing() {
        warn!(group, "view_group: no such Unix group: only root may look");
    }
    let known = viewers.clone();
    let incoming = socket::incoming(bind(&path, 0o666)?, PLACES, move |peer| {
        Caller::of_peer(peer, &known).role.is_some()
    });
    let mut phase = edge.phase();
    let service = InterceptedService::new(EdgeServer::new(Service::new(edge)), move |request| {
        viewers_only(request, &viewers)
    });
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

fn viewers_only(request: Request<()>, viewers: &Groups) -> Result<Request<()>, Status> {
    let caller = Caller::of_socket(&request, viewers);
    let caller = caller.unwrap_or_else(|| Caller::of_peer(None, viewers));
    caller.permit(Role::View, RULE)?;
    Ok(request)
}

/// A socket left by a process that is gone is replaced; one that answers is not.
pub(crate) fn bind(path: &Path, mode: u32) -> Result<UnixListener, OperatorError> {
    socket::bind(path, mode).map_err(|error| match error {
        SocketError::Taken(path) => OperatorError::Taken(path),
        error => OperatorError::Socket(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_edge_that_runs_is_not_replaced_by_accident() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edge.sock");
        let _listener = bind(&path, 0o600).unwrap();
        let again = bind(&path, 0o600).unwrap_err();
        assert!(again.to_string().contains("--takeover"), "{again}");
        let viewers = Groups::default();
        let status = viewers_only(Request::new(()), &viewers).unwrap_err();
        assert_eq!(status.code(), tonic::Code::PermissionDenied);
    }
}
