//! A model of a dataplane: the agent's API over a Unix socket and tables that are plain maps, killed and started again at will.

#![allow(dead_code)] // every test binary uses another part

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use dmsc_proto::v1::dataplane_agent_server::{DataplaneAgent, DataplaneAgentServer};
use dmsc_proto::v1::{self, op::Op as Kind};
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status};

/// Whether an operation is refused.
pub type Refuse = fn(&Kind) -> bool;

/// What all links of a dataplane are like.
#[derive(Debug, Clone, Copy)]
pub struct Links {
    pub round_trip_ns: u64,
    pub capacity_mbps: u32,
    pub used_mbps: u32,
}

/// The tables of one boot.
#[derive(Debug, Default, Clone)]
pub struct Tables {
    pub generation: u64,
    pub adjacencies: BTreeMap<u32, v1::Adjacency>,
    pub gateways: BTreeMap<(u32, u32), v1::Gateway>,
    pub groups: BTreeMap<u32, v1::Group>,
    pub prefixes: BTreeMap<Vec<u8>, v1::Prefix>,
    pub attachments: BTreeMap<u32, v1::Attachment>,
    pub access_rules: BTreeMap<u32, v1::AccessRule>,
    /// Number of operations of every transaction.
    pub transactions: Vec<usize>,
}

#[derive(Debug)]
struct Shared {
    boot_nonce: u64,
    node: u32,
    role: &'static str,
    /// Adjacencies whose hellos run.
    hellos: Mutex<BTreeSet<u32>>,
    /// Versions of the agent's API.
    versions: Mutex<(u32, u32)>,
    /// Attachments that answer no echo.
    silent: Mutex<BTreeSet<u32>>,
    /// Round trip to gateways, ns; others take 100 µs.
    round_trips: Mutex<BTreeMap<u32, u64>>,
    /// What attachments answer to probes, health and load; others know no probes.
    states: Mutex<BTreeMap<u32, (u32, u32)>>,
    /// What all links are like.
    links: Mutex<Option<(Links, Instant)>>,
    /// Bytes that left by router ports before that.
    sent: Mutex<u64>,
    /// What it counted of calls.
    traffic: Mutex<v1::ListTrafficReply>,
    /// What pods told of answers.
    answers: Mutex<Vec<v1::AddAnswersRequest>>,
    /// Operations that are refused.
    refuse: Mutex<Option<Refuse>>,
    tables: Mutex<Tables>,
    generation: watch::Sender<u64>,
    watchers: Mutex<Vec<mpsc::Sender<Result<v1::Event, Status>>>>,
}

#[derive(Debug, Clone)]
struct Agent(Arc<Shared>);

/// A running model; dropping it is `kill -9`.
#[derive(Debug)]
pub struct Dataplane {
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
    socket: PathBuf,
}

impl Dataplane {
    /// Boots with empty tables.
    pub fn boot(socket: &Path, boot_nonce: u64) -> Self {
        Self::boot_as(socket, boot_nonce, 1, "sg")
    }

