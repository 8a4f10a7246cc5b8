//! The one error of this command: what went wrong, and what to do about it.

use std::path::PathBuf;

use dmsc_proto::UnixSocketError;
use tonic::{Code, Status};

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No socket was named and none was found.
    #[error(
        "no agent socket: none in {directory}; name it with --agent SOCKET or DMSC_AGENT (it is [agent] socket in the dataplane's configuration)"
    )]
    NoSocket {
        /// Where sockets were looked for.
        directory: PathBuf,
    },
    /// No socket was named and several were found.
    #[error("several agents run here; choose one with --agent SOCKET or DMSC_AGENT:\n{}", list(.candidates))]
    ManySockets {
        /// What was found, sorted.
        candidates: Vec<PathBuf>,
    },
    /// The socket does not accept connections.
    #[error("{}", with_cause(.0))]
    Unreachable(#[from] UnixSocketError),
    /// The agent speaks other versions of the API.
    #[error(
        "the agent refused this version of dmscctl ({message}); use a dmscctl that is at most one version apart"
    )]
    Version {
        /// What the agent said.
        message: String,
    },
    /// Credentials could not be made or believed.
    #[error(transparent)]
    Pki(#[from] crate::pki::PkiFailure),
    /// The agent answered with an error.
    #[error("{}", explain_status(.0))]
    Refused(#[from] Status),
    /// No control plane was named and none was found.
    #[error(
        "no operator socket: no *operator.sock in {directory}; name it with --node SOCKET or DMSC_NODE (it is [node] operator in the control plane's configuration)"
    )]
    NoNode {
        /// Where sockets were looked for.
        directory: PathBuf,
    },
    /// No control plane was named and several were found.
    #[error("several control planes run here; choose one with --node SOCKET or DMSC_NODE:\n{}", list(.candidates))]
    ManyNodes {
        /// What was found, sorted.
        candidates: Vec<PathBuf>,
    },
    /// `config` without saying of which daemon.
    #[error(
        "whose configuration? --node SOCKET is a control plane's, --agent SOCKET a dataplane's; give one of them"
    )]
    WhichDaemon,
    /// TCP without a client certificate.
    #[error(
        "--node https://… needs --credentials FOLDER with cert.pem, key.pem and root.pem (dmscctl pki issue makes one)"
    )]
    NoCredentials,
    /// A file of the credentials cannot be read.
    #[error("credentials: cannot read {}: {source}", .path.display())]
    Credentials {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No control plane answers.
    #[error(
        "no control plane answers on {address} ({cause}): is it running, and is this its [node] operator address?"
    )]
    NodeUnreachable {
        /// Where it was looked for.
        address: String,
        /// The last cause.
        cause: String,
    },
    /// The control plane answered with an error.
    #[error("{}", explain_node(.0))]
    NodeRefused(Box<Status>),
    /// No edge was named and none was found.
    #[error(
        "no edge's socket: no *edge.sock in {directory}; name it with --edge SOCKET or DMSC_EDGE (it is operator in the edge's configuration)"
    )]
    NoEdge {
        /// Where sockets were looked for.
        directory: PathBuf,
    },
    /// No edge was named and several were found.
    #[error("several edges run here; choose one with --edge SOCKET or DMSC_EDGE:\n{}", list(.candidates))]
    ManyEdges {
        /// What was found, sorted.
        candidates: Vec<PathBuf>,
    },
    /// No edge answers.
    #[error(
        "no edge answers on {} ({cause}): is dmsc-edge running, and is this operator in its configuration?", .socket.display()
    )]
    EdgeUnreachable {
        /// Where it was looked for.
        socket: PathBuf,
        /// The last cause.
        cause: String,
    },
    /// The edge answered with an error.
    #[error("{}", explain_edge(.0))]
    EdgeRefused(Box<Status>),
    /// A stage of a drain did not come to its end.
    #[error("not drained: {0}")]
    NotDrained(String),
    /// A configuration file cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A configuration has mistakes; the daemon keeps what it has.
    #[error("{}", mistakes(.path, .message))]
    Mistakes {
        /// The file that was sent.
        path: PathBuf,
        /// One line per mistake.
        message: String,
    },
    /// Standard output or the capture file could not be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
    /// The capture file could not be created.
    #[error("cannot create {}: {source}", .path.display())]
    Create {
        /// The file named with `-w`.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

fn list(paths: &[PathBuf]) -> String {
    let lines: Vec<String> = paths
        .iter()
        .map(|path| format!("  {}", path.display()))
        .collect();
    lines.join("\n")
}

/// The cause that the socket gave, so that "permission denied" and "no such file" can be told apart.
fn with_cause(error: &UnixSocketError) -> String {
    let mut cause = std::error::Error::source(error);
    let mut last = None;
    while let Some(inner) = cause {
        last = Some(inner.to_string());
        cause = inner.source();
    }
    match last {
        Some(cause) => format!("{error} ({cause})"),
        None => error.to_string(),
    }
}

fn explain_status(status: &Status) -> String {
    let message = status.message();
    match status.code() {
        Code::Unavailable => {
            format!("the agent went away ({message}); is the dataplane still running?")
        }
        Code::Unimplemented => {
            "the agent does not know this request; it is older than this dmscctl".to_owned()
        }
        Code::Unknown if message.is_empty() => "the agent went away without an answer".to_owned(),
        code => format!("the agent refused: {message} ({code:?})"),
    }
}

fn explain_node(status: &Status) -> String {
    let message = status.message();
    match status.code() {
        Code::Unavailable => {
            format!("the control plane went away ({message}); is it still running?")
        }
        // A daemon that knows the request says why it does not do it.
        Code::Unimplemented if message.is_empty() => {
            "the control plane does not know this request; it is older than this dmscctl".to_owned()
        }
        Code::PermissionDenied => format!("not permitted: {message}"),
        Code::Unknown if message.is_empty() => {
            "the control plane went away without an answer".to_owned()
        }
        code => format!("the control plane refused: {message} ({code:?})"),
    }
}

fn explain_edge(status: &Status) -> String {
    let message = status.message();
    match status.code() {
        Code::Unavailable => format!("the edge went away ({message}); is it still running?"),
        Code::Unimplemented => {
            "the edge does not know this request; it is older than this dmscctl".to_owned()
        }
        Code::PermissionDenied => format!("not permitted: {message}"),
        Code::Unknown if message.is_empty() => "the edge went away without an answer".to_owned(),
        code => format!("the edge refused: {message} ({code:?})"),
    }
}

/// The daemon does not know the file's name; every mistake is told with it.
fn mistakes(path: &std::path::Path, message: &str) -> String {
    let lines: Vec<String> = message.lines().map(|line| format!("\n  {line}")).collect();
    format!(
        "{} was refused, nothing was changed:{}",
        path.display(),
        lines.concat()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_listed_one_a_line() {
        let failure = Failure::ManySockets {
            candidates: vec!["/run/dmsc/a.sock".into(), "/run/dmsc/b.sock".into()],
        };
        assert!(
            failure
                .to_string()
                .ends_with("\n  /run/dmsc/a.sock\n  /run/dmsc/b.sock")
        );
    }

    #[test]
    fn a_refusal_carries_the_agents_sentence() {
        let failure = Failure::from(Status::not_found("no port named eth9"));
        assert_eq!(
            failure.to_string(),
            "the agent refused: no port named eth9 (NotFound)"
        );
    }
}
