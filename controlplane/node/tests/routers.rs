//! Real control planes with real TLS between models of dataplanes: they find each other, and survive each other.

mod model;
mod net;

use dmsc_proto::v1::op::Op as Kind;
use model::Dataplane;
use net::Net;
use nix::sys::signal::Signal;

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
    for id in [1, 2] {
        net.until(id, |status| status["state"] == "running").await;
    }
    net.agree(&[1, 2]).await;

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

#[tokio::test]
async fn a_configuration_is_read_again_as_a_whole_or_not_at_all() {
    let net = Net::new(10);
    net.write(1, "sr", &[2], "");
    net.write(2, "sr", &[1], "");
    let one = net.dataplane(1, "sr", 1).await;
    let two = net.dataplane(2, "sr", 1).await;
    let first = net.start(1, "sr");
    let _second = net.start(2, "sr");
    one.until(|tables| tables.gateways.len() == 2).await;
    two.until(|tables| tables.gateways.len() == 2).await;

    // A metric of one's own counts in one's own direction.
    net.rewrite(1, "peer = 2\n", "peer = 2\nmetric = 70\n");
    first.signal(Signal::SIGHUP);
    one.until(|tables| tables.gateways[&(0, 2)].metric == 70)
        .await;
    assert_eq!(two.tables().gateways[&(0, 1)].metric, 10);

    // Mistakes of three kinds: in the file, of what only a restart can change, and of what only the dataplane sees.
    for (good, bad, words) in [
        (
            "metric = 70",
            "metric = 0",
            "[[adjacency]] metric: must be between",
        ),
        (
            "id = 1\nagent",
            "id = 9\nagent",
            "can only be changed by a restart",
        ),
        ("\"sr1\"", "\"nowhere\"", "port \"nowhere\" does not exist"),
    ] {
        let before = (
            one.tables().transactions,
            net.status(1)["applied_at_ns"].clone(),
        );
        net.rewrite(1, good, bad);
        first.signal(Signal::SIGHUP);
        let status = net
            .until(1, |status| {
                status["applied_at_ns"] != before.1 && status["ok"] == false
            })
            .await;
        assert!(
            status["error"].as_str().unwrap().contains(words),
            "{status}"
        );
        assert_eq!(one.tables().transactions, before.0);
        net.rewrite(1, bad, good);
    }

    // The link is configured no more: no route, then no adjacency.
    let text = std::fs::read_to_string(net.config(1)).unwrap();
    std::fs::write(net.config(1), text.split("[[adjacency]]").next().unwrap()).unwrap();
    first.signal(Signal::SIGHUP);
    one.until(|tables| tables.gateways.is_empty() && tables.adjacencies.is_empty())
        .await;
    // A real dataplane without the adjacency says no hello.
    two.hello(&[1], false).await;
    two.until(|tables| tables.gateways.is_empty()).await;
}

#[tokio::test]
async fn one_operation_that_is_refused_stops_nothing_else() {
    let net = Net::new(40);
    net.write(1, "sr", &[2], "");
    net.write(2, "sr", &[1], "");
    let one = net.dataplane(1, "sr", 1).await;
    let _two = net.dataplane(2, "sr", 1).await;
    one.refuse(Some(
        |op| matches!(op, Kind::PutGateway(way) if way.topology == 1),
    ));
    let _first = net.start(1, "sr");
    let _second = net.start(2, "sr");
    one.until(|tables| tables.gateways.contains_key(&(0, 2)))
        .await;
    let status = net.until(1, |status| status["ok"] == false).await;
    let error = status["error"].as_str().unwrap();
    assert!(error.contains("refuses 1 operations"), "{error}");
    // Hellos are heard as before.
    one.hello(&[1], false).await;
    one.until(|tables| tables.gateways.is_empty()).await;
    one.hello(&[1], true).await;
    one.until(|tables| tables.gateways.contains_key(&(0, 2)))
        .await;
    // It is tried again.
    one.refuse(None);
    one.until(|tables| tables.gateways.len() == 2).await;
    net.until(1, |status| status["ok"] == true).await;
}

#[tokio::test]
async fn a_neighbour_that_is_somebody_else_is_refused_in_words() {
    let net = Net::new(11);
    // Node 1 expects node 2 where node 3 is; node 3 expects nobody like node 1.
    net.write(1, "sr", &[2], "");
    net.write(3, "sr", &[4], "");
    net.rewrite(
        1,
        &format!("remote = \"{}\"", net.address(2)),
        &format!("remote = \"{}\"", net.address(3)),
    );
    let one = net.dataplane(1, "sr", 1).await;
    let _three = net.dataplane(3, "sr", 1).await;
    let first = net.start_logged(1, "sr");
    let _third = net.start(3, "sr");
    first
        .until("the certificate is for another name", |line| {
            line.contains("no session yet") && line.contains("not valid for name")
        })
        .await;

    // The right certificate, but no adjacency at the other end.
    net.rewrite(1, "peer = 2", "peer = 3");
    first.process.signal(Signal::SIGHUP);
    first
        .until("no adjacency", |line| {
            line.contains("node 3 has no adjacency with node 1")
        })
        .await;
    assert!(one.tables().gateways.is_empty());
}

