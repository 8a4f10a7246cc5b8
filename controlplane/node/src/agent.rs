//! The client of one dataplane's agent: connects, compares versions, dumps, applies in batches, watches.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use dmsc_proto::v1::{self, dataplane_agent_client::DataplaneAgentClient};
use dmsc_proto::{AGENT_VERSIONS, UnixSocketError, connect_unix};
use dmsc_wire::{AttachmentId, Domain, NodeId};
use thiserror::Error;
use tonic::transport::Channel;

use crate::lease::{Endpoint, Lease};
use crate::program::MAX_OPS;

/// Largest message to and from an agent: a dump with a million prefixes fits.
const MAX_MESSAGE: usize = 256 << 20;
/// An agent that does not answer for this long is taken for gone.
const PATIENCE: Duration = Duration::from_secs(20);

/// An agent could not be used.
#[derive(Debug, Error)]
pub enum AgentError {
    /// Nobody listens; try again later.
    #[error(transparent)]
    Connect(#[from] UnixSocketError),
    /// No common version; upgrade the older of the two programs.
    #[error(
        "the agent speaks versions {low} to {high} of its API, this program {} to {}; upgrade the older of the two",
        AGENT_VERSIONS.0,
        AGENT_VERSIONS.1
    )]
    Version {
        /// Lowest version of the agent.
        low: u32,
        /// Highest version of the agent.
        high: u32,
    },
    /// A call was refused or failed.
    #[error("{call}: {} ({:?})", status.message(), status.code())]
    Call {
        /// Name of the method.
        call: &'static str,
        /// What came back.
        status: Box<tonic::Status>,
    },
}

impl AgentError {
    fn call(call: &'static str) -> impl Fn(tonic::Status) -> Self {
        move |status| Self::Call {
            call,
            status: Box::new(status),
        }
    }

    /// Whether the agent understood and refused, so that asking the same again is of no use.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        use tonic::Code;
        match self {
            Self::Connect(_) => false,
            Self::Version { .. } => true,
            Self::Call { status, .. } => matches!(
                status.code(),
                Code::InvalidArgument
                    | Code::FailedPrecondition
                    | Code::NotFound
                    | Code::AlreadyExists
                    | Code::OutOfRange
                    | Code::ResourceExhausted
            ),
        }
    }
}

/// After this many refusals the rest is not looked at one by one: that would keep the dataplane busy for long.
const MAX_SINGLE: usize = 256;

/// What a dataplane took of operations that do not depend on each other's success.
#[derive(Debug, Default)]
pub(crate) struct Most {
    /// The last generation published; `None` if nothing was taken.
    pub generation: Option<u64>,
    /// Places of Attach operations that were taken, and the ids they got.
    pub attachments: Vec<(usize, AttachmentId)>,
    /// Places of the operations that were refused, ascending.
    pub refused: BTreeSet<usize>,
    /// Why the first was.
    pub why: Option<AgentError>,
}

/// What one or more transactions left behind.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The last generation published; `None` if there was nothing to do.
    pub generation: Option<u64>,
    /// One per Attach operation, in order.
    pub attachments: Vec<AttachmentId>,
}

/// A connected agent that was greeted.
#[derive(Debug, Clone)]
pub struct Agent {
    client: DataplaneAgentClient<Channel>,
    greeting: v1::GreetReply,
}

impl Agent {
    /// Connects to `socket` and greets.
    ///
    /// # Errors
    /// When nobody answers, or versions do not meet.
    pub async fn connect(socket: &Path) -> Result<Self, AgentError> {
        let channel = connect_unix(socket).await?;
        let mut client = DataplaneAgentClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        let request = timed(v1::GreetRequest {
            version_min: AGENT_VERSIONS.0,
            version_max: AGENT_VERSIONS.1,
            client: "dmsc-controlplane".into(),
        });
        let greeting = client
            .greet(request)
            .await
            .map_err(AgentError::call("Greet"))?
            .into_inner();
        if !(AGENT_VERSIONS.0..=AGENT_VERSIONS.1).contains(&greeting.version) {
            return Err(AgentError::Version {
                low: greeting.version_min,
                high: greeting.version_max,
            });
        }
        Ok(Self { client, greeting })
    }

    /// What the dataplane said of itself.
    #[must_use]
    pub fn greeting(&self) -> &v1::GreetReply {
        &self.greeting
    }

    /// The dataplane's node id.
    #[must_use]
    pub fn node(&self) -> NodeId {
        NodeId(self.greeting.node)
    }

