//! A running authority, asked over TLS by gateways and operators with certificates of one root.

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
use dmsc_wire::{Domain, NameBuf};
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::Code;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

const POLICY: &str =
    "[[policy]]\nidentity = \"pod1/*\"\nsubtrees = [\"/shop/a\"]\ngateways = [1]\n";

fn watching(gateway: u32) -> RevocationsRequest {
    RevocationsRequest {
        gateway,
        version_min: 1,
        version_max: 1,
    }
}

struct Scene {
    folder: tempfile::TempDir,
    root: Root,
    operator: SocketAddr,
    metrics: SocketAddr,
    running: Running,
}

fn config(folder: &std::path::Path) -> SpaConfig {
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
    async fn new() -> Self {
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

    fn credentials(&self, identity: &str) -> Credentials {
        issue(&self.folder, &self.root, identity)
    }

    async fn channel(&self, identity: &str, operator: bool) -> Channel {
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

    async fn gateway(&self, id: u32) -> PrefixAuthorityClient<Channel> {
        let channel = self.channel(&format!("node/{id}/sg"), false).await;
        PrefixAuthorityClient::new(channel)
    }

    async fn operator(&self, role: &str) -> OperatorClient<Channel> {
        OperatorClient::new(self.channel(&format!("operator/{role}/eve"), true).await)
    }

    fn request(&self, identity: &str, gateway: u32, names: &[&str]) -> AuthoriseRequest {
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

    async fn read_metrics(&self) -> String {
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

fn issue(folder: &tempfile::TempDir, root: &Root, identity: &str) -> Credentials {
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

async fn connect(
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

fn bytes(text: &str) -> Vec<u8> {
    NameBuf::parse(text).expect(text).as_bytes().to_vec()
}

#[tokio::test]
async fn a_gateway_gets_what_the_policy_allows_and_the_rest_in_words() {
    let scene = Scene::new().await;
    let mut gateway = scene.gateway(1).await;
    let request = scene.request("pod1/a", 1, &["/shop/a/x", "/shop/b"]);
    let reply = gateway
        .authorise(request)
        .await
        .expect("answer")
        .into_inner();
    assert_eq!((reply.version, reply.authority.as_str()), (1, "spa1"));
    let root = scene.root.root_key();
    let authorisation = root
        .authorisation(&reply.authorisations[0])
        .expect("believed");
    assert_eq!(authorisation.grants[0].name.to_string(), "/shop/a");
    assert_eq!(authorisation.gateway.0, 1);
    assert_eq!(reply.refused[0].name, bytes("/shop/b"));
    assert!(reply.refused[0].reason.contains("/shop/b"), "{reply:?}");
    let text = scene.read_metrics().await;
    assert!(
        text.contains("dmsc_spa_requests_total{outcome=\"partly\"} 1"),
        "{text}"
    );
    assert!(text.contains("# HELP dmsc_spa_revocations_in_force"));
}

#[tokio::test]
async fn only_a_gateway_asks_and_only_for_itself() {
    let scene = Scene::new().await;
    let mut other = scene.gateway(4).await;
    let status = other
        .authorise(scene.request("pod1/a", 1, &["/shop/a"]))
        .await
        .expect_err("refused");
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("gateway 4"), "{status}");
    for caller in ["node/1/sr", "pod/pod1/a"] {
        let mut client = PrefixAuthorityClient::new(scene.channel(caller, false).await);
        let status = client
            .authorise(scene.request("pod1/a", 1, &["/shop/a"]))
            .await
            .expect_err("refused");
        assert_eq!(status.code(), Code::PermissionDenied, "{caller}");
        let status = client.revocations(watching(1)).await.expect_err("refused");
        assert_eq!(status.code(), Code::PermissionDenied, "{caller}");
    }
    // Of another root with the same names: no call comes through.
    let folder = tempfile::tempdir().expect("folder");
    let foreign = Root::init(&folder.path().join("root"), "dmsc.test", 10).expect("root");
    let credentials = issue(&folder, &foreign, "node/1/sg");
    let root_pem = scene.credentials("node/1/sg").root_pem;
    let address = scene.running.address;
    // With TLS 1.3 the client learns it at its first call.
    if let Ok(channel) = connect(&credentials, &root_pem, address, AUTHORITY_DNS).await {
        PrefixAuthorityClient::new(channel)
            .authorise(scene.request("pod1/a", 1, &["/shop/a"]))
            .await
            .expect_err("refused");
    }
}

#[tokio::test]
async fn proofs_and_messages_that_are_wrong() {
    let scene = Scene::new().await;
    let mut gateway = scene.gateway(1).await;
    let mut request = scene.request("pod1/a", 1, &["/shop/a"]);
    request.pod_signature[5] ^= 1;
    let status = gateway.authorise(request).await.expect_err("refused");
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    // The pod did not sign for it, whatever the policy says.
    let mut request = scene.request("pod1/a", 1, &["/shop/a"]);
    request.prefixes.push(bytes("/shop/a/x"));
    let status = gateway.authorise(request).await.expect_err("refused");
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    assert!(status.message().contains("did not sign for"), "{status}");
    let mut request = scene.request("pod1/a", 1, &["/shop/a"]);
    request.prefixes.push(b"\x09x".to_vec());
    let status = gateway.authorise(request).await.expect_err("refused");
    assert!(status.message().contains("prefixes[1]"), "{status}");
    let mut request = scene.request("pod1/a", 1, &["/shop/a"]);
    (request.version_min, request.version_max) = (2, 3);
    let status = gateway.authorise(request).await.expect_err("refused");
    assert_eq!(status.code(), Code::FailedPrecondition);
    let words = ["versions 1 to 1", "the caller 2 to 3"];
    assert!(
        words.iter().all(|word| status.message().contains(word)),
        "{status}"
    );
    let mut later = watching(1);
    (later.version_min, later.version_max) = (2, 3);
    let status = gateway.revocations(later).await.expect_err("refused");
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(
        words.iter().all(|word| status.message().contains(word)),
        "{status}"
    );
    let text = scene.read_metrics().await;
    assert!(
        text.contains("dmsc_spa_requests_total{outcome=\"invalid\"} 4"),
        "{text}"
    );
}

#[tokio::test]
async fn a_revocation_reaches_gateways_and_outlives_the_process() {
    let scene = Scene::new().await;
    let mut gateway = scene.gateway(1).await;
    let mut stream = gateway
        .revocations(watching(1))
        .await
        .expect("stream")
        .into_inner();
    let revoke = RevokeRequest {
        name: bytes("/shop/a"),
        identity: "pod1/a".to_owned(),
        reason: "key was lost".to_owned(),
        ..RevokeRequest::default()
    };
    let mut view = scene.operator("view").await;
    let status = view.revoke(revoke.clone()).await.expect_err("refused");
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("role operate"), "{status}");
    let mut operate = scene.operator("operate").await;
    let serial = operate
        .revoke(revoke)
        .await
        .expect("revoked")
        .into_inner()
        .serial;
    let signed = stream.message().await.expect("alive").expect("one");
    let root = scene.root.root_key();
    let told = root.revocation(&signed.encode_to_vec()).expect("believed");
    assert_eq!(
        (told.serial, told.reason.as_str()),
        (serial, "key was lost")
    );
    assert_eq!(told.domain, Some(Domain(1)), "of a request without one");
    let beyond = RevokeRequest {
        name: bytes("/bank"),
        reason: "x".to_owned(),
        ..RevokeRequest::default()
    };
    let status = operate.revoke(beyond).await.expect_err("refused");
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");

    let audit = view.show_audit(AuditRequest { limit: 0 }).await;
    let records = audit.expect("audit").into_inner().records;
    let outcomes: Vec<&str> = records.iter().map(|r| r.outcome.as_str()).collect();
    assert_eq!(records.len(), 3, "{records:?}");
    assert!(outcomes[0].contains("role operate") && outcomes[1] == "ok");
    assert_eq!(records[1].who, "spiffe://dmsc.test/operator/operate/eve");
    assert!(records[1].what.contains("/shop/a") && records[1].what.contains("key was lost"));

    // Another process with the same state: still in force, for streams and requests.
    let mut again = config(scene.folder.path());
    again.operator = None;
    let running = spa::start(again).await.expect("start again");
    let credentials = scene.credentials("node/1/sg");
    let channel = connect(
        &credentials,
        &credentials.root_pem,
        running.address,
        AUTHORITY_DNS,
    )
    .await
    .expect("connect");
    let mut gateway = PrefixAuthorityClient::new(channel);
    let mut stream = gateway
        .revocations(watching(1))
        .await
        .expect("stream")
        .into_inner();
    assert_eq!(stream.message().await.expect("alive"), Some(signed));
    let reply = gateway
        .authorise(scene.request("pod1/a", 1, &["/shop/a"]))
        .await
        .expect("answer")
        .into_inner();
    assert!(
        reply.refused[0].reason.contains("key was lost"),
        "{reply:?}"
    );
    let reply = gateway
        .authorise(scene.request("pod1/b", 1, &["/shop/a"]))
        .await
        .expect("answer")
        .into_inner();
    let authorisation = root
        .authorisation(&reply.authorisations[0])
        .expect("believed");
    assert!(authorisation.serial > serial);
}

#[tokio::test]
async fn a_policy_is_taken_as_a_whole_or_not_at_all() {
    let scene = Scene::new().await;
    let mut operator = scene.operator("operate").await;
    let request = |text: &str| ConfigRequest {
        text: text.to_owned(),
    };
    let dump = operator.dump_config(DumpConfigRequest {}).await;
    let dump = dump.expect("dump").into_inner().text;
    let same = operator.diff_config(request(&dump)).await.expect("same");
    assert!(!same.into_inner().changed);

    let wrong = POLICY.replace("identity", "identiti");
    let status = operator
        .apply_config(request(&wrong))
        .await
        .expect_err("refused");
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    // Beyond what the root lets this authority speak for.
    let beyond = POLICY.replace("/shop/a", "/bank");
    let status = operator
        .check_config(request(&beyond))
        .await
        .expect_err("refused");
    assert!(status.message().contains("/bank"), "{status}");
    let file = std::fs::read_to_string(scene.folder.path().join("spa.toml")).expect("file");
    let moved = file.replace("127.0.0.1:0", "127.0.0.1:1");
    let status = operator
        .apply_config(request(&moved))
        .await
        .expect_err("refused");
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(
        status
            .message()
            .contains("spa.listen, spa.operator_listen, spa.metrics"),
        "{status}"
    );
    let dumped = operator.dump_config(DumpConfigRequest {}).await;
    assert_eq!(dumped.expect("dump").into_inner().text, dump);

    let wider = POLICY.replace("[\"/shop/a\"]", "[\"/shop/a\", \"/shop/b\"]");
    let reply = operator
        .apply_config(request(&wider))
        .await
        .expect("applied")
        .into_inner();
    assert!(reply.changed && reply.diff.len() == 1, "{reply:?}");
    let mut gateway = scene.gateway(1).await;
    let request = scene.request("pod1/a", 1, &["/shop/b"]);
    let reply = gateway.authorise(request).await.expect("answer");
    assert!(reply.into_inner().refused.is_empty());
    // The file still says what it said: reading it again takes it back.
    let diff = scene.running.spa.reload().expect("reload");
    assert_eq!(diff.len(), 1);
}

#[tokio::test]
async fn the_unix_socket_knows_its_callers() {
    let scene = Scene::new().await;
    let socket = scene.folder.path().join("spa.operator.sock");
    let channel = dmsc_proto::connect_unix(&socket).await.expect("connect");
    let mut operator = OperatorClient::new(channel);
    let about = operator.about(AboutRequest {}).await;
    if nix::unistd::Uid::effective().is_root() {
        let about = about.expect("about").into_inner();
        assert_eq!(
            (about.daemon.as_str(), about.your_role.as_str()),
            ("spa", "admin")
        );
        let status = operator.show_pods(PageRequest::default()).await;
        assert_eq!(
            status.expect_err("refused").code(),
            Code::FailedPrecondition
        );
    } else {
        assert_eq!(about.expect_err("refused").code(), Code::PermissionDenied);
    }
    // A second process does not steal the socket.
    let again = spa::start(config(scene.folder.path())).await;
    let error = again.err().expect("refused").to_string();
    assert!(error.contains("another process serves there"), "{error}");
}

#[test]
fn files_are_checked_without_starting() {
    let folder = tempfile::tempdir().expect("folder");
    config(folder.path());
    std::fs::write(folder.path().join("policy.toml"), POLICY).expect("write");
    let check = || {
        std::process::Command::new(env!("CARGO_BIN_EXE_dmsc-controlplane"))
            .args(["spa", "--check", "--config"])
            .arg(folder.path().join("spa.toml"))
            .output()
            .expect("run")
    };
    let good = check();
    assert!(good.status.success(), "{good:?}");
    assert!(String::from_utf8_lossy(&good.stdout).contains("ok: authority spa1"));
    std::fs::write(
        folder.path().join("policy.toml"),
        "[[policy]]\nidentity = 1\n",
    )
    .expect("write");
    let wrong = check();
    assert_eq!(wrong.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&wrong.stderr);
    assert!(stderr.contains("policy.toml:2"), "{stderr}");
}

#[tokio::test]
async fn what_the_root_took_back_is_refused_and_remembered() {
    let scene = Scene::new().await;
    let mut gateway = scene.gateway(1).await;
    let mut other = scene.gateway(4).await;
    let stream = other.revocations(watching(4)).await.expect("stream");
    let mut stream = stream.into_inner();
    let spa = &scene.running.spa;
    let key = |who: &str| {
        scene
            .credentials(who)
            .signing_key()
            .expect("key")
            .public_key()
    };
    let give = |signed: &[u8]| spa.give_root_revocation(signed);
    let request = scene.request("pod1/a", 1, &["/shop/a"]);
    gateway.authorise(request.clone()).await.expect("answer");

    let keys = [key("pod/pod1/a"), key("node/4/sg")];
    let signed = scene
        .root
        .revoke_keys(&keys, "leaked", now_s())
        .expect("sign");
    let mut altered = signed.to_vec();
    altered[9] ^= 1;
    assert!(give(&altered).is_err());
    assert_eq!(
        give(&signed).expect("taken"),
        ("2 keys: leaked".to_owned(), false)
    );
    assert!(give(&signed).expect("known").1);
    let status = gateway
        .authorise(request.clone())
        .await
        .expect_err("refused");
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    assert!(status.message().contains("revoked by the root"), "{status}");
    // A stream that was open ends, and none is opened.
    let status = stream.message().await.expect_err("ended");
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    let status = other.revocations(watching(4)).await.expect_err("refused");
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");

    // Its own: it says so, and signs nothing.
    let signed = scene
        .root
        .revoke_authority("spa1", "sold", now_s())
        .expect("sign");
    give(&signed).expect("taken");
    let status = gateway
        .authorise(scene.request("pod1/b", 1, &["/shop/a"]))
        .await
        .expect_err("refused");
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(
        status.message().contains("spa1 was revoked by the root"),
        "{status}"
    );
    assert!(scene.read_metrics().await.contains("dmsc_spa_revoked 1"));
    let mut again = config(scene.folder.path());
    again.operator = None;
    let again = spa::start(again).await;
    assert!(again.is_ok_and(|again| again.spa.is_revoked()));
}
