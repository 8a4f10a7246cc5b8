//! One authority in this process, and credentials of its root for whoever is to ask it.

use std::net::SocketAddr;
use std::path::PathBuf;

use dmsc_node::spa::config::SpaConfig;
use dmsc_node::spa::{self, Running};
use dmsc_proto::v1::operator_client::OperatorClient;
use dmsc_proto::v1::prefix_authority_client::PrefixAuthorityClient;
use dmsc_proto::v1::*;
use dmsc_spa::credentials::Credentials;
use dmsc_spa::identity::Identity;
use dmsc_spa::pki::{AUTHORITY_DNS, OPERATOR_DNS, Root, Scope, now_s};
use dmsc_spa::statement::{PodStatement, prefixes_sha256};
use dmsc_wire::NameBuf;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

pub const POLICY: &str =
    "[[policy]]\nidentity = \"pod1/*\"\nsubtrees = [\"/shop/a\"]\ngateways = [1]\n";

pub fn watching(gateway: u32) -> RevocationsRequest {
    RevocationsRequest {
        gateway,
        version_min: 1,
        version_max: 1,
    }
}

pub struct Scene {
    pub folder: tempfile::TempDir,
    pub root: Root,
    pub operator: SocketAddr,
    pub metrics: SocketAddr,
    pub running: Running,
}

pub fn config(folder: &std::path::Path) -> SpaConfig {
    let path = |name: &str| folder.join(name).display().to_string();
    let text = format!(
        "[spa]\nname = \"spa1\"\nlisten = \"127.0.0.1:0\"\ncredentials = {:?}\nstate_dir = {:?}\npolicy = \"policy.toml\"\n\
         operator = {:?}\noperator_listen = \"127.0.0.1:0\"\nmetrics = \"127.0.0.1:0\"\n",
        path("spa-spa1"),
        path("state"),
        path("spa.operator.sock"),
    );
    let file = folder.join("spa.toml");
    std::fs::write(&file, text).expect("write");
    SpaConfig::load(&file).expect("configuration")
}

impl Scene {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let root = Root::init(&folder.path().join("root"), "dmsc.test", 10).expect("root");
        std::fs::write(folder.path().join("policy.toml"), POLICY).expect("write");
        issue(&folder, &root, "spa/spa1");
        let running = spa::start(config(folder.path())).await.expect("start");
        let metrics = running.metrics.expect("metrics");
        let operator = running.operator.expect("operator");
        Self {
            folder,
            root,
            operator,
            metrics,
            running,
        }
    }

    pub fn credentials(&self, identity: &str) -> Credentials {
        issue(&self.folder, &self.root, identity)
    }

    pub async fn channel(&self, identity: &str, operator: bool) -> Channel {
        let credentials = self.credentials(identity);
        let (address, name) = if operator {
            (self.operator, OPERATOR_DNS)
        } else {
            (self.running.address, AUTHORITY_DNS)
        };
        connect(&credentials, &credentials.root_pem, address, name)
            .await
            .expect("connect")
    }

    pub async fn gateway(&self, id: u32) -> PrefixAuthorityClient<Channel> {
        let channel = self.channel(&format!("node/{id}/sg"), false).await;
        PrefixAuthorityClient::new(channel)
    }

    pub async fn operator(&self, role: &str) -> OperatorClient<Channel> {
        OperatorClient::new(self.channel(&format!("operator/{role}/eve"), true).await)
    }

    pub fn request(&self, identity: &str, gateway: u32, names: &[&str]) -> AuthoriseRequest {
        let pod = self.credentials(&format!("pod/{identity}"));
        let key = pod.signing_key().expect("key");
        let (statement, signature) = PodStatement {
            nonce: vec![7; 16].into(),
            gateway,
            identity: identity.to_owned(),
            signed_at_ms: now_s() * 1_000,
            domain: 0,
            prefixes_sha256: prefixes_sha256(
                names
                    .iter()
                    .map(|text| bytes(text))
                    .collect::<Vec<_>>()
                    .iter()
                    .map(Vec::as_slice),
            ),
            ..PodStatement::default()
        }
        .sign(&key);
        AuthoriseRequest {
            version_min: 1,
            version_max: 9,
            gateway,
            domain: 1,
            pod_certificate: pod.certificate_der.to_vec(),
            pod_statement: statement.to_vec(),
            pod_signature: signature.to_vec(),
            prefixes: names.iter().map(|text| bytes(text)).collect(),
        }
    }

    pub async fn read_metrics(&self) -> String {
        let mut stream = tokio::net::TcpStream::connect(self.metrics)
            .await
            .expect("connect");
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\n\r\n")
            .await
            .expect("ask");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("read");
        text
    }
}

pub fn issue(folder: &tempfile::TempDir, root: &Root, identity: &str) -> Credentials {
    let identity: Identity = identity.parse().expect("identity");
    let path: PathBuf = folder.path().join(identity.to_string().replace('/', "-"));
    let scope = match identity {
        Identity::Authority(_) => Scope {
            subtrees: vec![NameBuf::parse("/shop").expect("a name")],
            domains: Vec::new(),
        },
        _ => Scope::default(),
    };
    root.issue(&identity, &scope, 1, false, &path)
        .expect("issue");
    Credentials::load(&path).expect("load")
}

pub async fn connect(
    credentials: &Credentials,
    root_pem: &str,
    address: SocketAddr,
    name: &str,
) -> Result<Channel, tonic::transport::Error> {
    let identity =
        tonic::transport::Identity::from_pem(&credentials.certificate_pem, &credentials.key_pem);
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(root_pem))
        .identity(identity)
        .domain_name(name);
    Endpoint::from_shared(format!("https://{address}"))?
        .tls_config(tls)?
        .connect()
        .await
}

pub fn bytes(text: &str) -> Vec<u8> {
    NameBuf::parse(text).expect(text).as_bytes().to_vec()
}