    /// Everything that is programmed; prefixes only if asked for, since they may be many.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub async fn dump(&mut self, prefixes: bool) -> Result<v1::DumpReply, AgentError> {
        let reply = self.client.dump(timed(v1::DumpRequest { prefixes })).await;
        Ok(reply.map_err(AgentError::call("Dump"))?.into_inner())
    }

    /// Ends the attachment of `lease`, if it still is its: an id that somebody forced onto another pod is not ours to end.
    ///
    /// # Errors
    /// When the agent does not answer, or refuses.
    pub async fn detach(&mut self, lease: &Lease) -> Result<(), AgentError> {
        self.detach_all(std::slice::from_ref(lease)).await
    }

    /// As [`Agent::detach`], for many at once.
    ///
    /// # Errors
    /// When the agent does not answer, or refuses one; all others are detached then.
    pub(crate) async fn detach_all(&mut self, leases: &[Lease]) -> Result<(), AgentError> {
        let dump = self.dump(false).await?;
        let there: HashMap<u32, &v1::Attachment> =
            dump.attachments.iter().map(|one| (one.id, one)).collect();
        let ours = |lease: &Lease| {
            let id = u32::from(lease.attachment.0);
            let one = there.get(&id)?;
            let same = one.identity == lease.identity
                && Endpoint::of(one).as_ref() == Some(&lease.endpoint);
            same.then_some(v1::Op {
                op: Some(v1::op::Op::Detach(id)),
            })
        };
        let ops: Vec<v1::Op> = leases.iter().filter_map(ours).collect();
        self.apply_most(&ops).await?.why.map_or(Ok(()), Err)
    }

    /// The dataplane's ports.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub async fn ports(&mut self) -> Result<Vec<v1::Port>, AgentError> {
        let reply = self.client.list_ports(timed(v1::ListPortsRequest {})).await;
        Ok(reply
            .map_err(AgentError::call("ListPorts"))?
            .into_inner()
            .ports)
    }

    /// Adjacencies with what their links are like, and ports; no adjacencies of a dataplane that does not measure.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub async fn links(&mut self) -> Result<(Vec<v1::Adjacency>, Vec<v1::Port>), AgentError> {
        let request = timed(v1::ListAdjacenciesRequest {});
        let adjacencies = match self.client.list_adjacencies(request).await {
            Ok(reply) => reply.into_inner().adjacencies,
            // Of the release before.
            Err(status) if status.code() == tonic::Code::Unimplemented => Vec::new(),
            Err(status) => return Err(AgentError::call("ListAdjacencies")(status)),
        };
        Ok((adjacencies, self.ports().await?))
    }

    /// Counters of all ports.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub async fn counters(&mut self) -> Result<Vec<v1::PortCounters>, AgentError> {
        let request = timed(v1::ListCountersRequest::default());
        let reply = self.client.list_counters(request).await;
        Ok(reply
            .map_err(AgentError::call("ListCounters"))?
            .into_inner()
            .ports)
    }

    /// Calls that enter at this gateway, one page.
    ///
    /// # Errors
    /// When the agent does not answer, or is of a version without this.
    pub(crate) async fn traffic(
        &mut self,
        request: v1::ListTrafficRequest,
    ) -> Result<v1::ListTrafficReply, AgentError> {
        let reply = self.client.list_traffic(timed(request)).await;
        Ok(reply.map_err(AgentError::call("ListTraffic"))?.into_inner())
    }

    /// How long calls took, as a pod of `domain` tells it.
    ///
    /// # Errors
    /// When the agent does not answer, refuses, or is of a version without this.
    pub(crate) async fn add_answers(
        &mut self,
        domain: Domain,
        calls: Vec<v1::AnsweredCalls>,
    ) -> Result<(), AgentError> {
        let domain = domain.0;
        let request = timed(v1::AddAnswersRequest { domain, calls });
        let reply = self.client.add_answers(request).await;
        reply.map(drop).map_err(AgentError::call("AddAnswers"))
    }

    /// Whether one echo to an attachment of this gateway is answered within `patience`; `None` if something else than the pod stood in the way,
    /// an access rule for example.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub async fn probe(
        &mut self,
        lease: &Lease,
        patience: Duration,
    ) -> Result<Option<bool>, AgentError> {
        let request = self.to_pod(lease, patience);
        let reply = self.client.echo(timed(request)).await;
        let mut replies = reply.map_err(AgentError::call("Echo"))?.into_inner();
        let answer = replies.message().await.map_err(AgentError::call("Echo"))?;
        Ok(answer.and_then(|answer| match answer.error.as_str() {
            _ if answer.answered => Some(true),
            "timeout" | "no-route" => Some(false),
            _ => None,
        }))
    }

    /// One probe (type 6) to an attachment of this gateway. The dataplane itself notes whether such are answered, and answers them itself for a pod that never does.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub async fn question(&mut self, lease: &Lease, patience: Duration) -> Result<(), AgentError> {
        let request = v1::EchoRequest {
            probe: true,
            ..self.to_pod(lease, patience)
        };
        self.first_answer(request).await.map(|_| ())
    }

    /// One echo to an attachment of this gateway, under its own name.
    fn to_pod(&self, lease: &Lease, patience: Duration) -> v1::EchoRequest {
        v1::EchoRequest {
            domain: lease.domain.0,
            name: lease.source_name.as_bytes().to_vec(),
            count: 1,
            timeout_ms: u32::try_from(patience.as_millis()).unwrap_or(u32::MAX),
            gateway: self.greeting.node,
            attachment: u32::from(lease.attachment.0),
            ..Default::default()
        }
    }

    /// The first answer to an echo or a probe; `None` if there was none.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub(crate) async fn first_answer(
        &mut self,
        request: v1::EchoRequest,
    ) -> Result<Option<v1::EchoReply>, AgentError> {
        let reply = self.client.echo(timed(request)).await;
        let mut replies = reply.map_err(AgentError::call("Echo"))?.into_inner();
        let answer = replies.message().await.map_err(AgentError::call("Echo"))?;
        Ok(answer.filter(|answer| answer.answered))
    }

    /// Applies `ops` in order, in transactions of at most [`MAX_OPS`] operations. Each is all or nothing; so is the whole, as long as
    /// it fits one.
    ///
    /// # Errors
    /// The first refusal; transactions before it stand.
    pub async fn apply(&mut self, mut ops: Vec<v1::Op>) -> Result<Applied, AgentError> {
        let mut applied = Applied::default();
        while !ops.is_empty() {
            let rest = ops.split_off(ops.len().min(MAX_OPS));
            let transaction = v1::Transaction {
                programmer: "dmsc-controlplane".into(),
                ops,
            };
            let reply = self.client.apply(timed(transaction)).await;
            let ack = reply.map_err(AgentError::call("Apply"))?.into_inner();
            applied.generation = Some(ack.generation);
            // Attachment ids have 16 bits on the wire; one that has more is of no use, and 0 says so.
            let ids = ack.attachments.into_iter();
            applied
                .attachments
                .extend(ids.map(|id| AttachmentId(u16::try_from(id).unwrap_or(0))));
            ops = rest;
        }
        Ok(applied)
    }

    /// Applies `ops` in order, all that the dataplane takes: of a transaction that it refuses each half is tried alone, down to the operation
    /// that is at fault.
    ///
    /// # Errors
    /// When the agent does not answer; what was taken before stands.
    pub(crate) async fn apply_most(&mut self, ops: &[v1::Op]) -> Result<Most, AgentError> {
        let mut most = Most::default();
        // Places that are not done yet, the next at the end.
        let mut left: Vec<Range<usize>> = (0..ops.len())
            .step_by(MAX_OPS)
            .map(|start| start..ops.len().min(start + MAX_OPS))
            .rev()
            .collect();
        while let Some(part) = left.pop() {
            match self.apply(ops[part.clone()].to_vec()).await {
                Ok(applied) => {
                    most.generation = applied.generation.or(most.generation);
                    let attach =
                        |place: &usize| matches!(ops[*place].op, Some(v1::op::Op::Attach(_)));
                    most.attachments
                        .extend(part.filter(attach).zip(applied.attachments));
                }
                Err(error) if !error.is_refusal() => return Err(error),
                Err(_) if part.len() > 1 && most.refused.len() < MAX_SINGLE => {
                    let middle = part.start + part.len() / 2;
                    left.push(middle..part.end);
                    left.push(part.start..middle);
                }
                Err(error) => {
                    most.refused.extend(part);
                    most.why.get_or_insert(error);
                }
            }
        }
        Ok(most)
    }

    /// Changes as they happen; ends when the dataplane does.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub async fn watch(&mut self) -> Result<tonic::Streaming<v1::Event>, AgentError> {
        let reply = self.client.watch(v1::WatchRequest {}).await;
        Ok(reply.map_err(AgentError::call("Watch"))?.into_inner())
    }
}

fn timed<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(PATIENCE);
    request
}