    /// Boots as that node.
    pub fn boot_as(socket: &Path, boot_nonce: u64, node: u32, role: &'static str) -> Self {
        let shared = Arc::new(Shared {
            boot_nonce,
            node,
            role,
            hellos: Mutex::default(),
            versions: Mutex::new((1, 1)),
            silent: Mutex::default(),
            round_trips: Mutex::default(),
            states: Mutex::default(),
            links: Mutex::default(),
            sent: Mutex::default(),
            traffic: Mutex::default(),
            answers: Mutex::default(),
            refuse: Mutex::default(),
            tables: Mutex::default(),
            generation: watch::Sender::new(0),
            watchers: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = {
            let _runtime = runtime.enter();
            UnixListener::bind(socket).unwrap()
        };
        let service = DataplaneAgentServer::new(Agent(Arc::clone(&shared)));
        runtime.spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(UnixListenerStream::new(listener)),
        );
        Self {
            shared,
            runtime: Some(runtime),
            socket: socket.to_path_buf(),
        }
    }

    /// What pods told of answers.
    pub fn answers(&self) -> Vec<v1::AddAnswersRequest> {
        self.shared.answers.lock().unwrap().clone()
    }

    /// Counts further calls to a prefix and a member of it, of so many bytes each.
    pub fn count(&self, name: &[u8], gateway: u32, calls: u64, bytes: u64) {
        let mut traffic = self.shared.traffic.lock().unwrap();
        let since = traffic.reading + 1;
        let at = traffic.services.iter().position(|one| one.name == name);
        let at = at.unwrap_or_else(|| {
            traffic.services.push(v1::ServiceTraffic {
                domain: 1,
                name: name.to_vec(),
                since,
                ..Default::default()
            });
            traffic.services.len() - 1
        });
        let service = &mut traffic.services[at];
        service.packets += calls;
        service.bytes += calls * bytes;
        service.requests += calls;
        let members = &mut service.members;
        let at = members.iter().position(|one| one.gateway == gateway);
        let at = at.unwrap_or_else(|| {
            members.push(v1::MemberCount {
                gateway,
                ..Default::default()
            });
            members.len() - 1
        });
        members[at].packets += calls;
        members[at].bytes += calls * bytes;
    }

    /// The tables as they are now.
    pub fn tables(&self) -> Tables {
        self.shared.tables.lock().unwrap().clone()
    }

    /// The tables as soon as they are so.
    pub async fn until(&self, what: impl Fn(&Tables) -> bool) -> Tables {
        let mut generation = self.shared.generation.subscribe();
        let wait = async {
            loop {
                let tables = self.tables();
                if what(&tables) {
                    return tables;
                }
                generation.changed().await.unwrap();
            }
        };
        let limit = std::time::Duration::from_secs(10);
        match tokio::time::timeout(limit, wait).await {
            Ok(tables) => tables,
            Err(_) => panic!("not in time: {:?}", self.tables()),
        }
    }

    /// Hellos of these adjacencies run, or stop.
    pub async fn hello(&self, ids: &[u32], up: bool) {
        for id in ids {
            {
                let mut hellos = self.shared.hellos.lock().unwrap();
                if up {
                    hellos.insert(*id);
                } else {
                    hellos.remove(id);
                }
            }
            let state = if up { "up" } else { "down" };
            let changed = {
                let mut tables = self.shared.tables.lock().unwrap();
                tables.adjacencies.get_mut(id).map(|adjacency| {
                    adjacency.state = state.into();
                    adjacency.clone()
                })
            };
            if let Some(adjacency) = changed {
                self.shared
                    .send(v1::event::Event::Adjacency(adjacency))
                    .await;
            }
        }
    }

    /// Is of another release.
    pub fn speak(&self, low: u32, high: u32) {
        *self.shared.versions.lock().unwrap() = (low, high);
    }

    /// Has the tables of the process before.
    pub fn take_over(&self, tables: Tables) {
        *self.shared.tables.lock().unwrap() = tables;
    }

    /// An attachment answers no echo any more, or again.
    pub fn silence(&self, id: u32, silent: bool) {
        let mut list = self.shared.silent.lock().unwrap();
        if silent {
            list.insert(id);
        } else {
            list.remove(&id);
        }
    }

    /// Echoes to this gateway take so long from now on, ns; they are answered at once all the same.
    pub fn round_trip(&self, gateway: u32, ns: u64) {
        self.shared.round_trips.lock().unwrap().insert(gateway, ns);
    }

    /// An attachment answers probes from now on: with this health and load.
    pub fn state(&self, id: u32, health: u32, load_permille: u32) {
        let mut states = self.shared.states.lock().unwrap();
        states.insert(id, (health, load_permille));
    }

    /// What links are like from now on; a dataplane that was never told does not measure.
    pub fn links(&self, links: Links) {
        let sent = self.shared.sent();
        *self.shared.sent.lock().unwrap() = sent;
        *self.shared.links.lock().unwrap() = Some((links, Instant::now()));
    }

    /// Refuses transactions with such an operation from now on.
    pub fn refuse(&self, what: Option<Refuse>) {
        *self.shared.refuse.lock().unwrap() = what;
    }

    /// Tells watchers that an attachment changed its state.
    pub async fn tell(&self, id: u32, state: &str) {
        let mut attachment = self.tables().attachments[&id].clone();
        attachment.state = state.into();
        self.shared
            .send(v1::event::Event::Attachment(attachment))
            .await;
    }
}

impl Shared {
    /// Bytes that left by router ports so far.
    fn sent(&self) -> u64 {
        let before = *self.sent.lock().unwrap();
        let Some((links, since)) = *self.links.lock().unwrap() else {
            return before;
        };
        let ms = u64::try_from(since.elapsed().as_millis()).unwrap();
        before + u64::from(links.used_mbps) * 125 * ms
    }

