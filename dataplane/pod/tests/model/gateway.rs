//! A model gateway: registrar and delivery by name in one task each, no other node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use crate::pki::Pki;

use dmsc_proto::v1;
use dmsc_proto::v1::registrar_server::{Registrar, RegistrarServer};
use dmsc_wire::{
    AttachmentId, Domain, EchoSource, ErrorCode, Flags, Kind, Name, NameBuf, NodeId, PortId,
    RecordSlot, RouterName, build_echo_reply, build_error, parse, patch, record,
};
use nix::sys::socket::{setsockopt, sockopt};
use prost::Message;
use ring::signature::{ED25519, UnparsedPublicKey};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{TcpListenerStream, WatchStream};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

const NODE: NodeId = NodeId(1);
/// Header and payload that fit a pod's link, unless told otherwise.
const MAX_PACKET: u32 = 1_472;
/// A name that is taken, and waits for an authority.
pub const WAITING: &str = "/shop/later";

#[derive(Debug, Clone)]
struct Attached {
    lease: u64,
    at: SocketAddr,
    serves: Vec<NameBuf>,
    /// What it says of itself.
    health: String,
}

/// Version, by authorities, by the root.
type Revocations = (u64, Vec<Vec<u8>>, Vec<Vec<u8>>);

#[derive(Debug)]
struct State {
    attachments: Mutex<BTreeMap<u16, Attached>>,
    registrations: watch::Sender<u32>,
    health: Mutex<String>,
    error: Mutex<Option<ErrorCode>>,
    data: SocketAddr,
    /// The pods' keys, if certificates are known here.
    public: Option<Vec<Vec<u8>>>,
    nonces: Mutex<BTreeSet<Vec<u8>>>,
    proofs: AtomicU32,
    /// What pods are told to prove their names with, and its version.
    authorisations: Mutex<(u64, Vec<Vec<u8>>)>,
    revocations: Mutex<Revocations>,
    delivery: Delivery,
}

/// What becomes of packets beside delivery.
#[derive(Debug)]
struct Delivery {
    max_packet: AtomicU32,
    packets: AtomicU32,
    /// Every so manieth is lost; 0 = none.
    lose: AtomicU32,
    /// What passes here, if less than pods were told.
    narrow: AtomicU32,
    too_big: AtomicU32,
    largest: AtomicU32,
    /// Whether this is a gateway of others: who is at which attachment is not told, and packets go to any of them, by flow label.
    far: AtomicBool,
    /// Whether those that can bear it are marked "congestion experienced".
    mark: AtomicBool,
}

#[derive(Debug, Clone)]
struct Service(Arc<State>);

/// A running gateway; ends with the test.
pub struct Gateway {
    state: Arc<State>,
    socket: Arc<UdpSocket>,
    registrar: SocketAddr,
    tasks: Vec<JoinHandle<()>>,
}

impl Gateway {
    pub async fn start() -> Self {
        Self::start_with(Server::builder(), None).await
    }

    /// With TLS, and a pod with this key.
    pub async fn start_secure(pki: &Pki, public: &[u8]) -> Self {
        let own = pki.gateway();
        let own = Identity::from_pem(own.cert, own.key);
        Self::start_tls(own, pki.root(), vec![public.to_vec()]).await
    }

    /// As [`Gateway::start_secure`], with certificates of anybody's making, and several pods.
    pub async fn start_tls(own: Identity, root: String, public: Vec<Vec<u8>>) -> Self {
        let tls = ServerTlsConfig::new()
            .identity(own)
            .client_ca_root(Certificate::from_pem(root));
        let server = Server::builder().tls_config(tls).unwrap();
        Self::start_with(server, Some(public)).await
    }

