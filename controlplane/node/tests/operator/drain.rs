//! A drain as an operator sees it.

use crate::*;

#[tokio::test]
async fn a_drain_tells_its_stages_and_is_taken_back() {
    let pair = Pair::start(13).await;
    let channel = dmsc_proto::connect_unix(&pair.net.path("operator")).await;
    let mut client = match nix::unistd::Uid::effective().is_root() {
        true => OperatorClient::new(channel.unwrap()),
        false => pair.operator("admin").await,
    };
    let request = DrainRequest {
        timeout_ms: 5_000,
        stop: false,
    };
    let mut stages = client.drain(request).await.unwrap().into_inner();
    let mut seen = Vec::new();
    while let Some(stage) = stages.message().await.unwrap() {
        seen.push((stage.stage, stage.done));
    }
    assert_eq!(seen.first().unwrap().0, "withdrawing");
    assert_eq!(
        seen.last().unwrap(),
        &("drained".to_owned(), true),
        "{seen:?}"
    );
    let about = client.about(AboutRequest {}).await.unwrap().into_inner();
    assert_eq!(about.state, "drained");
    let nodes = client.show_nodes(ShowRequest {}).await.unwrap();
    assert!(nodes.into_inner().nodes[0].overload);
    client.undrain(UndrainRequest {}).await.unwrap();
    let asked = client.clone();
    until(
        || async { asked.clone().about(AboutRequest {}).await.unwrap() },
        |about| about.get_ref().state == "running",
    )
    .await;
    let audit = client.show_audit(AuditRequest { limit: 2 }).await.unwrap();
    let records = audit.into_inner().records;
    assert_eq!(
        (records[0].call.as_str(), records[1].call.as_str()),
        ("Drain", "Undrain")
    );
    assert!(records.iter().all(|one| one.outcome == "ok"), "{records:?}");
}
