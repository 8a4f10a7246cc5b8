//! A model gateway: registrar and delivery by name in one task each, no other node.

// Other crates' tests take this file by its path: so do its parts.
#[path = "gateway/delivery.rs"]
mod delivery;
#[path = "gateway/registrar.rs"]
mod registrar;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use crate::pki::Pki;

use dmsc_proto::v1;
use dmsc_proto::v1::registrar_server::RegistrarServer;
use dmsc_wire::{
    AttachmentId, Domain, ErrorCode, Kind, Name, NameBuf, NodeId, PacketBuilder, Probe, RouterName,
};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

use delivery::{Delivery, deliver};
use registrar::Service;

const NODE: NodeId = NodeId(1);
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
    /// How many answers pods told of, by the name that was called.
    answered: watch::Sender<BTreeMap<NameBuf, u64>>,
    delivery: Delivery,
}

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
            answered: watch::Sender::default(),
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

    /// Until pods have told of so many answers to calls of `name`, and no more.
    pub async fn answered(&self, name: &str, count: u64) {
        let name = NameBuf::parse(name).unwrap();
        let mut told = self.state.answered.subscribe();
        let enough = told.wait_for(|told| told.get(&name).is_some_and(|answers| *answers >= count));
        let told = tokio::time::timeout(std::time::Duration::from_secs(5), enough).await;
        assert_eq!(told.expect("told in time").unwrap()[&name], count);
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

    /// Datagrams that passed, by class.
    pub fn classes(&self) -> [u32; 8] {
        std::array::from_fn(|class| self.state.delivery.classes[class].load(Relaxed))
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

    /// Probes a service of a pod, and waits for what it answers.
    pub async fn probe(&self, to: AttachmentId, name: &NameBuf, id: u64) -> Probe {
        let mut answers = self.state.delivery.probe.subscribe();
        let (own, payload) = (
            RouterName::new(NODE),
            Probe {
                id,
                ..Probe::default()
            }
            .payload(),
        );
        let question = PacketBuilder::new(Kind::Probe)
            .destination(name.as_name())
            .source(own.as_name())
            .domain(Domain(1))
            .source_gateway(NODE)
            .payload(&payload);
        self.send_raw(to, &question.to_vec().unwrap()).await;
        let answer = answers.wait_for(|one| one.is_some_and(|one| one.id == id));
        let answer = tokio::time::timeout(std::time::Duration::from_secs(10), answer);
        answer.await.unwrap().unwrap().unwrap()
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