#[tokio::test]
async fn a_neighbour_that_stands_still_harms_nobody_and_comes_back() {
    let net = Net::new(12);
    for (id, links) in [(1, [2, 3]), (2, [1, 3]), (3, [1, 2])] {
        net.write(id, "sr", &links, "");
        net.rewrite(
            id,
            "digest_interval_ms = 300",
            "digest_interval_ms = 200\nsession_timeout_ms = 800",
        );
    }
    let one = net.dataplane(1, "sr", 2).await;
    let two = net.dataplane(2, "sr", 2).await;
    let three = net.dataplane(3, "sr", 2).await;
    let first = net.start_logged(1, "sr");
    let second = net.start(2, "sr");
    let _third = net.start(3, "sr");
    for dataplane in [&one, &two, &three] {
        dataplane.until(|tables| tables.gateways.len() == 4).await;
    }
    second.signal(Signal::SIGSTOP);
    first
        .until("the session is closed", |line| {
            line.contains("session lost") && line.contains("peer=2")
        })
        .await;
    // Its dataplane goes on, hellos run: nobody takes its links away; and others go on talking.
    assert_eq!(three.tables().gateways.len(), 4);
    net.rewrite(1, "peer = 3\n", "peer = 3\nmetric = 15\n");
    first.process.signal(Signal::SIGHUP);
    one.until(|tables| tables.gateways[&(0, 3)].metric == 15)
        .await;
    assert_eq!(one.tables().gateways.len(), 4);
    second.signal(Signal::SIGCONT);
    net.until(1, |_| {
        (1..=3).all(|id| net.status(id)["state"] == "running")
    })
    .await;
    net.agree(&[1, 2, 3]).await;
    two.until(|tables| tables.gateways.len() == 4).await;
}

#[tokio::test]
async fn a_revoked_neighbour_is_not_dialled_into_the_network_again() {
    let net = Net::new(15);
    net.write(1, "sr", &[2], "");
    net.write(2, "sr", &[1], "");
    let one = net.dataplane(1, "sr", 1).await;
    let _two = net.dataplane(2, "sr", 1).await;
    let first = net.start_logged(1, "sr");
    let _second = net.start(2, "sr");
    one.until(|tables| tables.gateways.len() == 2).await;
    // Node 1 dials node 2, the higher: it looks at the certificate as node 2 would at its own.
    let now_s = dmsc_node::clock::wall().as_secs() + 1;
    let signed = net
        .root
        .revoke_node(dmsc_wire::NodeId(2), "stolen", now_s)
        .unwrap();
    std::fs::write(net.path("state1/root-revocations/stolen.bin"), signed).unwrap();
    first.process.signal(Signal::SIGHUP);
    first
        .until("dialled, and refused", |line| {
            line.contains("no session yet")
                && line.contains("the certificate of node 2 was revoked")
        })
        .await;
    one.until(|tables| tables.gateways.is_empty()).await;
}

#[tokio::test]
async fn a_dataplane_of_another_node_is_not_touched() {
    let net = Net::new(13);
    net.write(1, "sr", &[2], "");
    let other = Dataplane::boot_as(&net.path("agent1"), 7, 5, "sr");
    let _first = net.start(1, "sr");
    let status = net.until(1, |status| status["ok"] == false).await;
    let error = status["error"].as_str().unwrap();
    assert!(
        error.contains("is node 5 (sr), this control plane is for node 1 (sr)"),
        "{error}"
    );
    assert!(other.tables().transactions.is_empty());
}

#[tokio::test]
async fn a_dataplane_that_starts_anew_gets_everything_and_an_upgrade_flaps_nothing() {
    let net = Net::new(14);
    net.write(1, "sr", &[2], "");
    net.write(2, "sr", &[1], "");
    let one = net.dataplane(1, "sr", 1).await;
    let two = net.dataplane(2, "sr", 1).await;
    let _first = net.start(1, "sr");
    let _second = net.start(2, "sr");
    one.until(|tables| tables.gateways.len() == 2).await;
    two.until(|tables| tables.gateways.len() == 2).await;
    let neighbour = two.tables().transactions;
    let tables = one.tables();
    drop(one);
    // As an upgrade: the next process has the tables of the one before, and hellos never stopped.
    let one = Dataplane::boot_as(&net.path("agent1"), 99, 1, "sr");
    one.take_over(tables);
    one.hello(&[1], true).await;
    net.until(1, |status| status["boot_nonce"] == format!("{:016x}", 99))
        .await;
    assert_eq!(
        one.tables().transactions.len(),
        2,
        "nothing is told to a dataplane that has everything"
    );
    drop(one);
    // As a crash: empty.
    let one = net.dataplane(1, "sr", 1).await;
    let tables = one.until(|tables| tables.gateways.len() == 2).await;
    assert_eq!(tables.adjacencies.len(), 1);
    net.agree(&[1, 2]).await;
    assert_eq!(two.tables().gateways.len(), 2);
    assert_eq!(
        two.tables().transactions,
        neighbour,
        "the neighbour's routes were never touched"
    );
}