    async fn send(&self, event: v1::event::Event) {
        let watchers = self.watchers.lock().unwrap().clone();
        for watcher in watchers {
            let event = Some(event.clone());
            let _ = watcher.send(Ok(v1::Event { time_ns: 0, event })).await;
        }
    }
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        let _ = std::fs::remove_file(&self.socket);
    }
}

impl Tables {
    /// As a real dataplane: every way leads over adjacencies that exist.
    fn check(&self) -> Result<(), Status> {
        for gateway in self.gateways.values() {
            let protecting = [gateway.node_protecting, gateway.link_protecting];
            let protecting = protecting.into_iter().filter(|id| *id != 0);
            let mut used = gateway.next_hops.iter().copied().chain(protecting);
            if let Some(id) = used.find(|id| !self.adjacencies.contains_key(id)) {
                return Err(Status::invalid_argument(format!(
                    "operation 0 (put_gateway): gateway {} leads over adjacency {id}, which does not exist after this transaction",
                    gateway.gateway
                )));
            }
        }
        Ok(())
    }

    fn apply(&mut self, op: Kind) -> Option<u32> {
        match op {
            Kind::PutAdjacency(one) => drop(
                self.adjacencies
                    .insert(one.id, v1::Adjacency { key: vec![], ..one }),
            ),
            Kind::DeleteAdjacency(id) => drop(self.adjacencies.remove(&id)),
            Kind::PutGateway(one) => drop(self.gateways.insert((one.topology, one.gateway), one)),
            Kind::DeleteGateway(key) => drop(self.gateways.remove(&(key.topology, key.gateway))),
            Kind::PutGroup(one) => drop(self.groups.insert(one.id, one)),
            Kind::DeleteGroup(id) => drop(self.groups.remove(&id)),
            Kind::PutPrefix(one) => drop(self.prefixes.insert(one.name.clone(), one)),
            Kind::DeletePrefix(key) => drop(self.prefixes.remove(&key.name)),
            Kind::PutAccessRule(one) => drop(self.access_rules.insert(one.id, one)),
            Kind::DeleteAccessRule(id) => drop(self.access_rules.remove(&id)),
            Kind::Detach(id) => drop(self.attachments.remove(&id)),
            Kind::Attach(mut one) => {
                let endpoint = |one: &v1::Attachment| (one.address.clone(), one.udp_port);
                let old = self
                    .attachments
                    .values()
                    .find(|old| endpoint(old) == endpoint(&one))
                    .cloned();
                let same = old
                    .as_ref()
                    .filter(|old| old.identity == one.identity)
                    .map(|old| old.id);
                if one.id == 0 {
                    one.id = same
                        .unwrap_or_else(|| self.attachments.keys().max().map_or(1, |id| id + 1));
                }
                if let Some(old) = old {
                    self.attachments.remove(&old.id);
                }
                one.state = "up".into();
                self.attachments.insert(one.id, one.clone());
                return Some(one.id);
            }
        }
        None
    }
}

type Replies<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

fn no_part<T>() -> Result<Response<T>, Status> {
    Err(Status::unavailable("no part of the model"))
}

#[tonic::async_trait]
impl DataplaneAgent for Agent {
    async fn greet(
        &self,
        request: Request<v1::GreetRequest>,
    ) -> Result<Response<v1::GreetReply>, Status> {
        let asked = request.into_inner();
        let (version_min, version_max) = *self.0.versions.lock().unwrap();
        let version = asked.version_max.min(version_max);
        if version < version_min.max(asked.version_min) {
            // As the dataplane says it.
            return Err(Status::failed_precondition(format!(
                "the client speaks versions {} to {} of the agent's API, this dataplane {version_min} to {version_max}: use neighbouring releases",
                asked.version_min, asked.version_max
            )));
        }
        Ok(Response::new(v1::GreetReply {
            version,
            version_min,
            version_max,
            node: self.0.node,
            role: self.0.role.into(),
            boot_nonce: self.0.boot_nonce,
            ..Default::default()
        }))
    }