    async fn start_with(mut server: Server, public: Option<Vec<Vec<u8>>>) -> Self {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        // As the ring of a router's port; without the right to, what the system gives.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &(4 << 20));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let registrar = listener.local_addr().unwrap();
        let state = Arc::new(State {
            attachments: Mutex::default(),
            registrations: watch::Sender::new(0),
            health: Mutex::default(),
            error: Mutex::default(),
            data: socket.local_addr().unwrap(),
            public,
            nonces: Mutex::default(),
            proofs: AtomicU32::new(0),
            authorisations: Mutex::default(),
            revocations: Mutex::new((1, Vec::new(), Vec::new())),
            delivery: Delivery::default(),
        });
        let service = RegistrarServer::new(Service(Arc::clone(&state)));
        let serve = tokio::spawn(async move {
            let server = server.add_service(service);
            server
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        let deliver = tokio::spawn(deliver(Arc::clone(&state), Arc::clone(&socket)));
        Self {
            state,
            socket,
            registrar,
            tasks: vec![serve, deliver],
        }
    }

    pub fn registrar(&self) -> SocketAddr {
        self.registrar
    }

    pub fn attached(&self) -> usize {
        self.state.attachments.lock().unwrap().len()
    }

    pub fn registrations(&self) -> u32 {
        *self.state.registrations.borrow()
    }

    /// Registrations with a good proof.
    pub fn proofs(&self) -> u32 {
        self.state.proofs.load(Relaxed)
    }

    /// From now on every pod is told these authorisations.
    pub fn authorise(&self, authorisations: Vec<Vec<u8>>) {
        let mut told = self.state.authorisations.lock().unwrap();
        *told = (told.0 + 1, authorisations);
    }

    /// From now on every pod is told these revocations, by authorities and by the root.
    pub fn revoke(&self, by_authorities: Vec<Vec<u8>>, by_root: Vec<Vec<u8>>) {
        let mut told = self.state.revocations.lock().unwrap();
        *told = (told.0 + 1, by_authorities, by_root);
    }

    pub fn health(&self) -> String {
        self.state.health.lock().unwrap().clone()
    }

    /// Answers requests that nobody serves with this instead of no-route.
    pub fn answer_with(&self, code: Option<ErrorCode>) {
        *self.state.error.lock().unwrap() = code;
    }

    /// Stops to deliver.
    pub fn swallow(&self) {
        self.tasks[1].abort();
    }

    /// Loses every so manieth packet from now on; 0 = none.
    pub fn lose_every(&self, packets: u32) {
        self.state.delivery.lose.store(packets, Relaxed);
    }

    /// Marks packets that can bear it, as a router with a full queue does.
    pub fn mark_congestion(&self) {
        self.state.delivery.mark.store(true, Relaxed);
    }

    /// What pods are told that fits their link, from now on.
    pub fn offer(&self, max_packet: u32) {
        self.state.delivery.max_packet.store(max_packet, Relaxed);
    }

    /// Packets beyond this are dropped from now on, and their senders told, as by a link farther on the way.
    pub fn narrow(&self, max: u32) {
        self.state.delivery.narrow.store(max, Relaxed);
    }

    /// As pods at another gateway are seen: who is at which attachment is not told, and their flow labels place callers.
    pub fn be_far(&self) {
        self.state.delivery.far.store(true, Relaxed);
    }

    /// Packets beyond what pods were told that fits, which were dropped; and the largest that was not.
    pub fn sizes(&self) -> (u32, u32) {
        let delivery = &self.state.delivery;
        (
            delivery.too_big.load(Relaxed),
            delivery.largest.load(Relaxed),
        )
    }

    /// A pod that died: nothing reaches it any more.
    pub fn detach(&self, attachment: AttachmentId) {
        let mut attachments = self.state.attachments.lock().unwrap();
        attachments.remove(&attachment.0);
    }

    /// Forgets leases and health, as a restart does.
    pub fn forget(&self) {
        self.state.attachments.lock().unwrap().clear();
        self.state.health.lock().unwrap().clear();
    }

    /// Waits for that many registrations in all.
    pub async fn registered(&self, count: u32) {
        let mut registrations = self.state.registrations.subscribe();
        let wait = registrations.wait_for(|now| *now >= count);
        tokio::time::timeout(std::time::Duration::from_secs(10), wait)
            .await
            .unwrap()
            .unwrap();
    }

    pub async fn send_raw(&self, to: AttachmentId, bytes: &[u8]) {
        let at = self.state.attachments.lock().unwrap()[&to.0].at;
        self.socket.send_to(bytes, at).await.unwrap();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            max_packet: AtomicU32::new(MAX_PACKET),
            packets: AtomicU32::new(0),
            lose: AtomicU32::new(0),
            narrow: AtomicU32::new(0),
            too_big: AtomicU32::new(0),
            largest: AtomicU32::new(0),
            far: AtomicBool::new(false),
            mark: AtomicBool::new(false),
        }
    }
}

impl State {
    /// Whoever resolves is told again.
    fn changed(&self) {
        self.registrations.send_modify(|_| ());
    }

