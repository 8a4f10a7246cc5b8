//! What an endpoint may be told; the defaults suit a service in one data centre.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use dmsc_wire::Class;

/// Configuration of an endpoint.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder with the pod's `cert.pem`, `key.pem` and `root.pem`. Renewed files serve new handshakes.
    pub credentials: PathBuf,
    /// How often, at most, a handshake looks whether those files changed.
    pub credentials_interval: Duration,
    /// Of a server: SignedAuthorisation bytes to show beside those that the gateway tells the pod, which is where they come from; for tests.
    /// At most 64 of at most 65,536 bytes.
    pub proofs: Vec<Bytes>,
    /// How often a quiet connection is kept alive.
    pub keep_alive: Duration,
    /// A connection whose other end is silent for this long is lost.
    pub idle_timeout: Duration,
    /// How long a connection may take until it is proven.
    pub handshake_timeout: Duration,
    /// Routers must say for this long that there is no way to an instance before it is given up: routes come and go while they converge.
    pub unreachable_after: Duration,
    /// Traffic class of what this end calls, 0–7; answers go in the class that requests come in.
    pub class: Class,
    /// Peers that are known at the same time.
    pub peers: usize,
    /// Of those, connections that one caller may have.
    pub per_caller: usize,
    /// Names that a connector keeps connections to.
    pub names: usize,
    /// Handshakes and connections that wait to be accepted.
    pub backlog: usize,
    /// Streams that the other end may have open on one connection.
    pub streams: u32,
    /// Largest answer of [`crate::Connector::call`] in bytes.
    pub max_answer: usize,
}

impl Config {
    /// The defaults, with the pod's credentials from a folder.
    pub fn new(credentials: impl Into<PathBuf>) -> Self {
        Self {
            credentials: credentials.into(),
            credentials_interval: Duration::from_secs(1),
            proofs: Vec::new(),
            keep_alive: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(15),
            handshake_timeout: Duration::from_secs(5),
            unreachable_after: Duration::from_secs(1),
            class: Class(0),
            peers: 4_096,
            per_caller: 256,
            names: 1_024,
            backlog: 256,
            streams: 1_024,
            max_answer: 4 << 20,
        }
    }
}