    async fn apply(
        &self,
        request: Request<v1::Transaction>,
    ) -> Result<Response<v1::TransactionAck>, Status> {
        let ops = request.into_inner().ops;
        let up = self.0.hellos.lock().unwrap().clone();
        let mut told = Vec::new();
        let mut next = self.0.tables.lock().unwrap().clone();
        next.generation += 1;
        next.transactions.push(ops.len());
        let mut attachments = Vec::new();
        let refuse = *self.0.refuse.lock().unwrap();
        for op in ops {
            if let (Some(refuse), Some(op)) = (refuse, &op.op)
                && refuse(op)
            {
                return Err(Status::invalid_argument("refused by the test"));
            }
            if let Some(Kind::PutAdjacency(adjacency)) = &op.op
                && adjacency.port == "nowhere"
            {
                return Err(Status::invalid_argument(
                    "operation 0 (put_adjacency): port \"nowhere\" does not exist",
                ));
            }
            let adjacency = match &op.op {
                Some(Kind::PutAdjacency(adjacency)) => Some(adjacency.id),
                _ => None,
            };
            attachments.extend(op.op.and_then(|op| next.apply(op)));
            if let Some(one) = adjacency.and_then(|id| next.adjacencies.get_mut(&id)) {
                one.state = if up.contains(&one.id) { "up" } else { "down" }.into();
                told.push(one.clone());
            }
        }
        next.check()?;
        let generation = next.generation;
        *self.0.tables.lock().unwrap() = next;
        self.0.generation.send_replace(generation);
        for adjacency in told {
            self.0.send(v1::event::Event::Adjacency(adjacency)).await;
        }
        Ok(Response::new(v1::TransactionAck {
            generation,
            observed: true,
            attachments,
            ..Default::default()
        }))
    }

    type ApplyStreamStream = Replies<v1::TransactionAck>;
    async fn apply_stream(
        &self,
        _: Request<tonic::Streaming<v1::Transaction>>,
    ) -> Result<Response<Self::ApplyStreamStream>, Status> {
        no_part()
    }

    async fn dump(&self, _: Request<v1::DumpRequest>) -> Result<Response<v1::DumpReply>, Status> {
        let tables = self.0.tables.lock().unwrap().clone();
        Ok(Response::new(v1::DumpReply {
            generation: tables.generation,
            adjacencies: tables.adjacencies.into_values().collect(),
            gateways: tables.gateways.into_values().collect(),
            groups: tables.groups.into_values().collect(),
            prefixes: tables.prefixes.into_values().collect(),
            attachments: tables.attachments.into_values().collect(),
            access_rules: tables.access_rules.into_values().collect(),
            ..Default::default()
        }))
    }

    async fn list_adjacencies(
        &self,
        _: Request<v1::ListAdjacenciesRequest>,
    ) -> Result<Response<v1::ListAdjacenciesReply>, Status> {
        let Some((links, since)) = *self.0.links.lock().unwrap() else {
            return Err(Status::unimplemented("of the release before"));
        };
        let up = self.0.hellos.lock().unwrap().clone();
        let hellos = u64::try_from(since.elapsed().as_millis() / 50).unwrap();
        let quality = v1::LinkQuality {
            round_trip_ns: Some(links.round_trip_ns),
            variation_ns: Some(0),
            hellos,
            hellos_lost: 0,
        };
        let adjacencies = self.0.tables.lock().unwrap().adjacencies.clone();
        let adjacencies = adjacencies.into_values().map(|one| v1::Adjacency {
            quality: up.contains(&one.id).then_some(quality),
            ..one
        });
        Ok(Response::new(v1::ListAdjacenciesReply {
            adjacencies: adjacencies.collect(),
        }))
    }

    async fn list_ports(
        &self,
        _: Request<v1::ListPortsRequest>,
    ) -> Result<Response<v1::ListPortsReply>, Status> {
        let links = *self.0.links.lock().unwrap();
        let pod = v1::Port {
            name: "pod1".into(),
            kind: "af_packet".into(),
            role: "pod".into(),
            addresses: vec!["127.0.0.1/8".into()],
            mtu: 1_500,
            domain: 1,
            ..Default::default()
        };
        let shared = v1::Port {
            name: "pod1v".into(),
            kind: "vhost".into(),
            role: "pod".into(),
            addresses: vec!["10.9.0.1/24".into()],
            mtu: 9_000,
            domain: 1,
            ..Default::default()
        };
        let router = v1::Port {
            name: "sr1".into(),
            role: "router".into(),
            capacity_mbps: links.map_or(0, |(links, _)| links.capacity_mbps),
            tx_bytes: self.0.sent(),
            ..Default::default()
        };
        Ok(Response::new(v1::ListPortsReply {
            ports: vec![pod, shared, router],
        }))
    }

