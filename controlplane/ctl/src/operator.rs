//! Finds a control plane's operator API, over its Unix socket or TCP with a client certificate, and connects.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dmsc_proto::v1::operator_client::OperatorClient;
use dmsc_proto::{Page, all_pages, connect_unix};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Response, Status};

use crate::failure::Failure;

/// Server name in the certificates of all control planes, for the operator's API over TCP.
const SERVER_NAME: &str = "controlplane.dmsc.internal";
/// Long lists come in pages of 3 MiB; nodes and links of the network come as a whole.
const MESSAGE_LIMIT: usize = 64 << 20;
/// Asks one control plane; cheap to clone.
pub type Client = OperatorClient<Channel>;
/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How sockets of operator APIs are named in the directory of sockets.
pub const SOCKET_END: &str = "operator.sock";

/// Where a control plane is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Its Unix socket: the role comes from the caller's groups.
    Socket(PathBuf),
    /// `https://HOST:PORT`: the role comes from the client's certificate.
    Tcp(String),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(f),
            Self::Tcp(address) => f.write_str(address),
        }
    }
}

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("https://") {
            return Ok(Self::Tcp(text.to_owned()));
        }
        if text.is_empty() || text.contains("://") {
            return Err(
                "expected the path of a Unix socket, or https://HOST:35033 (always with certificates)"
                    .to_owned(),
            );
        }
        Ok(Self::Socket(text.into()))
    }
}

/// A connected operator API.
#[derive(Debug)]
pub struct Operator {
    /// Calls of the API; pass answers through [`Operator::answer`].
    pub client: Client,
    address: Address,
}

impl Operator {
    /// Connects to `address`; `credentials` is the folder of the client certificate for TCP.
    ///
    /// # Errors
    /// When nobody answers, or the credentials are missing or not readable.
    pub async fn connect(address: Address, credentials: Option<&Path>) -> Result<Self, Failure> {
        let channel = match &address {
            Address::Socket(path) => connect_unix(path)
                .await
                .map_err(|error| unreachable(&address, &error))?,
            Address::Tcp(url) => connect_tcp(url, credentials.ok_or(Failure::NoCredentials)?)
                .await
                .map_err(|error| match error {
                    Tcp::Credentials(failure) => failure,
                    Tcp::Transport(error) => unreachable(&address, &error),
                })?,
        };
        Ok(Self {
            client: OperatorClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT),
            address,
        })
    }

    /// Where it is, for messages.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// All pages of a list, at most `limit` entries (0 = all).
    ///
    /// # Errors
    /// The refusal of a page.
    pub async fn pages<R: Page, F>(
        &self,
        limit: u32,
        ask: impl Fn(Client, u32, Vec<u8>) -> F,
    ) -> Result<R, Failure>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        all_pages(limit, |limit, after| ask(self.client.clone(), limit, after))
            .await
            .map_err(|status| Failure::NodeRefused(Box::new(status)))
    }

    /// The message in an answer.
    ///
    /// # Errors
    /// The refusal.
    pub fn answer<T>(&self, answer: Result<Response<T>, Status>) -> Result<T, Failure> {
        answer
            .map(Response::into_inner)
            .map_err(|status| Failure::NodeRefused(Box::new(status)))
    }
}

enum Tcp {
    Credentials(Failure),
    Transport(tonic::transport::Error),
}

async fn connect_tcp(url: &str, folder: &Path) -> Result<Channel, Tcp> {
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path)
            .map_err(|source| Tcp::Credentials(Failure::Credentials { path, source }))
    };
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read("root.pem")?))
        .identity(Identity::from_pem(read("cert.pem")?, read("key.pem")?))
        .domain_name(SERVER_NAME);
    Endpoint::from_shared(url.to_owned())
        .and_then(|endpoint| endpoint.tls_config(tls))
        .map_err(Tcp::Transport)?
        .connect_timeout(PATIENCE)
        .connect()
        .await
        .map_err(Tcp::Transport)
}

/// The last cause says it: "No such file", "Connection refused", "invalid peer certificate".
fn unreachable(address: &Address, error: &dyn std::error::Error) -> Failure {
    let mut cause = error.to_string();
    let mut next = error.source();
    while let Some(inner) = next {
        cause = inner.to_string();
        next = inner.source();
    }
    Failure::NodeUnreachable {
        address: address.to_string(),
        cause,
    }
}

/// The address to use: the one named, else the only `*operator.sock` in `directory`.
///
/// # Errors
/// When none was named and there is not exactly one; the candidates are listed.
pub fn find(named: Option<&Address>, directory: &Path) -> Result<Address, Failure> {
    if let Some(address) = named {
        return Ok(address.clone());
    }
    let mut candidates = crate::agent::sockets(directory);
    candidates.retain(|path| path.to_string_lossy().ends_with(SOCKET_END));
    match candidates.len() {
        1 => Ok(Address::Socket(candidates.remove(0))),
        0 => Err(Failure::NoNode {
            directory: directory.to_path_buf(),
        }),
        _ => Err(Failure::ManyNodes { candidates }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(
            "/run/x.sock".parse(),
            Ok(Address::Socket("/run/x.sock".into()))
        );
        let tcp = "https://[::1]:35033";
        assert_eq!(tcp.parse(), Ok(Address::Tcp(tcp.to_owned())));
        assert!("http://h:1".parse::<Address>().is_err());
        assert!("".parse::<Address>().is_err());
    }

    #[test]
    fn the_only_operator_socket_is_taken() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let touch = |name: &str| std::fs::write(directory.path().join(name), "").expect("write");
        touch("sg1.agent.sock");
        let none = find(None, directory.path());
        assert!(matches!(none, Err(Failure::NoNode { .. })));
        touch("sg1.operator.sock");
        let one = find(None, directory.path()).expect("one");
        assert_eq!(
            one,
            Address::Socket(directory.path().join("sg1.operator.sock"))
        );
        // An agent is still found beside it.
        let agent = crate::agent::find_socket(None, directory.path()).expect("agent");
        assert!(agent.ends_with("sg1.agent.sock"));
        touch("operator.sock");
        assert!(matches!(
            find(None, directory.path()),
            Err(Failure::ManyNodes { .. })
        ));
    }
}
