//! A dataplane with two ways to its pods, and their registrar: what a pod asks for it programs, and again when the dataplane is another one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use dmsc_pod::SharedAttachment;
use dmsc_proto::v1;
use dmsc_proto::v1::dataplane_agent_client::DataplaneAgentClient;
use dmsc_proto::v1::registrar_server::{Registrar, RegistrarServer};
use dmsc_wire::NameBuf;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;
use tokio::net::TcpListener;
use tokio::task::block_in_place;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::rig::{Dataplane, Netns};

/// The ports' names, and the pods' addresses there; the gateway's end in 1.
pub const SHARED: [(&str, [u8; 4]); 2] = [("pod1v", [10, 9, 0, 2]), ("pod2v", [10, 8, 0, 2])];
/// The pods' address on the link with a kernel at its end.
const POD: &str = "10.1.1.2";

type Leases = BTreeMap<u64, v1::Attachment>;

struct State {
    agent: PathBuf,
    leases: Mutex<Leases>,
    /// Whether nobody may have a shared port.
    refuses: AtomicBool,
}

#[derive(Clone)]
struct Service(Arc<State>);

thread_local! {
    /// The router's namespace, and the pods', where this thread is.
    static PLACE: RefCell<Option<[Netns; 2]>> = const { RefCell::new(None) };
}

/// Makes the namespaces, and enters the pods': threads that are started from now on are there, too.
pub fn enter() {
    let (router, pods) = (Netns::new(), Netns::new());
    router.veth("pod1", &pods, "eth0");
    pods.addresses("eth0", &["10.1.1.2/24"]);
    let namespace = File::open(format!("/run/netns/{}", pods.name())).unwrap();
    setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
    PLACE.set(Some([router, pods]));
}

/// All of it; ends with the test.
pub struct Gateway {
    state: Arc<State>,
    registrar: SocketAddr,
    /// `None` while it is dead.
    pub dataplane: Option<Dataplane>,
    serve: tokio::task::JoinHandle<()>,
    _place: [Netns; 2],
    folder: tempfile::TempDir,
}

fn ports(folder: &Path) -> String {
    let mut text = r#"
[workers]
idle = "block"
[[port]]
name = "pod1"
kind = "af_packet"
interface = "pod1"
role = "pod"
addresses = ["10.1.1.1/24"]
"#
    .to_owned();
    for (name, _) in SHARED {
        text += &format!(
            "[[port]]\nname = \"{name}\"\nkind = \"vhost\"\nsocket = \"{}\"\nrole = \"pod\"\nmtu = 9000\nexception = \"none\"\naddresses = [\"{}/24\"]\n",
            folder.join(name).display(),
            gateway_of(name).unwrap(),
        );
    }
    text
}

/// The gateway's address on a shared port.
fn gateway_of(port: &str) -> Option<Ipv4Addr> {
    let (_, [a, b, c, _]) = SHARED.iter().find(|(name, _)| *name == port)?;
    Some(Ipv4Addr::new(*a, *b, *c, 1))
}

impl Gateway {
    /// After [`enter`], on the same thread.
    pub async fn start() -> Gateway {
        let place = PLACE.take().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let ports = ports(folder.path());
        // Its client waits in a runtime of its own.
        let dataplane = block_in_place(|| Dataplane::start(&place[0], 1, "sg", &ports));
        // As a node's: behind the dataplane's tap, so that it is away while the dataplane is.
        let listener = place[0].inside(|| std::net::TcpListener::bind("0.0.0.0:0").unwrap());
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let registrar = (
            Ipv4Addr::new(10, 1, 1, 1),
            listener.local_addr().unwrap().port(),
        )
            .into();
        let state = Arc::new(State {
            agent: dataplane.socket.clone(),
            leases: Mutex::default(),
            refuses: AtomicBool::new(false),
        });
        let service = RegistrarServer::new(Service(Arc::clone(&state)));
        let server = tonic::transport::Server::builder().add_service(service);
        let serve = tokio::spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            server.serve_with_incoming(incoming).await.unwrap();
        });
        Gateway {
            state,
            registrar,
            dataplane: Some(dataplane),
            serve,
            _place: place,
            folder,
        }
    }

    pub fn registrar(&self) -> SocketAddr {
        self.registrar
    }

    /// The first or second shared port as a pod's.
    pub fn shared(&self, number: usize) -> SharedAttachment {
        let (port, address) = SHARED[number];
        SharedAttachment {
            socket: self.folder.path().join(port),
            port: port.into(),
            address: address.into(),
        }
    }

    /// Whether nobody may be attached on a shared port.
    pub fn refuse(&self, refuses: bool) {
        self.state.refuses.store(refuses, Relaxed);
    }

    /// Kills the dataplane.
    pub fn kill(&mut self) -> Dead {
        let mut dataplane = self.dataplane.take().unwrap();
        dataplane.signal(Signal::SIGKILL);
        dataplane.ended();
        Dead(dataplane)
    }

    /// Starts another one, which has all attachments that there were, as a node sees to.
    pub async fn start_again(&mut self, dead: Dead) {
        self.dataplane = Some(block_in_place(|| dead.0.again()));
        let all: Vec<_> = self
            .state
            .leases
            .lock()
            .unwrap()
            .values()
            .cloned()
            .collect();
        for attachment in all {
            self.state.apply(attachment).await.unwrap();
        }
    }
}