    /// As the pod at `asker` is told: whoever serves the name is at the same gateway as the others that do.
    fn instances(&self, asker: u16, name: &NameBuf) -> v1::ResolveReply {
        let attachments = self.attachments.lock().unwrap();
        let near = attachments
            .get(&asker)
            .is_some_and(|one| one.serves(name.as_name()));
        let serving = attachments
            .iter()
            .filter(|(_, one)| one.serves(name.as_name()));
        let instance = |(id, one): (&u16, &Attached)| v1::Instance {
            gateway: NODE.0,
            attachment: u32::from(*id),
            metric: 1,
            weight: 1,
            health: one.health.clone(),
            ..v1::Instance::default()
        };
        let mut instances: Vec<_> = serving.map(instance).collect();
        if self.delivery.far.load(Relaxed) && !near {
            instances.truncate(1);
            for one in &mut instances {
                (one.attachment, one.health) = (0, "unknown".into());
            }
        }
        v1::ResolveReply {
            instances,
            ..v1::ResolveReply::default()
        }
    }
}

impl Attached {
    fn serves(&self, name: Name<'_>) -> bool {
        let mut prefixes = self.serves.iter();
        prefixes.any(|prefix| prefix.as_name().is_prefix_of(name))
    }
}

impl Delivery {
    fn passes(&self, length: usize) -> bool {
        if length > self.max_packet.load(Relaxed) as usize {
            self.too_big.fetch_add(1, Relaxed);
            return false;
        }
        self.largest.fetch_max(length as u32, Relaxed);
        let packet = self.packets.fetch_add(1, Relaxed) + 1;
        let lose = self.lose.load(Relaxed);
        lose == 0 || !packet.is_multiple_of(lose)
    }
}

async fn deliver(state: Arc<State>, socket: Arc<UdpSocket>) {
    let mut buffer = vec![0; 65_536];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let Ok(header) = parse(&buffer[..length]) else {
            continue;
        };
        if !state.delivery.passes(length) {
            continue;
        }
        let narrow = state.delivery.narrow.load(Relaxed) as usize;
        if narrow != 0 && length > narrow {
            let (packet, mut out) = (&buffer[..length], vec![0; 1_024]);
            if let Some(length) = error(ErrorCode::TooBig, packet, &header, &mut out) {
                socket.send_to(&out[..length], from).await.unwrap();
            }
            continue;
        }
        if state.delivery.mark.load(Relaxed) {
            patch::set_ecn(&mut buffer[..length], header.ecn.mark());
        }
        let attachments = state.attachments.lock().unwrap().clone();
        let source = attachments
            .iter()
            .find(|(_, one)| one.at == from)
            .map_or(0, |(id, _)| *id);
        patch::set_source(&mut buffer[..length], Domain(1), NODE, AttachmentId(source));
        let hop = RecordSlot {
            node: NODE,
            in_port: PortId(1),
            ..RecordSlot::default()
        };
        record::fill_next(&mut buffer[..length], &header, hop);
        let packet = &buffer[..length];
        let name = header.destination_name(packet).unwrap();
        let target = match header.kind {
            Kind::Response | Kind::EchoReply => attachments.get(&header.destination_attachment.0),
            _ if header.flags.contains(Flags::PINNED)
                && header.destination_attachment != AttachmentId::ANY =>
            {
                attachments.get(&header.destination_attachment.0)
            }
            _ => {
                let serving: Vec<_> = attachments
                    .values()
                    .filter(|one| one.serves(name))
                    .collect();
                let far = state.delivery.far.load(Relaxed) && !serving.is_empty();
                let at = if far {
                    header.flow_label.0 as usize % serving.len()
                } else {
                    0
                };
                serving.get(at).copied()
            }
        };
        if header.kind == Kind::EchoRequest && name == RouterName::new(NODE).as_name() {
            let own = EchoSource {
                gateway: NODE,
                attachment: AttachmentId::ANY,
                name: None,
            };
            let mut out = vec![0; 1_024];
            let header = parse(packet).unwrap();
            let length = build_echo_reply(packet, &header, own, &mut out).unwrap();
            socket.send_to(&out[..length], from).await.unwrap();
            continue;
        }
        if let Some(target) = target {
            socket.send_to(packet, target.at).await.unwrap();
            continue;
        }
        let code = state.error.lock().unwrap().unwrap_or(ErrorCode::NoRoute);
        let mut out = vec![0; 1_024];
        let header = parse(packet).unwrap();
        if let Some(length) = error(code, packet, &header, &mut out) {
            socket.send_to(&out[..length], from).await.unwrap();
        }
    }
}

