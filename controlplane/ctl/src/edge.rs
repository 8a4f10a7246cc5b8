//! Finds an edge's API on its Unix socket, and connects.

use std::path::{Path, PathBuf};

use dmsc_proto::v1::edge_client::EdgeClient;
use dmsc_proto::{Page, all_pages, connect_unix};
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::failure::Failure;

/// Pages have 3 MiB.
const MESSAGE_LIMIT: usize = 8 << 20;
/// How sockets of edges are named in the directory of sockets.
pub const SOCKET_END: &str = "edge.sock";
/// Asks one edge; cheap to clone.
pub type Client = EdgeClient<Channel>;

/// A connected edge.
#[derive(Debug)]
pub struct Edge {
    client: Client,
}

impl Edge {
    /// Connects to `socket`.
    ///
    /// # Errors
    /// When nobody answers there.
    pub async fn connect(socket: &Path) -> Result<Self, Failure> {
        let channel = connect_unix(socket).await.map_err(|error| {
            let mut cause: &dyn std::error::Error = &error;
            while let Some(inner) = cause.source() {
                cause = inner;
            }
            Failure::EdgeUnreachable {
                socket: socket.to_path_buf(),
                cause: cause.to_string(),
            }
        })?;
        let client = EdgeClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT);
        Ok(Self { client })
    }

    /// All pages of a list.
    ///
    /// # Errors
    /// The refusal of a page.
    pub async fn pages<R: Page, F>(
        &self,
        ask: impl Fn(Client, u32, Vec<u8>) -> F,
    ) -> Result<R, Failure>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        all_pages(0, |limit, after| ask(self.client.clone(), limit, after))
            .await
            .map_err(|status| Failure::EdgeRefused(Box::new(status)))
    }
}

/// The socket to use: the one named, else the only `*edge.sock` in `directory`.
///
/// # Errors
/// When none was named and there is not exactly one; the candidates are listed.
pub fn find(named: Option<&Path>, directory: &Path) -> Result<PathBuf, Failure> {
    if let Some(path) = named {
        return Ok(path.to_path_buf());
    }
    let mut candidates = crate::agent::sockets(directory);
    candidates.retain(|path| path.to_string_lossy().ends_with(SOCKET_END));
    match candidates.len() {
        1 => Ok(candidates.remove(0)),
        0 => Err(Failure::NoEdge {
            directory: directory.to_path_buf(),
        }),
        _ => Err(Failure::ManyEdges { candidates }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_edge_is_taken_and_is_no_agent() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let touch = |name: &str| std::fs::write(directory.path().join(name), "").expect("write");
        touch("sg1.agent.sock");
        let none = find(None, directory.path());
        assert!(matches!(none, Err(Failure::NoEdge { .. })));
        touch("edge.sock");
        let one = find(None, directory.path()).expect("one");
        assert_eq!(one, directory.path().join("edge.sock"));
        let agent = crate::agent::find_socket(None, directory.path()).expect("agent");
        assert!(agent.ends_with("sg1.agent.sock"));
        touch("b.edge.sock");
        assert!(matches!(
            find(None, directory.path()),
            Err(Failure::ManyEdges { .. })
        ));
        let named = find(Some(Path::new("/x")), directory.path()).expect("named");
        assert_eq!(named, Path::new("/x"));
    }
}
