//! A running authority, asked over TLS by gateways and operators with certificates of one root.

mod root;
mod scene;

use dmsc_node::spa;
use dmsc_proto::v1::operator_client::OperatorClient;
use dmsc_proto::v1::prefix_authority_client::PrefixAuthorityClient;
use dmsc_proto::v1::*;
use dmsc_spa::pki::{AUTHORITY_DNS, Root};
use dmsc_wire::Domain;
use prost::Message as _;
use scene::*;
use tonic::Code;

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
    let other = "[node]\nid = 1\n";
    let status = operator.apply_config(request(other)).await;
    let status = status.expect_err("refused");
    assert!(status.message().contains("file of a gateway"), "{status}");
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
