//! A prefix authority in the test's own process: the real `Authority` behind a small service; dropping it is `kill -9`.

use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use dmsc_proto::v1;
use dmsc_proto::v1::prefix_authority_server::{PrefixAuthority, PrefixAuthorityServer};
use dmsc_spa::authority::{Authority, Request as Wanted};
use dmsc_spa::credentials::Credentials;
use dmsc_spa::identity::Identity;
use dmsc_spa::policy::Policy;
use dmsc_wire::{Domain, NameBuf, NodeId};
use prost::Message as _;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::WatchStream;
use tonic::transport::{Certificate, Identity as TlsIdentity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use super::Net;

struct Shared {
    authority: Mutex<Authority>,
    revocations: watch::Sender<Vec<Bytes>>,
    asked: watch::Sender<usize>,
    mute: AtomicBool,
}

#[derive(Clone)]
struct Service(Arc<Shared>);

pub struct Spa {
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

impl Spa {
    /// Authority `name` on port 35032 of address `id`, with `policy` in TOML.
    pub fn start(net: &Net, name: &str, id: u32, policy: &str) -> Self {
        Self::start_with(net, name, id, policy, vec![])
    }

    pub fn start_with(net: &Net, name: &str, id: u32, policy: &str, kept: Vec<Bytes>) -> Self {
        let folder = net.credentials(&Identity::Authority(name.into()), name);
        let credentials = Credentials::load(&folder).unwrap();
        let policy = Policy::parse(policy, Path::new("/")).unwrap();
        let authority = Authority::new(&credentials, policy, 0, kept).unwrap();
        let shared = Arc::new(Shared {
            revocations: watch::Sender::new(authority.revocations(now_s())),
            authority: Mutex::new(authority),
            asked: watch::Sender::new(0),
            mute: AtomicBool::new(false),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let tls = ServerTlsConfig::new()
            .identity(TlsIdentity::from_pem(
                &credentials.certificate_pem,
                &credentials.key_pem,
            ))
            .client_ca_root(Certificate::from_pem(&credentials.root_pem));
        let address = format!("{}:35032", net.address(id)).parse().unwrap();
        let service = PrefixAuthorityServer::new(Service(Arc::clone(&shared)));
        let server = {
            let _runtime = runtime.enter();
            let listener = std::net::TcpListener::bind::<std::net::SocketAddr>(address).unwrap();
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
            Server::builder()
                .tls_config(tls)
                .unwrap()
                .add_service(service)
                .serve_with_incoming(incoming)
        };
        runtime.spawn(server);
        Self {
            shared,
            runtime: Some(runtime),
        }
    }

    pub fn revoke(&self, name: &str, reason: &str) -> Vec<Bytes> {
        let mut authority = self.shared.authority.lock().unwrap();
        let name = Some(NameBuf::parse(name).unwrap());
        authority
            .revoke(Domain(1), name, None, None, reason, now_s())
            .unwrap();
        let all = authority.revocations(now_s());
        self.shared.revocations.send_replace(all.clone());
        all
    }

    /// From now on it says OK and nothing else.
    pub fn mute(&self) {
        self.shared.mute.store(true, Relaxed);
    }

    /// Waits until it was asked this often.
    pub async fn asked(&self, times: usize) {
        let mut asked = self.shared.asked.subscribe();
        let wait = asked.wait_for(|count| *count >= times);
        tokio::time::timeout(std::time::Duration::from_secs(10), wait)
            .await
            .unwrap()
            .unwrap();
    }
}

impl Drop for Spa {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[tonic::async_trait]
impl PrefixAuthority for Service {
    async fn authorise(
        &self,
        request: Request<v1::AuthoriseRequest>,
    ) -> Result<Response<v1::AuthoriseReply>, Status> {
        let request = request.into_inner();
        let wanted = Wanted {
            gateway: NodeId(request.gateway),
            domain: Domain(request.domain),
            pod_certificate: request.pod_certificate.into(),
            pod_statement: request.pod_statement.into(),
            pod_signature: request.pod_signature.into(),
            prefixes: request
                .prefixes
                .iter()
                .map(|name| NameBuf::from_bytes(name).unwrap())
                .collect(),
        };
        self.0.asked.send_modify(|count| *count += 1);
        let mut authority = self.0.authority.lock().unwrap();
        if self.0.mute.load(Relaxed) {
            return Ok(Response::new(v1::AuthoriseReply {
                version: 1,
                authority: authority.name().into(),
                ..Default::default()
            }));
        }
        let answer = authority.authorise(&wanted, now_s());
        let answer = answer.map_err(|error| Status::permission_denied(error.to_string()))?;
        Ok(Response::new(v1::AuthoriseReply {
            version: 1,
            authorisations: answer
                .authorisations
                .iter()
                .map(|body| body.to_vec())
                .collect(),
            refused: answer
                .refused
                .into_iter()
                .map(|(name, reason)| v1::PrefixRefusal {
                    name: name.as_bytes().to_vec(),
                    reason,
                })
                .collect(),
            authority: authority.name().into(),
        }))
    }

    type RevocationsStream =
        Pin<Box<dyn tokio_stream::Stream<Item = Result<v1::SignedRevocation, Status>> + Send>>;

    async fn revocations(
        &self,
        _: Request<v1::RevocationsRequest>,
    ) -> Result<Response<Self::RevocationsStream>, Status> {
        // All of them, again and again: the gateway knows which it has.
        let stream = WatchStream::new(self.0.revocations.subscribe()).map(|all| {
            tokio_stream::iter(
                all.into_iter()
                    .map(|body| Ok(v1::SignedRevocation::decode(body).unwrap())),
            )
        });
        let (sender, receiver) = tokio::sync::mpsc::channel(16);
        tokio::spawn(async move {
            let mut stream = stream;
            while let Some(mut batch) = stream.next().await {
                while let Some(one) = batch.next().await {
                    if sender.send(one).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(
            tokio_stream::wrappers::ReceiverStream::new(receiver),
        )))
    }
}
