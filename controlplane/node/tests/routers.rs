//! Real control planes with real TLS between models of dataplanes: they find each other, and survive each other.

mod model;
mod net;

use net::Net;

/// Two routers and what their dataplanes know of each other.
#[tokio::test]
async fn two_nodes_converge_and_find_each_other_again() {
    let net = Net::new(1);
    net.write(1, "sr", &[2], "");
    net.write(2, "sr", &[1], "");
    let one = net.dataplane(1, "sr", 1).await;
    let two = net.dataplane(2, "sr", 1).await;
    let first = net.start(1, "sr");
    let _second = net.start(2, "sr");
    for (dataplane, peer) in [(&one, 2), (&two, 1)] {
        let tables = dataplane
            .until(|tables| tables.gateways.contains_key(&(0, peer)))
            .await;
        let way = &tables.gateways[&(0, peer)];
        assert_eq!((way.metric, way.next_hops.as_slice()), (10, [1].as_slice()));
        dataplane
            .until(|tables| tables.gateways.contains_key(&(1, peer)))
            .await;
    }
    let digest = net.until(1, |status| status["state"] == "running").await["digest"].clone();
    net.until(2, |status| {
        status["state"] == "running" && status["digest"] == digest
    })
    .await;

    // kill -9: the neighbour keeps its routes, the dataplane its tables; the next process tells nothing that is there already.
    let before = one.tables();
    drop(first);
    std::fs::remove_file(net.path("status1")).unwrap();
    let _first = net.start(1, "sr");
    net.until(1, |status| {
        status["state"] == "running" && status["version"].as_u64() > Some(0)
    })
    .await;
    assert_eq!(
        one.tables().transactions,
        before.transactions,
        "no route was told again"
    );
    assert!(two.tables().gateways.contains_key(&(0, 1)));

    // The link goes down and comes up again.
    one.hello(&[1], false).await;
    two.hello(&[1], false).await;
    one.until(|tables| tables.gateways.is_empty()).await;
    two.until(|tables| tables.gateways.is_empty()).await;
    one.hello(&[1], true).await;
    two.hello(&[1], true).await;
    one.until(|tables| tables.gateways.len() == 2).await;
    two.until(|tables| tables.gateways.len() == 2).await;
}