    async fn list_workers(
        &self,
        _: Request<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersReply>, Status> {
        no_part()
    }

    async fn list_counters(
        &self,
        _: Request<v1::ListCountersRequest>,
    ) -> Result<Response<v1::ListCountersReply>, Status> {
        Ok(Response::new(v1::ListCountersReply::default()))
    }

    async fn explain(
        &self,
        _: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainReply>, Status> {
        no_part()
    }

    type EchoStream = Replies<v1::EchoReply>;
    async fn echo(
        &self,
        request: Request<v1::EchoRequest>,
    ) -> Result<Response<Self::EchoStream>, Status> {
        let request = request.into_inner();
        let id = request.attachment;
        let far = self
            .0
            .tables
            .lock()
            .unwrap()
            .gateways
            .contains_key(&(0, request.gateway));
        let round_trips = self.0.round_trips.lock().unwrap();
        let round_trip_ns = round_trips
            .get(&request.gateway)
            .copied()
            .unwrap_or(100_000);
        drop(round_trips);
        let answered = id == 0 && far
            || !self.0.silent.lock().unwrap().contains(&id)
                && self.0.tables.lock().unwrap().attachments.contains_key(&id);
        // A pod of an older release is silent, gateways know probes.
        let state = self.0.states.lock().unwrap().get(&id).copied();
        let answered = answered && (!request.probe || id == 0 || state.is_some());
        let (health, load_permille) = state.filter(|_| request.probe).unwrap_or_default();
        let reply = v1::EchoReply {
            answered,
            round_trip_ns,
            residence_ns: u64::from(request.probe) * 10_000,
            health,
            load_permille,
            state_known: request.probe && state.is_some(),
            error: if answered { "" } else { "timeout" }.into(),
            ..Default::default()
        };
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(reply)))))
    }

    type CaptureStream = Replies<v1::CapturedFrame>;
    async fn capture(
        &self,
        _: Request<v1::CaptureRequest>,
    ) -> Result<Response<Self::CaptureStream>, Status> {
        no_part()
    }

    type TracePacketsStream = Replies<v1::TracedPacket>;
    async fn trace_packets(
        &self,
        _: Request<v1::TracePacketsRequest>,
    ) -> Result<Response<Self::TracePacketsStream>, Status> {
        no_part()
    }

    async fn config(
        &self,
        _: Request<v1::AgentConfigRequest>,
    ) -> Result<Response<v1::AgentConfigReply>, Status> {
        Err(Status::unimplemented("not built yet"))
    }

    type HandoverStream = Replies<v1::HandoverReply>;

    async fn handover(
        &self,
        _: Request<v1::HandoverRequest>,
    ) -> Result<Response<Self::HandoverStream>, Status> {
        Err(Status::unimplemented("not built yet"))
    }

    async fn list_traffic(
        &self,
        request: Request<v1::ListTrafficRequest>,
    ) -> Result<Response<v1::ListTrafficReply>, Status> {
        let mut reply = self.0.traffic.lock().unwrap().clone();
        reply.reading += 1;
        self.0.traffic.lock().unwrap().reading = reply.reading;
        assert!(request.get_ref().changed_since <= reply.reading);
        Ok(Response::new(reply))
    }

    async fn add_answers(
        &self,
        request: Request<v1::AddAnswersRequest>,
    ) -> Result<Response<v1::AddAnswersReply>, Status> {
        let request = request.into_inner();
        if request.calls.is_empty() {
            return Err(Status::invalid_argument("calls: none"));
        }
        self.0.answers.lock().unwrap().push(request);
        Ok(Response::new(v1::AddAnswersReply::default()))
    }

    type WatchStream = Replies<v1::Event>;
    async fn watch(
        &self,
        _: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (sender, receiver) = mpsc::channel(16);
        self.0.watchers.lock().unwrap().push(sender);
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}
