//! Finds the agent's socket, connects and greets.

use std::path::{Path, PathBuf};

use dmsc_proto::v1::dataplane_agent_client::DataplaneAgentClient;
use dmsc_proto::v1::{GreetReply, GreetRequest};
use dmsc_proto::{AGENT_VERSIONS, connect_unix};
use tonic::Code;
use tonic::transport::Channel;

use crate::failure::Failure;

/// Where dataplanes put their sockets unless configured otherwise.
pub const SOCKET_DIRECTORY: &str = "/run/dmsc";

/// A greeted agent.
#[derive(Debug)]
pub struct Agent {
    /// Calls of the API.
    pub client: DataplaneAgentClient<Channel>,
    /// What the dataplane said of itself.
    pub greeting: GreetReply,
    /// The socket that was used.
    pub socket: PathBuf,
}

/// Messages of this size must pass: a dump of a million prefixes is larger than tonic's default of 4 MiB.
const MESSAGE_LIMIT: usize = 512 << 20;

impl Agent {
    /// Connects to `socket` and agrees on a version.
    ///
    /// # Errors
    /// When nobody listens, or the versions do not meet.
    pub async fn connect(socket: &Path) -> Result<Self, Failure> {
        let channel = connect_unix(socket).await?;
        let mut client =
            DataplaneAgentClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT);
        let (version_min, version_max) = AGENT_VERSIONS;
        let request = GreetRequest {
            version_min,
            version_max,
            client: format!("dmscctl {}", env!("CARGO_PKG_VERSION")),
        };
        let greeting = match client.greet(request).await {
            Ok(reply) => reply.into_inner(),
            Err(status) if status.code() == Code::FailedPrecondition => {
                return Err(Failure::Version {
                    message: status.message().to_owned(),
                });
            }
            Err(status) => return Err(status.into()),
        };
        Ok(Self {
            client,
            greeting,
            socket: socket.to_path_buf(),
        })
    }
}

/// All `*.sock` in `directory`, sorted.
pub(crate) fn sockets(directory: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "sock"))
        .collect();
    found.sort();
    found
}

/// The socket to use: the one named, else the only `*.sock` in `directory` that is no control plane's and no edge's.
///
/// # Errors
/// When none was named and there is not exactly one; the candidates are listed.
pub fn find_socket(named: Option<&Path>, directory: &Path) -> Result<PathBuf, Failure> {
    if let Some(path) = named {
        return Ok(path.to_path_buf());
    }
    let mut candidates = sockets(directory);
    // Control planes and edges put theirs beside them.
    candidates.retain(|path| {
        let path = path.to_string_lossy();
        !path.ends_with(crate::operator::SOCKET_END) && !path.ends_with(crate::edge::SOCKET_END)
    });
    match candidates.len() {
        1 => Ok(candidates.remove(0)),
        0 => Err(Failure::NoSocket {
            directory: directory.to_path_buf(),
        }),
        _ => Err(Failure::ManySockets { candidates }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_socket_is_taken_and_others_need_a_choice() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let none = find_socket(None, directory.path());
        assert!(matches!(none, Err(Failure::NoSocket { .. })));

        std::fs::write(directory.path().join("sg1.agent.sock"), "").expect("write");
        std::fs::write(directory.path().join("sg1.pid"), "").expect("write");
        let one = find_socket(None, directory.path()).expect("one socket");
        assert_eq!(one, directory.path().join("sg1.agent.sock"));

        std::fs::write(directory.path().join("sg2.agent.sock"), "").expect("write");
        match find_socket(None, directory.path()) {
            Err(Failure::ManySockets { candidates }) => assert_eq!(candidates.len(), 2),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_named_socket_needs_no_directory() {
        let path = find_socket(Some(Path::new("/x/y")), Path::new("/nowhere")).expect("named");
        assert_eq!(path, Path::new("/x/y"));
    }
}
