//! Scheduling centers with real TLS on loopback, and gateways that speak the protobuf to them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use dmsc_node::scsc::config::CenterConfig;
use dmsc_node::scsc::{self, Running};
use dmsc_proto::v1::center_message::Message as Down;
use dmsc_proto::v1::gateway_message::Message as Up;
use dmsc_proto::v1::operator_client::OperatorClient;
use dmsc_proto::v1::scheduling_client::SchedulingClient;
use dmsc_proto::v1::*;
use dmsc_scsc::stream::Encoder;
use dmsc_scsc::{Pair, Policy, Report, SignedPolicy, Topology};
use dmsc_spa::credentials::Credentials;
use dmsc_spa::identity::Identity;
use dmsc_spa::pki::{CENTER_DNS, OPERATOR_DNS, Root, Scope, now_s};
use dmsc_wire::{NameBuf, NodeId};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Status, Streaming};

/// Nothing takes as long as this on a machine that does something else as well.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Scene {
    pub folder: tempfile::TempDir,
    pub root: Root,
}

impl Scene {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let root = Root::init(&folder.path().join("root"), "dmsc.test", 10).expect("root");
        Self { folder, root }
    }

    pub fn credentials(&self, identity: &str) -> Credentials {
        let identity: Identity = identity.parse().expect("identity");
        let path: PathBuf = self
            .folder
            .path()
            .join(identity.to_string().replace('/', "-"));
        if !path.exists() {
            self.root
                .issue(&identity, &Scope::default(), 1, false, &path)
                .expect("issue");
        }
        Credentials::load(&path).expect("load")
    }

    pub fn file(&self, replica: u32, raise_ms: u32) -> PathBuf {
        self.credentials(&format!("scsc/scsc{replica}"));
        let folder = self.folder.path().display();
        let path = self.folder.path().join(format!("scsc{replica}.toml"));
        let text = format!(
            "[scsc]\nname = \"scsc{replica}\"\nreplica = {replica}\narea = 3\nlisten = \"127.0.0.1:0\"\nmetrics = \"127.0.0.1:0\"\n\
             operator_listen = \"127.0.0.1:0\"\npage = \"127.0.0.1:0\"\n\
             credentials = \"{folder}/scsc-scsc{replica}\"\nstate_dir = \"{folder}/state{replica}\"\n\
             [timing]\nstep_permille = 1000\n\
             [[threshold]]\nprefix = \"/shop\"\ndelay_ms = {{ raise = {raise_ms}, clear = {} }}\n",
            raise_ms - 1
        );
        std::fs::write(&path, text).expect("write");
        path
    }

    pub async fn center(&self, replica: u32) -> Running {
        let config = CenterConfig::load(&self.file(replica, 50)).expect("configuration");
        scsc::start(config).await.expect("start")
    }

    pub async fn dial(
        &self,
        address: SocketAddr,
        identity: &str,
        hello: GatewayHello,
    ) -> Result<Gateway, Status> {
        let credentials = self.credentials(identity);
        let identity = tonic::transport::Identity::from_pem(
            &credentials.certificate_pem,
            &credentials.key_pem,
        );
        let root_pem = std::fs::read(self.folder.path().join("root/root.pem")).expect("root");
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(root_pem))
            .identity(identity)
            .domain_name(CENTER_DNS);
        let channel = Endpoint::from_shared(format!("https://{address}"))
            .and_then(|endpoint| endpoint.tls_config(tls))
            .expect("endpoint")
            .connect()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let (sender, messages) = mpsc::channel(64);
        let node = NodeId(hello.node);
        let first = GatewayMessage {
            message: Some(Up::Hello(hello)),
        };
        sender.try_send(first).expect("room");
        let reply = SchedulingClient::new(channel)
            .exchange(ReceiverStream::new(messages))
            .await?;
        let mut gateway = Gateway {
            node,
            root: credentials.root_key().expect("root"),
            sender,
            inbound: reply.into_inner(),
            encoder: Encoder::new(),
            second: 0,
            hello: CenterHello::default(),
        };
        match gateway.next().await?.message {
            Some(Down::Hello(hello)) => gateway.hello = hello,
            other => panic!("no hello: {other:?}"),
        }
        Ok(gateway)
    }

    pub async fn operator(&self, running: &Running, role: &str) -> OperatorClient<Channel> {
        let credentials = self.credentials(&format!("operator/{role}/eve"));
        let root_pem = std::fs::read(self.folder.path().join("root/root.pem")).expect("root");
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(root_pem))
            .identity(tonic::transport::Identity::from_pem(
                &credentials.certificate_pem,
                &credentials.key_pem,
            ))
            .domain_name(OPERATOR_DNS);
        let address = running.operator.expect("operator");
        let channel = Endpoint::from_shared(format!("https://{address}"))
            .and_then(|endpoint| endpoint.tls_config(tls))
            .expect("endpoint");
        OperatorClient::new(channel.connect().await.expect("connect"))
    }

    pub async fn gateway(&self, running: &Running, node: u32) -> Gateway {
        let identity = format!("node/{node}/sg");
        self.dial(running.address, &identity, hello(node))
            .await
            .expect("connected")
    }
}