/// A dataplane that was killed.
pub struct Dead(Dataplane);

impl Drop for Gateway {
    fn drop(&mut self) {
        self.serve.abort();
        block_in_place(|| self.dataplane = None);
    }
}

impl State {
    async fn apply(&self, attachment: v1::Attachment) -> Result<u32, Status> {
        let away = |_| Status::unavailable("the dataplane is away");
        let channel = dmsc_proto::connect_unix(&self.agent).await.map_err(away)?;
        let transaction = v1::Transaction {
            programmer: "tests".into(),
            ops: vec![v1::Op {
                op: Some(v1::op::Op::Attach(attachment)),
            }],
        };
        let applied = DataplaneAgentClient::new(channel).apply(transaction).await;
        let acknowledged = applied.map_err(|s| Status::unavailable(s.message()))?;
        Ok(acknowledged.into_inner().attachments[0])
    }
}

#[tonic::async_trait]
impl Registrar for Service {
    async fn challenge(
        &self,
        _: Request<v1::ChallengeRequest>,
    ) -> Result<Response<v1::ChallengeReply>, Status> {
        Err(Status::unimplemented("knows no certificates"))
    }

    async fn register(
        &self,
        request: Request<v1::RegisterRequest>,
    ) -> Result<Response<v1::RegisterReply>, Status> {
        let request = request.into_inner();
        let refuses = self.0.refuses.load(Relaxed);
        let shared = gateway_of(&request.port).filter(|_| !refuses);
        let (port, address, gateway) = match shared {
            Some(gateway) => (request.port, request.address, gateway),
            None if request.port.is_empty() => {
                ("pod1".into(), POD.into(), Ipv4Addr::new(10, 1, 1, 1))
            }
            None => return Err(Status::permission_denied("port: not this one")),
        };
        let source = NameBuf::parse(&format!("/id/{}", request.identity)).unwrap();
        let old = match request.lease {
            0 => None,
            lease => {
                let leases = self.0.leases.lock().unwrap();
                let old = leases.get(&lease).cloned();
                Some(old.ok_or_else(|| Status::not_found("no such lease"))?)
            }
        };
        let mut attachment = v1::Attachment {
            id: old.as_ref().map_or(0, |old| old.id),
            moves: old.is_some(),
            port: port.clone(),
            address,
            udp_port: request.udp_port,
            identity: request.identity,
            serves: request.prefixes,
            owns: vec![source.as_bytes().to_vec()],
            ..Default::default()
        };
        attachment.id = self.0.apply(attachment.clone()).await?;
        attachment.moves = false;
        let id = attachment.id;
        let lease = match request.lease {
            0 => u64::from(id) + 1_000,
            lease => lease,
        };
        self.0.leases.lock().unwrap().insert(lease, attachment);
        Ok(Response::new(v1::RegisterReply {
            version: 1,
            lease,
            lease_seconds: 30,
            refresh_seconds: 10,
            gateway: 1,
            attachment: id,
            domain: 1,
            source_name: source.as_bytes().to_vec(),
            data_address: gateway.to_string(),
            data_port: u32::from(dmsc_wire::UDP_PORT),
            max_packet: if shared.is_some() { 8_972 } else { 1_472 },
            port,
            ..Default::default()
        }))
    }

    async fn refresh(
        &self,
        request: Request<v1::RefreshRequest>,
    ) -> Result<Response<v1::RefreshReply>, Status> {
        let known = self
            .0
            .leases
            .lock()
            .unwrap()
            .contains_key(&request.get_ref().lease);
        if !known {
            return Err(Status::not_found("no such lease"));
        }
        Ok(Response::new(v1::RefreshReply::default()))
    }

    async fn withdraw(
        &self,
        request: Request<v1::WithdrawRequest>,
    ) -> Result<Response<v1::WithdrawReply>, Status> {
        self.0
            .leases
            .lock()
            .unwrap()
            .remove(&request.get_ref().lease);
        Ok(Response::new(v1::WithdrawReply::default()))
    }

    async fn answered(
        &self,
        _: Request<v1::AnsweredRequest>,
    ) -> Result<Response<v1::AnsweredReply>, Status> {
        Err(Status::unimplemented("as before there was this"))
    }

    async fn health(
        &self,
        _: Request<v1::HealthRequest>,
    ) -> Result<Response<v1::HealthReply>, Status> {
        Ok(Response::new(v1::HealthReply::default()))
    }

    type ResolveStream =
        Pin<Box<dyn tokio_stream::Stream<Item = Result<v1::ResolveReply, Status>> + Send>>;

    async fn resolve(
        &self,
        _: Request<v1::ResolveRequest>,
    ) -> Result<Response<Self::ResolveStream>, Status> {
        Err(Status::unimplemented("nobody asks here"))
    }
}
