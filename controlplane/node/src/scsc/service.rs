//! Type 4: telemetry of gateways and routers comes, policies go.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dmsc_proto::v1::gateway_message::Message as Up;
use dmsc_proto::v1::scheduling_server::{Scheduling, SchedulingServer};
use dmsc_proto::v1::{self, CenterMessage, GatewayMessage, center_message::Message as Down};
use dmsc_proto::{SCHEDULING_MESSAGE, SCHEDULING_VERSIONS};
use dmsc_scsc::held::MAX_POLICIES;
use dmsc_scsc::histogram::Histogram;
use dmsc_scsc::policy::MAX_MEMBERS;
use dmsc_scsc::stream::Decoder;
use dmsc_spa::identity::Identity;
use dmsc_spa::verify::Certificate;
use dmsc_wire::{Domain, NameBuf, NodeId};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::{info, warn};

use super::services;
use super::state::{Center, Entered, FullError, Gone, ToGateway};
use crate::guests::Guests;
use crate::tls;

/// Whoever says no hello in this time has lost its way.
const HELLO: Duration = Duration::from_secs(5);
/// Most prefixes in one second's telemetry; gateways tell the others with the next.
pub const MAX_PREFIXES: usize = 4_096;
/// Most bytes of the delay of one service.
pub const MAX_DELAY: usize = 256;

/// The service.
pub struct Exchange {
    center: Arc<Center>,
    guests: Guests,
}

impl Exchange {
    /// The service of `center`, for a tonic server with mutual TLS, to which `guests` are connected.
    #[must_use]
    pub fn service(center: Arc<Center>, guests: Guests) -> SchedulingServer<Self> {
        SchedulingServer::new(Self { center, guests })
            .max_decoding_message_size(SCHEDULING_MESSAGE)
            .max_encoding_message_size(SCHEDULING_MESSAGE)
    }
}

#[tonic::async_trait]
impl Scheduling for Exchange {
    type ExchangeStream = ReceiverStream<Result<CenterMessage, Status>>;

    async fn exchange(
        &self,
        request: Request<Streaming<GatewayMessage>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let center = &self.center;
        let opened = async {
            let (certificate, _) = tls::caller(&request, &center.root)?;
            let node = certificate.identity.node_id();
            let node = node.ok_or_else(|| no_node(&certificate.identity))?;
            self.guests.greet(&request, &center.root);
            let mut inbound = request.into_inner();
            let first = timeout(HELLO, inbound.message()).await;
            let first = first.map_err(|_| Status::deadline_exceeded("say hello first"))??;
            let Some(Up::Hello(hello)) = first.and_then(|first| first.message) else {
                return Err(Status::invalid_argument("say hello first"));
            };
            let version = greet(center, node, &hello)?;
            Ok((certificate, node, inbound, hello, version))
        };
        let (certificate, node, inbound, hello, version) = match opened.await {
            Ok(opened) => opened,
            Err(status) => {
                center.metrics.refused_streams.inc();
                warn!("a stream is refused: {}", status.message());
                return Err(status);
            }
        };
        let held = hello.held.iter().filter_map(|one| {
            let hash = <[u8; 32]>::try_from(one.statement_sha256.as_slice()).ok()?;
            Some((hash, Duration::from_millis(one.left_ms.into())))
        });
        let held: HashMap<_, _> = held.collect();
        let (number, sender, receiver, gone) = center.open(node, certificate.clone(), &held);
        let software: String = hello.software.chars().take(64).collect();
        info!(%node, software, held = held.len(), "connected");
        let welcome = Down::Hello(v1::CenterHello {
            version,
            replica: center.replica(),
            epoch: center.epoch().0,
        });
        let stream = Reader {
            center: Arc::clone(center),
            certificate,
            node,
            number,
            decoder: Decoder::new(node),
            last: None,
            full: None,
        };
        let (out, told) = tokio::sync::mpsc::channel(1);
        // The channel is empty, so there is a place.
        let _ = out.try_send(Ok(said(welcome)));
        tokio::spawn(stream.run(inbound, sender, gone));
        tokio::spawn(forward(receiver, out));
        Ok(Response::new(ReceiverStream::new(told)))
    }
}

/// The hello first, then what the center has to say.
async fn forward(
    mut from: super::state::FromCenter,
    to: tokio::sync::mpsc::Sender<Result<CenterMessage, Status>>,
) {
    while let Some(message) = from.recv().await {
        let last = message.is_err();
        if to.send(message).await.is_err() || last {
            return;
        }
    }
}

fn said(message: Down) -> CenterMessage {
    CenterMessage {
        message: Some(message),
    }
}

fn no_node(other: &Identity) -> Status {
    Status::permission_denied(format!(
        "only gateways and routers tell what they measure; your certificate is of {other}"
    ))
}

/// Whether the two can work together, and by which version.
fn greet(center: &Center, node: NodeId, hello: &v1::GatewayHello) -> Result<u32, Status> {
    if hello.node != node.0 {
        return Err(Status::permission_denied(format!(
            "your certificate is of node {node}, the hello is of node {}: a node speaks for itself only",
            hello.node
        )));
    }
    let (low, high) = SCHEDULING_VERSIONS;
    let version = hello.version_max.min(high);
    if version < low.max(hello.version_min) {
        return Err(Status::failed_precondition(format!(
            "this scheduling center speaks versions {low} to {high}, the caller {} to {}; upgrade the older of the two",
            hello.version_min, hello.version_max
        )));
    }
    if hello.area != center.area() {
        return Err(Status::failed_precondition(format!(
            "this scheduling center is of area {}, the caller of area {}; correct the list of centers there",
            center.area(),
            hello.area
        )));
    }
    if hello.held.len() > MAX_POLICIES {
        return Err(Status::invalid_argument(format!(
            "held: more than {MAX_POLICIES} policies"
        )));
    }
    Ok(version)
}