pub fn hello(node: u32) -> GatewayHello {
    GatewayHello {
        version_min: 1,
        version_max: 1,
        node,
        area: 3,
        software: "test".into(),
        held: Vec::new(),
    }
}

pub struct Gateway {
    pub node: NodeId,
    root: dmsc_spa::verify::RootKey,
    pub sender: mpsc::Sender<GatewayMessage>,
    inbound: Streaming<CenterMessage>,
    encoder: Encoder,
    pub second: u64,
    pub hello: CenterHello,
}

impl Gateway {
    pub async fn next(&mut self) -> Result<CenterMessage, Status> {
        let message = timeout(PATIENCE, self.inbound.message());
        let message = message.await.expect("in time")?;
        message.ok_or_else(|| Status::cancelled("ended"))
    }

    pub async fn tell(&mut self, telemetry: Telemetry) {
        let message = GatewayMessage {
            message: Some(Up::Telemetry(telemetry)),
        };
        // A stream that the center ended is noticed when reading.
        let _ = self.sender.send(message).await;
    }

    /// One second: members 1 (near, plain) and 2 (at 10 ms) of /shop.
    pub async fn second(&mut self, near_us: u32) {
        self.second += 1;
        let mut reports = Vec::new();
        for member in [1, 2] {
            for topology in [Topology::Metric, Topology::Delay] {
                let mut report = Report {
                    span_ms: 1_000,
                    ..Report::default()
                };
                report.answer(if member == 1 { near_us } else { 10_000 }, None);
                let pair = Pair {
                    gateway: self.node,
                    member: NodeId(member),
                    topology,
                };
                self.encoder
                    .push(pair, &report, &mut reports)
                    .expect("room");
            }
        }
        let telemetry = Telemetry {
            second: self.second,
            reports,
            prefixes: vec![traffic()],
            ..Telemetry::default()
        };
        self.tell(telemetry).await;
    }

    /// A second in which it tells how /shop is there.
    pub async fn serves(&mut self, health: u32) {
        self.second += 1;
        let state = ServiceState {
            domain: 1,
            name: traffic().name,
            health,
            load_permille: 1_000,
            instances: 1,
            ..ServiceState::default()
        };
        let telemetry = Telemetry {
            second: self.second,
            services: vec![state],
            ..Telemetry::default()
        };
        self.tell(telemetry).await;
    }

    /// Until the last second is acknowledged; nothing else comes.
    pub async fn until_acknowledged(&mut self) {
        match self.next().await.expect("message").message {
            Some(Down::TelemetryAck(ack)) => assert_eq!(ack.second, self.second),
            other => panic!("expected nothing but an acknowledgement: {other:?}"),
        }
    }

    /// Seconds at four times their pace, until a policy comes.
    pub async fn until_policy(&mut self, near_us: u32) -> (Policy, SignedPolicy) {
        for _ in 0..600 {
            self.second(near_us).await;
            let acked = self.second;
            loop {
                match self.next().await.expect("message").message {
                    Some(Down::TelemetryAck(ack)) if ack.second == acked => break,
                    Some(Down::Policy(policy)) => return self.believed(policy),
                    _ => {}
                }
            }
            // Each report is to be judged by itself: the center looks four times a second.
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        panic!("no policy");
    }

    /// Tells that a policy is in the tables of this generation.
    pub async fn acknowledge(&mut self, policy: &Policy, generation: u64) {
        let rank = policy.rank;
        let ack = PolicyAck {
            id: rank.id.0,
            epoch: rank.epoch.0,
            replica: rank.replica.0,
            generation,
            refused: String::new(),
        };
        let message = Some(Up::PolicyAck(ack));
        let sent = self.sender.send(GatewayMessage { message }).await;
        sent.expect("stream");
    }

    pub async fn policy(&mut self) -> (Policy, SignedPolicy) {
        loop {
            if let Some(Down::Policy(policy)) = self.next().await.expect("message").message {
                return self.believed(policy);
            }
        }
    }

    fn believed(&self, policy: dmsc_proto::v1::SignedPolicy) -> (Policy, SignedPolicy) {
        let certificate = self
            .root
            .center_certificate(&policy.certificate, now_s())
            .expect("a center's certificate");
        let signed = SignedPolicy {
            statement: policy.statement.into(),
            signature: policy.signature.into(),
            certificate: policy.certificate.into(),
        };
        let policy = signed.verify(&certificate.public_key).expect("signed");
        (policy, signed)
    }
}

pub fn traffic() -> PrefixTraffic {
    PrefixTraffic {
        domain: 1,
        name: NameBuf::parse("/shop").expect("name").as_bytes().to_vec(),
        bytes: 125_000,
        requests: 100,
        members: vec![1],
        others: vec![2],
        ..PrefixTraffic::default()
    }
}