fn error(
    code: ErrorCode,
    packet: &[u8],
    header: &dmsc_wire::Header,
    out: &mut [u8],
) -> Option<usize> {
    let mtu = if code == ErrorCode::TooBig { 1_400 } else { 0 };
    build_error(code, mtu, NODE, packet, header, out)
}

type Replies = Pin<Box<dyn tokio_stream::Stream<Item = Result<v1::ResolveReply, Status>> + Send>>;

impl Service {
    /// Checks a proof: the certificate is the pod's, the nonce is fresh, and the signature is by the key in the certificate.
    fn check(
        &self,
        public: &[Vec<u8>],
        request: &Request<v1::RegisterRequest>,
    ) -> Result<(), Status> {
        let certificates = request.peer_certs().unwrap();
        let is_in = |key: &&Vec<u8>| certificates[0].windows(key.len()).any(|at| at == *key);
        let theirs = public.iter().find(is_in);
        let register = request.get_ref();
        let statement = v1::PodStatement::decode(register.statement.as_slice()).unwrap();
        let fresh = self.0.nonces.lock().unwrap().remove(&register.nonce);
        assert_eq!((&statement.nonce, fresh), (&register.nonce, true));
        assert_eq!(
            (statement.gateway, &statement.identity),
            (NODE.0, &register.identity)
        );
        let signed = [b"dmsc-register-v1\0", register.statement.as_slice()].concat();
        let good = theirs.is_some_and(|key| {
            let key = UnparsedPublicKey::new(&ED25519, key);
            key.verify(&signed, &register.signature).is_ok()
        });
        if !good {
            return Err(Status::permission_denied("not the pod's certificate"));
        }
        self.0.proofs.fetch_add(1, Relaxed);
        Ok(())
    }

    fn known(&self, lease: u64) -> Result<u16, Status> {
        let attachments = self.0.attachments.lock().unwrap();
        let found = attachments.iter().find(|(_, one)| one.lease == lease);
        found
            .map(|(id, _)| *id)
            .ok_or_else(|| Status::not_found("unknown lease"))
    }
}

#[tonic::async_trait]
impl Registrar for Service {
    async fn challenge(
        &self,
        _: Request<v1::ChallengeRequest>,
    ) -> Result<Response<v1::ChallengeReply>, Status> {
        if self.0.public.is_none() {
            return Err(Status::unimplemented("knows no certificates"));
        }
        let mut nonces = self.0.nonces.lock().unwrap();
        let nonce = vec![nonces.len() as u8 + *self.0.registrations.borrow() as u8; 16];
        nonces.insert(nonce.clone());
        Ok(Response::new(v1::ChallengeReply {
            nonce,
            gateway: NODE.0,
        }))
    }

