//! The agent's Unix socket: bound when everything else is ready, removed at the end.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dmsc_proto::v1::dataplane_agent_server::DataplaneAgentServer;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;

use super::{Agent, Groups};

/// Calls of one connection at a time.
const CALLS: u32 = 64;
/// Bytes of one call under way: several large transactions, or none would be on its way while one is taken in.
const WINDOW: u32 = 1 << 20;

/// The socket could not be had.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Somebody answers on it.
    #[error("{}: another dataplane answers on this socket; give each its own [agent] socket", .0.display())]
    InUse(PathBuf),
    /// It could not be made.
    #[error("{}: the agent's socket cannot be bound: {cause}", path.display())]
    Bind {
        /// Its path.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
}

/// A bound socket; its file goes with it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
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
        let error = |cause| AgentError::Bind {
            path: path.to_path_buf(),
            cause,
        };
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(AgentError::InUse(path.to_path_buf()));
        }
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(error)?;
        }
        let _ = std::fs::remove_file(path); // not there is fine
        let listener = UnixListener::bind(path).map_err(error)?;
        for group in groups.missing() {
            tracing::warn!(group, "no such Unix group: nobody has a role by it");
        }
        let mode = if groups.are_given() { 0o666 } else { 0o660 };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(error)?;
        Ok(Socket {
            listener,
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
        let Socket { listener, path } = self;
        let service = DataplaneAgentServer::from_arc(agent)
            .max_decoding_message_size(64 << 20)
            .max_encoding_message_size(64 << 20);
        let result = tonic::transport::Server::builder()
            .max_concurrent_streams(CALLS)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(4 * WINDOW)
            .add_service(service)
            .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop)
            .await;
        drop(path);
        result
    }
}