/// One stream as it comes.
struct Reader {
    center: Arc<Center>,
    certificate: Certificate,
    node: NodeId,
    number: u64,
    decoder: Decoder,
    last: Option<u64>,
    /// Why groups of it were left out last.
    full: Option<FullError>,
}

impl Reader {
    async fn run(
        mut self,
        mut inbound: Streaming<GatewayMessage>,
        sender: ToGateway,
        mut gone: Gone,
    ) {
        let ended = loop {
            let message = tokio::select! {
                message = inbound.message() => message,
                () = sender.closed() => break None,
                _ = &mut gone => break None,
            };
            let taken = match message {
                Ok(Some(message)) => self.take(message),
                Ok(None) => break None,
                Err(status) => break Some(status),
            };
            match taken {
                // Only this stream waits when the other side does not read.
                Ok(Some(answer)) => tokio::select! {
                    sent = sender.send(Ok(answer)) => if sent.is_err() { break None },
                    _ = &mut gone => break None,
                },
                Ok(None) => {}
                Err(status) => {
                    self.center.metrics.refused_streams.inc();
                    // Without room there: the stream ends without a word.
                    _ = sender.try_send(Err(status.clone()));
                    break Some(status);
                }
            }
        };
        self.center.left(self.node, self.number);
        match ended {
            None => info!(node = %self.node, "disconnected"),
            Some(status) => warn!(node = %self.node, "stream ended: {}", status.message()),
        }
    }

    fn take(&mut self, message: GatewayMessage) -> Result<Option<CenterMessage>, Status> {
        if self.center.root.has_revoked(&self.certificate) {
            return Err(tls::revoked());
        }
        match message.message {
            Some(Up::Telemetry(telemetry)) => {
                let second = telemetry.second;
                self.telemetry(telemetry)?;
                Ok(Some(said(Down::TelemetryAck(v1::TelemetryAck { second }))))
            }
            Some(Up::PolicyAck(ack)) => {
                self.center.acknowledged(self.node, ack);
                Ok(None)
            }
            Some(Up::Hello(_)) => Err(Status::invalid_argument("hello: only once, at first")),
            // Of a later version.
            None => Ok(None),
        }
    }

    fn telemetry(&mut self, telemetry: v1::Telemetry) -> Result<(), Status> {
        let second = telemetry.second;
        if self.last.is_some_and(|last| second <= last) {
            return Err(Status::invalid_argument(format!(
                "telemetry: second {second} comes again or too late; seconds ascend within a stream"
            )));
        }
        if telemetry.prefixes.len() > MAX_PREFIXES {
            return Err(Status::invalid_argument(format!(
                "telemetry: more than {MAX_PREFIXES} prefixes in one second"
            )));
        }
        let entered = telemetry.prefixes.iter().enumerate();
        let entered = entered
            .map(|(index, one)| entered_at(index, one))
            .collect::<Result<Vec<_>, _>>()?;
        let services = services::told(&telemetry.services)?;
        let mut reports = Vec::new();
        self.decoder
            .read(&telemetry.reports, |pair, report| {
                reports.push((pair, report.clone()));
            })
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let taken = self.center.take(self.node, reports, entered);
        self.center.serves(self.node, &services);
        let metrics = &self.center.metrics;
        if let Err(error) = taken {
            metrics.refused_groups.inc();
            // Once: it may be so every second.
            if self.full != Some(error) {
                self.full = Some(error);
                warn!(node = %self.node, "telemetry: {error}");
            }
        }
        self.last = Some(second);
        metrics.seconds.inc();
        metrics.report_bytes.inc_by(telemetry.reports.len() as u64);
        Ok(())
    }
}

fn entered_at(index: usize, one: &v1::PrefixTraffic) -> Result<Entered, Status> {
    let wrong = |what: String| Status::invalid_argument(format!("prefixes[{index}]: {what}"));
    let prefix = NameBuf::from_bytes(&one.name).map_err(|error| wrong(error.to_string()))?;
    if one.domain == 0 {
        return Err(wrong("domain 0".to_owned()));
    }
    let members = one.members.len() + one.others.len();
    if members > MAX_MEMBERS || one.members.iter().chain(&one.others).any(|id| *id == 0) {
        return Err(wrong(format!(
            "members: at most {MAX_MEMBERS}, none of them 0"
        )));
    }
    let told = &one.by_member;
    if told.len() > MAX_MEMBERS || told.iter().any(|member| member.node == 0) {
        return Err(wrong(format!(
            "by_member: at most {MAX_MEMBERS}, none of node 0"
        )));
    }
    if Histogram::from_bytes(&one.latency).is_none() {
        return Err(wrong("latency: no histogram".to_owned()));
    }
    let ids = |list: &[u32]| list.iter().copied().map(NodeId).collect();
    Ok(Entered {
        domain: Domain(one.domain),
        prefix,
        kbps: one.bytes / 125,
        plain: ids(&one.members),
        others: ids(&one.others),
    })
}