    async fn register(
        &self,
        request: Request<v1::RegisterRequest>,
    ) -> Result<Response<v1::RegisterReply>, Status> {
        if let Some(public) = &self.0.public {
            self.check(public, &request)?;
        }
        let at = SocketAddr::new(
            request.remote_addr().unwrap().ip(),
            request.get_ref().udp_port as u16,
        );
        let request = request.into_inner();
        if request.identity == "stranger" {
            return Err(Status::permission_denied(
                "identity \"stranger\" may not register here",
            ));
        }
        let names = request
            .prefixes
            .iter()
            .map(|bytes| NameBuf::from_bytes(bytes).unwrap());
        let (serves, refused): (Vec<_>, Vec<_>) =
            names.partition(|name| name.to_string().starts_with("/shop"));
        let waiting = serves
            .iter()
            .filter(|name| name.to_string() == WAITING)
            .map(|name| v1::RefusedPrefix {
                name: name.as_bytes().to_vec(),
                reason: "no authority answers".into(),
            })
            .collect();
        let count = *self.0.registrations.borrow() + 1;
        let lease = u64::from(count);
        let mut attachments = self.0.attachments.lock().unwrap();
        let known = attachments.iter().find(|(_, one)| one.at == at);
        let id = known
            .map(|(id, _)| *id)
            .or_else(|| attachments.keys().max().map(|id| id + 1))
            .unwrap_or(1);
        let health = "serving".to_owned();
        attachments.insert(
            id,
            Attached {
                lease,
                at,
                serves,
                health,
            },
        );
        drop(attachments);
        self.0.registrations.send_replace(count);
        let source = NameBuf::parse(&format!("/id/{}", request.identity)).unwrap();
        let (version, authorisations) = self.0.authorisations.lock().unwrap().clone();
        let (revocations_version, revocations, root_revocations) =
            self.0.revocations.lock().unwrap().clone();
        Ok(Response::new(v1::RegisterReply {
            version: 1,
            lease,
            lease_seconds: 30,
            refresh_seconds: 10,
            gateway: NODE.0,
            attachment: u32::from(id),
            domain: 1,
            source_name: source.as_bytes().to_vec(),
            data_address: self.0.data.ip().to_string(),
            data_port: u32::from(self.0.data.port()),
            max_packet: self.0.delivery.max_packet.load(Relaxed),
            refused: refused
                .iter()
                .map(|name| v1::RefusedPrefix {
                    name: name.as_bytes().to_vec(),
                    reason: "not yours".into(),
                })
                .collect(),
            waiting,
            authorisations,
            authorisations_version: version,
            revocations,
            root_revocations,
            revocations_version,
            ..Default::default()
        }))
    }

    async fn refresh(
        &self,
        request: Request<v1::RefreshRequest>,
    ) -> Result<Response<v1::RefreshReply>, Status> {
        self.known(request.get_ref().lease)?;
        let (version, all) = self.0.authorisations.lock().unwrap().clone();
        let known = request.get_ref().authorisations_version;
        let news = known != 0 && known != version;
        let (revocations_version, revocations, root_revocations) = {
            let told = self.0.revocations.lock().unwrap().clone();
            match request.get_ref().revocations_version {
                known if known == told.0 => (told.0, Vec::new(), Vec::new()),
                _ => told,
            }
        };
        Ok(Response::new(v1::RefreshReply {
            lease_seconds: 30,
            authorisations: if news { all } else { Vec::new() },
            authorisations_version: version,
            revocations,
            root_revocations,
            revocations_version,
        }))
    }

    async fn withdraw(
        &self,
        request: Request<v1::WithdrawRequest>,
    ) -> Result<Response<v1::WithdrawReply>, Status> {
        let id = self.known(request.get_ref().lease)?;
        self.0.attachments.lock().unwrap().remove(&id);
        self.0.changed();
        Ok(Response::new(v1::WithdrawReply {}))
    }

    type ResolveStream = Replies;
    /// The instances now, and again with every registration, withdrawal and change of health.
    async fn resolve(
        &self,
        request: Request<v1::ResolveRequest>,
    ) -> Result<Response<Replies>, Status> {
        let name = NameBuf::from_bytes(&request.get_ref().name).unwrap();
        let asker = self.known(request.get_ref().lease)?;
        let state = Arc::clone(&self.0);
        let changes = WatchStream::new(self.0.registrations.subscribe());
        let replies = changes.map(move |_| Ok(state.instances(asker, &name)));
        Ok(Response::new(Box::pin(replies)))
    }

    async fn health(
        &self,
        request: Request<v1::HealthRequest>,
    ) -> Result<Response<v1::HealthReply>, Status> {
        let id = self.known(request.get_ref().lease)?;
        let state = request.into_inner().state;
        if let Some(one) = self.0.attachments.lock().unwrap().get_mut(&id) {
            one.health.clone_from(&state);
        }
        *self.0.health.lock().unwrap() = state;
        self.0.changed();
        Ok(Response::new(v1::HealthReply {}))
    }
}
