//! Where the operator's API is served: a Unix socket, and TCP with client certificates.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use dmsc_daemon::{Caller, Groups, Places, Role, SocketError, socket};
use dmsc_proto::v1::operator_server::{Operator, OperatorServer};
use dmsc_spa::credentials::{Credentials, CredentialsError};
use dmsc_spa::verify::RootKey;
use thiserror::Error;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tonic::Status;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tracing::{error, warn};

use super::{caller, gate};
use crate::accept::incoming;
use crate::guests::Guests;
use crate::tls::Tls;

/// A configuration of 1 MiB, and what is around it.
const MAX_REQUEST: usize = 2 << 20;
/// Calls of one connection at a time.
const CALLS: u32 = 32;
/// Long lists come in pages of 3 MiB; nodes and links of the network come as a whole, and one pod may serve 65,536 names.
const MAX_ANSWER: usize = 64 << 20;

/// Members always find a place, and strangers are told in words that they have no role.
const PLACES: Places = Places {
    members: 1_024,
    strangers: 32,
};

/// Where to listen.
#[derive(Debug, Clone, Default)]
pub struct Addresses {
    /// Unix socket.
    pub socket: Option<PathBuf>,
    /// TCP, with client certificates.
    pub tcp: Option<SocketAddr>,
    /// Unix groups that have a role on the socket.
    pub groups: Groups,
}

/// An address that cannot be used.
#[derive(Debug, Error)]
pub enum ListenError {
    /// The Unix socket.
    #[error("operator {0}")]
    Socket(#[from] SocketError),
    /// TCP.
    #[error("{field} {address}: cannot listen: {source}")]
    Tcp {
        /// Field of the configuration.
        field: &'static str,
        /// Its value.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The root's certificate.
    #[error("credentials: {0}")]
    Credentials(#[from] CredentialsError),
    /// Credentials that TLS does not take.
    #[error("credentials: TLS does not take them: {0}")]
    Tls(#[from] tonic::transport::Error),
}

/// Listens at once, then serves until the process ends. Returns the TCP address, if there is one. When `revoked` tells of something that the root took
/// back, whoever is connected with it is let go.
///
/// # Errors
/// When an address cannot be used; nothing is served then.
pub async fn serve<S: Operator>(
    service: S,
    addresses: &Addresses,
    credentials: &Credentials,
    revoked: watch::Receiver<usize>,
) -> Result<Option<SocketAddr>, ListenError> {
    let root = credentials.root_key()?;
    let service = OperatorServer::new(service)
        .max_decoding_message_size(MAX_REQUEST)
        .max_encoding_message_size(MAX_ANSWER);
    let tcp = match addresses.tcp {
        Some(address) => Some(bind("operator_listen", address).await?),
        None => None,
    };
    let address = tcp.as_ref().and_then(|tcp| tcp.local_addr().ok());
    if let Some(path) = &addresses.socket {
        let groups = addresses.groups.clone();
        let known = groups.clone();
        let incoming = socket::incoming(bind_socket(path)?, PLACES, move |peer| {
            Caller::of_peer(peer, &known).role.is_some()
        });
        let server =
            Server::builder()
                .max_concurrent_streams(CALLS)
                .add_service(InterceptedService::new(
                    service.clone(),
                    move |request: tonic::Request<()>| members_only(request, &groups),
                ));
        tokio::spawn(async move {
            if let Err(error) = server.serve_with_incoming(incoming).await {
                error!(%error, "the operator's socket is served no more");
            }
        });
    }
    if let Some(listener) = tcp {
        let guests = Guests::default();
        tokio::spawn(guests.clone().watch(root.clone(), revoked));
        let incoming = incoming(listener, guests.clone());
        let server = Server::builder()
            .tls_config(Tls::new(credentials).server())?
            .max_concurrent_streams(CALLS)
            .add_service(InterceptedService::new(
                service,
                move |request: tonic::Request<()>| operators_only(request, &root, &guests),
            ));
        tokio::spawn(async move {
            if let Err(error) = server.serve_with_incoming(incoming).await {
                error!(%error, "the operator's TCP address is served no more");
            }
        });
    }
    Ok(address)
}

/// Whoever has no operator's certificate gets no further, and into no log: pods and nodes of the network have certificates as well.
fn operators_only(
    request: tonic::Request<()>,
    root: &RootKey,
    guests: &Guests,
) -> Result<tonic::Request<()>, Status> {
    let caller = caller::of(&request, &Groups::default(), Some(root));
    match caller.role {
        Some(_) => {
            guests.greet(&request, root);
            Ok(request)
        }
        None => Err(Status::permission_denied(format!(
            "{} has no role here; show the certificate of an operator: dmscctl pki issue",
            caller.who
        ))),
    }
}

/// Everybody may open the socket; who has no role gets no further, and into no log.
fn members_only(
    request: tonic::Request<()>,
    groups: &Groups,
) -> Result<tonic::Request<()>, Status> {
    let caller = caller::of(&request, groups, None);
    gate::permit(&caller, Role::View)?;
    Ok(request)
}

/// A listener on `address`, which stands in `field` of the configuration.
///
/// # Errors
/// When the address is taken or not of this machine.
pub async fn bind(field: &'static str, address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ListenError::Tcp {
            field,
            address,
            source,
        })
}

/// A file belongs to one group, and roles to several: everybody may connect, and is judged by what the kernel says of the process.
fn bind_socket(path: &Path) -> Result<UnixListener, SocketError> {
    let listener = socket::bind(path, 0o666)?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let is_closed = |folder: &&Path| {
        let found = folder.metadata();
        found.is_ok_and(|found| found.mode() & 0o001 == 0)
    };
    if let Some(folder) = folder.filter(is_closed) {
        warn!(folder = %folder.display(), "only root and the folder's group reach the operator's socket in it: chmod 755 lets members of view_group, operate_group and admin_group in");
    }
    Ok(listener)
}
