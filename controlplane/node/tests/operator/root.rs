//! Statements of the root, given to a router.

use crate::*;

#[tokio::test]
async fn what_the_root_took_back_is_given_to_one_and_known_to_all() {
    let pair = Pair::start(16).await;
    let now_s = dmsc_node::clock::wall().as_secs();
    let node = dmsc_wire::NodeId(9);
    let signed = pair.net.root.revoke_node(node, "stolen", now_s).unwrap();
    let give = |root_revocation: &[u8]| GiveStatementRequest {
        root_revocation: root_revocation.to_vec(),
    };
    let mut operate = pair.operator("operate").await;
    let status = operate.give_statement(give(&signed)).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    let mut admin = pair.operator("admin").await;
    let mut forged = signed.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    for bad in [&forged[..], b"", b"garbage"] {
        let status = admin.give_statement(give(bad)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with("not believed: "), "{status}");
    }
    let rights = admin.show_authorisations(PageRequest::default()).await;
    assert!(rights.unwrap().into_inner().revocations.is_empty());

    let given = admin.give_statement(give(&signed)).await.unwrap();
    let given = given.into_inner();
    assert!(
        given.what.starts_with("certificates of node 9"),
        "{given:?}"
    );
    assert!(!given.known);
    let again = admin.give_statement(give(&signed)).await.unwrap();
    assert!(again.into_inner().known);
    let rights = admin.show_authorisations(PageRequest::default()).await;
    let revocations = rights.unwrap().into_inner().revocations;
    assert_eq!(revocations.len(), 1);
    assert!(
        revocations[0].by_root && revocations[0].node == 9,
        "{revocations:?}"
    );
    // The neighbour was told, and keeps it.
    let kept = pair.net.path("state2").join("root-revocations");
    until(
        || async { std::fs::read_dir(&kept).unwrap().count() },
        |kept| *kept == 1,
    )
    .await;
    let audit = admin.show_audit(AuditRequest { limit: 0 }).await.unwrap();
    let outcomes: Vec<bool> = audit
        .get_ref()
        .records
        .iter()
        .map(|one| one.outcome == "ok")
        .collect();
    assert_eq!(outcomes, [false, false, false, false, true, true]);
}
