//! The agent's Unix socket: bound when everything else is ready, removed at the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dmsc_daemon::{Caller, Groups, Places, SocketError, socket};
use dmsc_proto::v1::dataplane_agent_server::DataplaneAgentServer;
use tokio::net::UnixListener;

use super::Agent;

/// Calls of one connection at a time.
const CALLS: u32 = 64;
/// Bytes of one call under way: several large transactions, or none would be on its way while one is taken in.
const WINDOW: u32 = 1 << 20;

/// The control plane, dmscctl, and what looks at it.
const PLACES: Places = Places {
    members: 1_024,
    strangers: 32,
};

/// The socket could not be had.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Somebody answers on it.
    #[error("{}: another dataplane answers on this socket; give each its own [agent] socket", .0.display())]
    InUse(PathBuf),
    /// It could not be made.
    #[error("the agent's socket cannot be bound: {0}")]
    Bind(SocketError),
}

impl From<SocketError> for AgentError {
    fn from(error: SocketError) -> Self {
        match error {
            SocketError::Taken(path) => Self::InUse(path),
            error => Self::Bind(error),
        }
    }
}

/// A bound socket; its file goes with it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    groups: Groups,
    path: OwnedPath,
}

#[derive(Debug)]
struct OwnedPath(PathBuf);

impl Drop for OwnedPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0); // gone already is fine
    }
}

impl Socket {
    /// Binds `path`, in the place of a socket that a dead process left. With groups everybody may connect, and is judged call by call; without,
    /// owner and group of the file may.
    ///
    /// # Errors
    /// When somebody answers there, or the directory does not let.
    pub fn bind(path: &Path, groups: &Groups) -> Result<Socket, AgentError> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(|why| SocketError::Socket {
                path: directory.to_path_buf(),
                why,
            })?;
        }
        for group in groups.missing() {
            tracing::warn!(group, "no such Unix group: nobody has a role by it");
        }
        let mode = if groups.are_given() { 0o666 } else { 0o660 };
        let listener = socket::bind(path, mode)?;
        Ok(Socket {
            listener,
            groups: groups.clone(),
            path: OwnedPath(path.to_path_buf()),
        })
    }

    /// Serves until `stop` resolves.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(
        self,
        agent: Arc<Agent>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), tonic::transport::Error> {
        let Socket {
            listener,
            groups,
            path,
        } = self;
        let incoming = socket::incoming(listener, PLACES, move |peer| {
            !groups.are_given() || Caller::of_peer(peer, &groups).role.is_some()
        });
        let service = DataplaneAgentServer::from_arc(agent)
            .max_decoding_message_size(64 << 20)
            .max_encoding_message_size(64 << 20);
        let result = tonic::transport::Server::builder()
            .max_concurrent_streams(CALLS)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(4 * WINDOW)
            .add_service(service)
            .serve_with_incoming_shutdown(incoming, stop)
            .await;
        drop(path);
        result
    }
}
