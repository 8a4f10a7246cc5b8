//! A scheduling center in the test's own process, with real TLS: hears what gateways say, says what the test wants; dropping it is `kill -9`.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dmsc_proto::v1::scheduling_server::{Scheduling, SchedulingServer};
use dmsc_proto::v1::{self, center_message::Message as Down, gateway_message::Message as Up};
use dmsc_scsc::Policy;
use dmsc_scsc::statement::SignedPolicy;
use dmsc_spa::credentials::Credentials;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Certificate, Identity as TlsIdentity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use super::Net;

type ToGateway = mpsc::Sender<Result<v1::CenterMessage, Status>>;

struct Shared {
    heard: mpsc::UnboundedSender<Up>,
    stream: Mutex<Option<ToGateway>>,
    acknowledge: bool,
}

#[derive(Clone)]
struct Service(Arc<Shared>);

pub struct Center {
    shared: Arc<Shared>,
    heard: mpsc::UnboundedReceiver<Up>,
    credentials: Credentials,
    runtime: Option<Runtime>,
}

impl Center {
    /// With the credentials in `folder`, on port 35034 of address `id`.
    pub fn start(net: &Net, id: u32, folder: &Path, acknowledge: bool) -> Self {
        let credentials = Credentials::load(folder).unwrap();
        let (sender, heard) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            heard: sender,
            stream: Mutex::default(),
            acknowledge,
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
        let service = SchedulingServer::new(Service(Arc::clone(&shared)));
        let address = format!("{}:35034", net.address(id));
        let server = Server::builder().tls_config(tls).unwrap();
        runtime.spawn(async move {
            let mut server = server;
            // The process before may still be closing.
            let listener = loop {
                match TcpListener::bind(&address).await {
                    Ok(listener) => break listener,
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            };
            let incoming = TcpListenerStream::new(listener);
            let server = server.add_service(service);
            server.serve_with_incoming(incoming).await.unwrap();
        });
        Self {
            shared,
            heard,
            credentials,
            runtime: Some(runtime),
        }
    }

    /// What a gateway says next.
    pub async fn hear(&mut self) -> Up {
        let limit = Duration::from_secs(15);
        let heard = tokio::time::timeout(limit, self.heard.recv()).await;
        heard.expect("in time").expect("a gateway")
    }

    pub fn heard_nothing(&mut self) -> bool {
        self.heard.try_recv().is_err()
    }

    pub async fn hello(&mut self) -> v1::GatewayHello {
        loop {
            if let Up::Hello(hello) = self.hear().await {
                return hello;
            }
        }
    }

    pub async fn telemetry(&mut self) -> v1::Telemetry {
        loop {
            if let Up::Telemetry(telemetry) = self.hear().await {
                return telemetry;
            }
        }
    }

    pub async fn ack(&mut self) -> v1::PolicyAck {
        loop {
            if let Up::PolicyAck(ack) = self.hear().await {
                return ack;
            }
        }
    }

    pub fn sign(&self, policy: &Policy) -> SignedPolicy {
        let key = self.credentials.signing_key().unwrap();
        policy.sign(&key, self.credentials.certificate_der.clone())
    }

    /// Signs and sends; gives what the gateway says to it.
    pub async fn order(&mut self, policy: &Policy) -> v1::PolicyAck {
        let signed = self.sign(policy);
        self.say(signed).await;
        self.ack().await
    }

    pub async fn say(&self, signed: SignedPolicy) {
        let policy = v1::SignedPolicy {
            statement: signed.statement.to_vec(),
            signature: signed.signature.to_vec(),
            certificate: signed.certificate.to_vec(),
        };
        let stream = self.shared.stream.lock().unwrap().clone().unwrap();
        stream.send(Ok(down(Down::Policy(policy)))).await.unwrap();
    }
}

impl Drop for Center {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Credentials of a center of this name.
pub fn credentials(net: &Net, name: &str) -> PathBuf {
    let identity = dmsc_spa::identity::Identity::Center(name.into());
    net.credentials(&identity, name)
}

fn down(message: Down) -> v1::CenterMessage {
    v1::CenterMessage {
        message: Some(message),
    }
}

#[tonic::async_trait]
impl Scheduling for Service {
    type ExchangeStream =
        Pin<Box<dyn tokio_stream::Stream<Item = Result<v1::CenterMessage, Status>> + Send>>;

    async fn exchange(
        &self,
        request: Request<tonic::Streaming<v1::GatewayMessage>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        assert!(request.peer_certs().is_some());
        let mut inbound = request.into_inner();
        let (outbound, messages) = mpsc::channel(16);
        let hello = v1::CenterHello {
            version: 1,
            replica: 1,
            epoch: 7,
        };
        let _ = outbound.try_send(Ok(down(Down::Hello(hello))));
        *self.0.stream.lock().unwrap() = Some(outbound.clone());
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            while let Ok(Some(message)) = inbound.message().await {
                let Some(message) = message.message else {
                    continue;
                };
                if let (Up::Telemetry(one), true) = (&message, shared.acknowledge) {
                    let ack = v1::TelemetryAck { second: one.second };
                    let _ = outbound.send(Ok(down(Down::TelemetryAck(ack)))).await;
                }
                let _ = shared.heard.send(message);
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(messages))))
    }
}
