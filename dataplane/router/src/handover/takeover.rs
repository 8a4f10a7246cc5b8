//! The new process's side of the conversation.

use std::time::Duration;

use dmsc_proto::v1;
use dmsc_proto::v1::dataplane_agent_client::DataplaneAgentClient;
use tokio::runtime::Runtime;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::State;
use crate::config::Config;
use crate::exception;
use crate::mac::MacAddress;

/// Longest wait for one message of the old process.
const PATIENCE: Duration = Duration::from_secs(30);
/// A portion of prefixes, or all attachments of a node.
const MAX_MESSAGE: usize = 256 << 20;

/// Nothing was taken over. Unless it says otherwise, the old process goes on.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// Nobody to take over from.
    #[error("{0}; without a running dataplane, start without --takeover")]
    Nobody(#[from] dmsc_proto::UnixSocketError),
    /// It is another router.
    #[error(
        "the running dataplane is node {node} ({role}), the configuration says node {own} ({own_role}): only the same router can be taken over"
    )]
    Other {
        /// Its node id.
        node: u32,
        /// Its role.
        role: String,
        /// The configured id.
        own: u32,
        /// The configured role.
        own_role: &'static str,
    },
    /// It said no.
    #[error("the running dataplane refuses: {}", .0.message())]
    Refused(Box<Status>),
    /// It did not answer in time, or not to the end.
    #[error("the running dataplane did not answer with {0:?}")]
    Silent(&'static str),
    /// No runtime to talk in.
    #[error("no runtime: {0}")]
    Runtime(#[from] std::io::Error),
}

impl From<Status> for TakeoverError {
    fn from(status: Status) -> Self {
        TakeoverError::Refused(Box::new(status))
    }
}

/// A conversation with the old process. Dropped before the release, it lets it go on.
pub struct Takeover {
    runtime: Runtime,
    client: DataplaneAgentClient<Channel>,
    node: u32,
    /// Open while transactions are to wait.
    given: Option<Streaming<v1::HandoverReply>>,
    leaving: Option<Streaming<v1::HandoverReply>>,
    /// Taps that it has and the new configuration has not.
    stale_taps: Vec<String>,
}

impl Takeover {
    /// Greets the process behind the configured socket.
    ///
    /// # Errors
    /// When nobody answers there, or another router.
    pub fn greet(config: &Config) -> Result<Takeover, TakeoverError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let channel = runtime.block_on(dmsc_proto::connect_unix(&config.socket))?;
        let mut client = DataplaneAgentClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
        let (version_min, version_max) = dmsc_proto::AGENT_VERSIONS;
        let greeted = runtime.block_on(client.greet(v1::GreetRequest {
            version_min,
            version_max,
            client: "takeover".into(),
        }))?;
        let greeted = greeted.into_inner();
        if (greeted.node, greeted.role.as_str()) != (config.node.0, config.role.as_str()) {
            return Err(TakeoverError::Other {
                node: greeted.node,
                role: greeted.role,
                own: config.node.0,
                own_role: config.role.as_str(),
            });
        }
        Ok(Takeover {
            runtime,
            client,
            node: greeted.node,
            given: None,
            leaving: None,
            stale_taps: Vec::new(),
        })
    }

    /// Looks at the old process's ports; their MAC addresses, by name.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn macs(&mut self, config: &Config) -> Result<Vec<(String, MacAddress)>, TakeoverError> {
        let ports = self
            .runtime
            .block_on(self.client.list_ports(v1::ListPortsRequest {}))?;
        let ports = ports.into_inner().ports;
        let wanted: Vec<_> = config
            .ports
            .iter()
            .filter(|port| exception::wants_tap(port))
            .map(|port| exception::tap_name(&port.name))
            .collect();
        self.stale_taps = ports
            .iter()
            .map(|port| port.exception.clone())
            .filter(|tap| !tap.is_empty() && !wanted.contains(tap))
            .collect();
        Ok(ports
            .into_iter()
            .filter_map(|port| Some((port.name, port.mac.parse().ok()?)))
            .collect())
    }

    fn request(&self, release: bool) -> v1::HandoverRequest {
        let (version_min, version_max) = dmsc_proto::AGENT_VERSIONS;
        v1::HandoverRequest {
            version_min,
            version_max,
            node: self.node,
            release,
        }
    }

    /// Asks for the state; transactions wait there from now on.
    ///
    /// # Errors
    /// Refused, or not told to the end.
    pub fn state(&mut self) -> Result<State, TakeoverError> {
        let request = self.request(false);
        let mut stream = self
            .runtime
            .block_on(self.client.handover(request))?
            .into_inner();
        let mut state = State::default();
        loop {
            let reply = next(&self.runtime, &mut stream, "state")?;
            match (reply.stage.as_str(), reply.tables) {
                ("prefixes", Some(tables)) => state.prefixes.extend(tables.prefixes),
                ("state", tables) => {
                    state.last = v1::HandoverReply { tables, ..reply };
                    self.given = Some(stream);
                    return Ok(state);
                }
                _ => {}
            }
        }
    }

    /// Has the workers there stopped; from the return of this on nobody forwards.
    ///
    /// # Errors
    /// Refused, or gone: look at what became of it.
    pub fn release(&mut self) -> Result<v1::HandoverReply, TakeoverError> {
        let request = self.request(true);
        let mut stream = self
            .runtime
            .block_on(self.client.handover(request))?
            .into_inner();
        let reply = next(&self.runtime, &mut stream, "stopped")?;
        self.leaving = Some(stream);
        Ok(reply)
    }

    /// Waits until its ports and taps are closed. A process that is gone has closed them too.
    ///
    /// # Errors
    /// When it neither says so nor ends.
    pub fn released(mut self) -> Result<v1::HandoverReply, TakeoverError> {
        let Some(mut stream) = self.leaving.take() else {
            return Ok(v1::HandoverReply::default());
        };
        let waited = self
            .runtime
            .block_on(async { tokio::time::timeout(PATIENCE, stream.message()).await });
        let reply = match waited {
            Ok(Ok(reply)) => reply.unwrap_or_default(),
            Ok(Err(_)) => v1::HandoverReply::default(),
            Err(_) => return Err(TakeoverError::Silent("released")),
        };
        self.stale_taps
            .iter()
            .for_each(|tap| exception::discard(tap));
        Ok(reply)
    }
}

fn next(
    runtime: &Runtime,
    stream: &mut Streaming<v1::HandoverReply>,
    what: &'static str,
) -> Result<v1::HandoverReply, TakeoverError> {
    let waited = runtime.block_on(async { tokio::time::timeout(PATIENCE, stream.message()).await });
    match waited {
        Ok(Ok(Some(reply))) => Ok(reply),
        Ok(Err(status)) => Err(status.into()),
        Ok(Ok(None)) | Err(_) => Err(TakeoverError::Silent(what)),
    }
}
