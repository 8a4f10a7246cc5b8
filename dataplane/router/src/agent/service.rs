//! The calls of `dmsc.v1.DataplaneAgent`.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dmsc_daemon::{Caller, Role};
use dmsc_proto::v1;
use dmsc_proto::v1::dataplane_agent_server::DataplaneAgent;
use dmsc_wire::NameBuf;
use futures::Stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::herald::Herald;
use super::{audit, configure, describe, echo, explain, traffic, transactions};
use crate::handover::Offer;
use crate::packet::Origin;
use crate::port::Handles;
use crate::publisher::Publishing;
use crate::shared::Shared;
use crate::trace;
use crate::traffic::Collector;

/// Who has which role.
const RULE: &str = "root has all, members of [agent] operate_group and view_group of the dataplane's configuration theirs";

/// Serves the API.
pub struct Agent {
    shared: Arc<Shared>,
    handles: Handles,
    publishing: Publishing,
    herald: Arc<Herald>,
    offer: Offer,
    traffic: Arc<Collector>,
    started: Instant,
}

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn stream<T: Send + 'static>(receiver: mpsc::Receiver<Result<T, Status>>) -> Response<Replies<T>> {
    Response::new(Box::pin(ReceiverStream::new(receiver)))
}

fn name(bytes: &[u8]) -> Result<NameBuf, Status> {
    NameBuf::from_bytes(bytes)
        .map_err(|e| Status::invalid_argument(format!("name is not in canonical encoding: {e}")))
}

impl Agent {
    /// Over a running dataplane.
    pub fn new(
        shared: Arc<Shared>,
        handles: Handles,
        publishing: Publishing,
        herald: Arc<Herald>,
        offer: Offer,
        traffic: Arc<Collector>,
    ) -> Agent {
        Agent {
            shared,
            handles,
            publishing,
            herald,
            offer,
            traffic,
            started: Instant::now(),
        }
    }

    /// Whether the caller may what needs a role. Without groups the file mode of the socket decides: whoever opens it may everything.
    fn permit<T>(&self, request: &Request<T>, need: Role) -> Result<(), Status> {
        let groups = &self.shared.config.groups;
        if !groups.are_given() {
            return Ok(());
        }
        let caller = Caller::of_socket(request, groups);
        let caller = caller.unwrap_or_else(|| Caller::of_peer(None, groups));
        caller.permit(need, RULE)
    }

