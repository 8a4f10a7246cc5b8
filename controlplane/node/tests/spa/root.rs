//! What the root took back, as an authority learns it: from an operator, or by the disk.

use dmsc_node::spa;
use dmsc_proto::v1::operator_client::OperatorClient;
use dmsc_proto::v1::*;
use dmsc_spa::pki::now_s;
use tonic::Code;

use crate::scene::*;

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

#[tokio::test]
async fn a_statement_of_the_root_is_given_by_an_admin() {
    let scene = Scene::new().await;
    let mut gateway = scene.gateway(4).await;
    let stream = gateway.revocations(watching(4)).await.expect("stream");
    let mut stream = stream.into_inner();
    let keys = [scene
        .credentials("node/4/sg")
        .signing_key()
        .expect("key")
        .public_key()];
    let signed = scene
        .root
        .revoke_keys(&keys, "leaked", now_s())
        .expect("sign");
    let give = |root_revocation: &[u8]| GiveStatementRequest {
        root_revocation: root_revocation.to_vec(),
    };
    for role in ["view", "operate"] {
        let mut operator = scene.operator(role).await;
        let status = operator.give_statement(give(&signed)).await;
        let status = status.expect_err("refused");
        assert_eq!(status.code(), Code::PermissionDenied);
        let words = format!(
            "this needs the role admin; spiffe://dmsc.test/operator/{role}/eve has the role {role}"
        );
        assert_eq!(status.message(), words);
    }
    let mut admin = scene.operator("admin").await;
    let mut forged = signed.to_vec();
    *forged.last_mut().expect("bytes") ^= 1;
    let other = tempfile::tempdir().expect("folder");
    let other = dmsc_spa::pki::Root::init(&other.path().join("root"), "dmsc.test", 10);
    let strange = other.expect("root").revoke_keys(&keys, "leaked", now_s());
    for bad in [&forged[..], &strange.expect("sign"), b"garbage", b""] {
        let status = admin.give_statement(give(bad)).await.expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains("not believed"), "{status}");
    }
    let known = admin_revocations(admin.clone()).await;
    assert!(known.is_empty(), "nothing of it was taken");

    let given = admin.give_statement(give(&signed)).await.expect("taken");
    assert_eq!(
        given.into_inner(),
        GiveStatementReply {
            what: "1 key: leaked".into(),
            known: false
        }
    );
    let again = admin.give_statement(give(&signed)).await.expect("known");
    assert!(again.into_inner().known);
    let known = admin_revocations(admin.clone()).await;
    assert_eq!(known.len(), 1);
    assert!(known[0].by_root && known[0].reason == "leaked", "{known:?}");
    let status = stream.message().await.expect_err("ended");
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    let audit = admin.show_audit(AuditRequest { limit: 0 }).await;
    let audit = audit.expect("records").into_inner();
    let outcomes: Vec<bool> = audit
        .records
        .iter()
        .map(|one| one.outcome == "ok")
        .collect();
    assert_eq!(
        outcomes,
        [false, false, false, false, false, false, true, true]
    );
}

async fn admin_revocations(
    mut admin: OperatorClient<tonic::transport::Channel>,
) -> Vec<RevocationInfo> {
    let reply = admin.show_authorisations(PageRequest::default()).await;
    reply.expect("told").into_inner().revocations
}