    fn port(&self, name: &str) -> Result<usize, Status> {
        let known = || {
            self.shared
                .ports
                .iter()
                .map(|p| p.config.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let found = self.shared.ports.iter().position(|p| p.config.name == name);
        found.ok_or_else(|| {
            Status::not_found(format!(
                "port {name:?} does not exist; there are {}",
                known()
            ))
        })
    }
}

#[tonic::async_trait]
impl DataplaneAgent for Agent {
    async fn greet(
        &self,
        request: Request<v1::GreetRequest>,
    ) -> Result<Response<v1::GreetReply>, Status> {
        self.permit(&request, Role::View)?;
        let request = request.into_inner();
        let (min, max) = dmsc_proto::AGENT_VERSIONS;
        let version = request.version_max.min(max);
        if version < min || version < request.version_min {
            return Err(Status::failed_precondition(format!(
                "the client speaks versions {} to {} of the agent's API, this dataplane {min} to {max}: use neighbouring releases",
                request.version_min, request.version_max
            )));
        }
        tracing::debug!(client = request.client, version, "greeted");
        Ok(Response::new(v1::GreetReply {
            version,
            version_min: min,
            version_max: max,
            node: self.shared.node().0,
            node_name: self.shared.config.name.clone(),
            role: self.shared.config.role.as_str().into(),
            boot_nonce: self.shared.speaker.boot,
            generation: self.publishing.view().generation.0,
            software: format!(
                "dmsc-dataplane {} ({})",
                env!("CARGO_PKG_VERSION"),
                dmsc_dpdk::dpdk_version()
            ),
            uptime_ms: self.started.elapsed().as_millis() as u64,
        }))
    }

    async fn apply(
        &self,
        request: Request<v1::Transaction>,
    ) -> Result<Response<v1::TransactionAck>, Status> {
        self.permit(&request, Role::Operate)?;
        let transaction = request.into_inner();
        let count = transaction.ops.len();
        let _admitted = self.offer.admit().await;
        let result = self.publishing.apply(transaction.ops).await;
        match result.ok_or_else(|| Status::unavailable("the dataplane is stopping"))? {
            Ok(done) => {
                tracing::debug!(
                    programmer = transaction.programmer,
                    operations = count,
                    generation = done.generation.0,
                    observed = done.observed,
                    "transaction"
                );
                Ok(Response::new(v1::TransactionAck {
                    generation: done.generation.0,
                    observed: done.observed,
                    attachments: done.attached,
                    error: String::new(),
                }))
            }
            Err(error) => {
                tracing::warn!(programmer = transaction.programmer, %error, "transaction refused, nothing changed");
                Err(Status::invalid_argument(error.to_string()))
            }
        }
    }

    type ApplyStreamStream = Replies<v1::TransactionAck>;
    async fn apply_stream(
        &self,
        request: Request<Streaming<v1::Transaction>>,
    ) -> Result<Response<Self::ApplyStreamStream>, Status> {
        self.permit(&request, Role::Operate)?;
        let (publishing, gate) = (self.publishing.clone(), self.offer.gate());
        Ok(Response::new(Box::pin(transactions::serve(
            request.into_inner(),
            publishing,
            gate,
        ))))
    }

    async fn dump(
        &self,
        request: Request<v1::DumpRequest>,
    ) -> Result<Response<v1::DumpReply>, Status> {
        self.permit(&request, Role::View)?;
        Ok(Response::new(describe::dump(
            &self.shared,
            &self.publishing.view(),
            request.into_inner().prefixes,
        )))
    }

    async fn list_adjacencies(
        &self,
        request: Request<v1::ListAdjacenciesRequest>,
    ) -> Result<Response<v1::ListAdjacenciesReply>, Status> {
        self.permit(&request, Role::View)?;
        let view = self.publishing.view();
        Ok(Response::new(describe::adjacencies(&self.shared, &view)))
    }

    async fn list_ports(
        &self,
        request: Request<v1::ListPortsRequest>,
    ) -> Result<Response<v1::ListPortsReply>, Status> {
        self.permit(&request, Role::View)?;
        let handles = self.handles.read();
        let ports = self
            .shared
            .ports
            .iter()
            .zip(handles.iter())
            .map(|(port, handle)| describe::port(&self.shared, port, handle))
            .collect();
        Ok(Response::new(v1::ListPortsReply { ports }))
    }

    async fn list_workers(
        &self,
        request: Request<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersReply>, Status> {
        self.permit(&request, Role::View)?;
        let observed = self.publishing.view().generation.0;
        Ok(Response::new(v1::ListWorkersReply {
            workers: describe::workers(&self.shared, observed),
        }))
    }

    async fn list_counters(
        &self,
        request: Request<v1::ListCountersRequest>,
    ) -> Result<Response<v1::ListCountersReply>, Status> {
        self.permit(&request, Role::View)?;
        let only = request.into_inner().port;
        let ports = if only.is_empty() {
            self.shared
                .ports
                .iter()
                .map(|p| describe::counters(&self.shared, p))
                .collect()
        } else {
            vec![describe::counters(
                &self.shared,
                &self.shared.ports[self.port(&only)?],
            )]
        };
        Ok(Response::new(v1::ListCountersReply { ports }))
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainReply>, Status> {
        self.permit(&request, Role::View)?;
        let mut request = request.into_inner();
        let name = name(&request.name)?;
        if request.domain == 0 {
            request.domain = 1;
        }
        let view = self.publishing.view();
        let from = if request.in_port.is_empty() {
            Origin::Here
        } else {
            let port = self.port(&request.in_port)?;
            view.tables
                .adjacencies
                .on_port(port)
                .first()
                .map_or(Origin::Here, |a| Origin::Router(a.config.id))
        };
        Ok(Response::new(explain::explain(
            &self.shared,
            &view,
            &name,
            &request,
            from,
        )))
    }

    type EchoStream = Replies<v1::EchoReply>;
    async fn echo(
        &self,
        request: Request<v1::EchoRequest>,
    ) -> Result<Response<Self::EchoStream>, Status> {
        self.permit(&request, Role::Operate)?;
        let request = request.into_inner();
        let name = name(&request.name)?;
        if request.count > 1_000 || request.record_slots > 20 {
            return Err(Status::invalid_argument(
                "count is at most 1,000 and record_slots at most 20",
            ));
        }
        if request.probe && (request.record_slots > 0 || request.payload_length > 0) {
            return Err(Status::invalid_argument(
                "a probe has neither record_slots nor a payload_length of its own: leave them 0",
            ));
        }
        let (sender, receiver) = mpsc::channel(16);
        tokio::spawn(echo::run(
            self.shared.clone(),
            self.herald.clone(),
            name,
            request,
            sender,
        ));
        Ok(stream(receiver))
    }

    type CaptureStream = Replies<v1::CapturedFrame>;
    async fn capture(
        &self,
        request: Request<v1::CaptureRequest>,
    ) -> Result<Response<Self::CaptureStream>, Status> {
        self.permit(&request, Role::Operate)?;
        let request = request.into_inner();
        let port = self.port(&request.port)?;
        let snap = if request.snap_length == 0 {
            9_216
        } else {
            request.snap_length
        } as usize;
        let (frames, mut captured) = mpsc::channel(4096);
        self.herald.capture(port, frames);
        let (sender, receiver) = mpsc::channel(64);
        let (shared, clock) = (self.shared.clone(), self.shared.clock);
        let (wall, base) = (
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_nanos() as u64,
            dmsc_dpdk::tsc(),
        );
        tokio::spawn(async move {
            while let Some(mut frame) = captured.recv().await {
                frame.bytes.truncate(snap);
                let message = v1::CapturedFrame {
                    time_ns: if frame.time >= base {
                        wall + clock.to_ns(frame.time - base)
                    } else {
                        wall - clock.to_ns(base - frame.time)
                    },
                    outgoing: frame.outgoing,
                    length: frame.length,
                    data: frame.bytes,
                    missed: shared.captured.missed(),
                };
                if sender.send(Ok(message)).await.is_err() {
                    return;
                }
            }
        });
        Ok(stream(receiver))
    }

    type TracePacketsStream = Replies<v1::TracedPacket>;
    async fn trace_packets(
        &self,
        request: Request<v1::TracePacketsRequest>,
    ) -> Result<Response<Self::TracePacketsStream>, Status> {
        self.permit(&request, Role::Operate)?;
        let request = request.into_inner();
        if !(1..=1_000).contains(&request.count) {
            return Err(Status::invalid_argument("count must be 1 to 1,000"));
        }
        let port = if request.port.is_empty() {
            None
        } else {
            Some(self.port(&request.port)?)
        };
        let (sender, receiver) = mpsc::channel(64);
        self.shared.tracer.start(request.count, port);
        tokio::spawn(collect_trace(self.shared.clone(), request.count, sender));
        Ok(stream(receiver))
    }

    async fn config(
        &self,
        request: Request<v1::AgentConfigRequest>,
    ) -> Result<Response<v1::AgentConfigReply>, Status> {
        let generation = self.publishing.view().generation.0;
        let need = match request.get_ref().action.as_str() {
            "apply" => Role::Operate,
            _ => Role::View,
        };
        let permitted = self.permit(&request, need);
        let result =
            permitted.and_then(|()| configure::serve(&self.shared, generation, request.get_ref()));
        if request.get_ref().action == "apply" {
            audit::record(&request, "Config apply", generation, &result);
        }
        result.map(Response::new)
    }

    type HandoverStream = Replies<v1::HandoverReply>;

    async fn handover(
        &self,
        request: Request<v1::HandoverRequest>,
    ) -> Result<Response<Self::HandoverStream>, Status> {
        self.permit(&request, Role::Operate)?;
        Ok(stream(self.offer.serve(request.into_inner()).await?))
    }

    async fn list_traffic(
        &self,
        request: Request<v1::ListTrafficRequest>,
    ) -> Result<Response<v1::ListTrafficReply>, Status> {
        self.permit(&request, Role::View)?;
        let reply = traffic::list(&self.traffic, request.get_ref()).await?;
        Ok(Response::new(reply))
    }

    async fn add_answers(
        &self,
        request: Request<v1::AddAnswersRequest>,
    ) -> Result<Response<v1::AddAnswersReply>, Status> {
        self.permit(&request, Role::Operate)?;
        let reply = traffic::add_answers(&self.traffic, request.get_ref()).await?;
        Ok(Response::new(reply))
    }

    type WatchStream = Replies<v1::Event>;
    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.permit(&request, Role::View)?;
        let (sender, receiver) = mpsc::channel(256);
        let (shared, publishing, handles) = (
            self.shared.clone(),
            self.publishing.clone(),
            self.handles.clone(),
        );
        let mut news = self.herald.news();
        tokio::spawn(async move {
            let mut watcher = Watcher::default();
            loop {
                for event in watcher.changes(&shared, &publishing, &handles) {
                    if sender.send(Ok(event)).await.is_err() {
                        return;
                    }
                }
                tokio::select! {
                    changed = news.changed() => if changed.is_err() { return },
                    () = sender.closed() => return,
                }
            }
        });
        Ok(stream(receiver))
    }
}

/// What one watcher was told last.
#[derive(Default)]
struct Watcher {
    generation: Option<u64>,
    adjacencies: HashMap<u16, (String, u32)>,
    ports: HashMap<usize, bool>,
    attachments: HashMap<u16, &'static str>,
}

impl Watcher {
    fn changes(
        &mut self,
        shared: &Shared,
        publishing: &Publishing,
        handles: &Handles,
    ) -> Vec<v1::Event> {
        use v1::event::Event as E;
        let view = publishing.view();
        let mut events = Vec::new();
        for adjacency in view.tables.adjacencies.iter() {
            let message = describe::adjacency(shared, adjacency);
            let now = (message.state.clone(), message.path_mtu);
            if self.adjacencies.insert(adjacency.config.id.0, now.clone()) != Some(now) {
                events.push(E::Adjacency(message));
            }
        }
        for (port, handle) in shared.ports.iter().zip(handles.read().iter()) {
            let up = port.is_up();
            if self.ports.insert(port.number, up) != Some(up) {
                events.push(E::Port(describe::port(shared, port, handle)));
            }
        }
        for attachment in view.tables.attachments.iter() {
            let state = if attachment.is_up() && shared.ports[attachment.port].is_up() {
                "up"
            } else {
                "unreachable"
            };
            if self.attachments.insert(attachment.id.0, state) != Some(state) {
                events.push(E::Attachment(describe::attachment(
                    shared,
                    attachment,
                    view.generation.0,
                )));
            }
        }
        self.attachments.retain(|id, _| {
            view.tables
                .attachments
                .get(dmsc_wire::AttachmentId(*id))
                .is_some()
        });
        if self.generation.replace(view.generation.0) != Some(view.generation.0) {
            events.push(E::Generation(view.generation.0));
        }
        let time_ns = shared.clock.to_ns(dmsc_dpdk::tsc());
        events
            .into_iter()
            .map(|event| v1::Event {
                time_ns,
                event: Some(event),
            })
            .collect()
    }
}

/// Puts the records of each packet together: a packet is complete when it was transmitted or ended.
async fn collect_trace(
    shared: Arc<Shared>,
    count: u32,
    out: mpsc::Sender<Result<v1::TracedPacket, Status>>,
) {
    let mut open: HashMap<u32, (u64, v1::TracedPacket)> = HashMap::new();
    let mut sent = 0;
    while sent < count && !out.is_closed() && shared.is_running() {
        let Some(record) = shared.tracer.take() else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let port = &shared.ports[usize::from(record.context.port)].config.name;
        let (start, packet) = open.entry(record.number).or_insert_with(|| {
            (
                record.time,
                v1::TracedPacket {
                    number: record.number,
                    in_port: port.clone(),
                    steps: Vec::new(),
                },
            )
        });
        packet.steps.push(v1::TraceStep {
            stage: record.stage.as_str().into(),
            at_ns: shared.clock.to_ns(record.time.saturating_sub(*start)),
            what: trace::describe(&record),
        });
        if record.stage == trace::Stage::Transmit
            && let Some((_, packet)) = open.remove(&record.number)
        {
            sent += 1;
            if out.send(Ok(packet)).await.is_err() {
                break;
            }
        }
    }
    shared.tracer.stop();
}
