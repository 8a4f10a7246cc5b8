//! What a router tells of itself and of the network.

use crate::*;

#[tokio::test]
async fn a_router_tells_what_it_knows() {
    let pair = Pair::start(11).await;
    let client = pair.operator("view").await;
    let about = until(
        || async { client.clone().about(AboutRequest {}).await.unwrap() },
        |about| about.get_ref().synced == 1,
    )
    .await
    .into_inner();
    assert_eq!((about.daemon.as_str(), about.node), ("sr", 1));
    assert_eq!(
        (about.state.as_str(), about.your_role.as_str()),
        ("running", "view")
    );
    assert_eq!(about.objects, 2);
    assert!(about.alarms.is_empty(), "{about:?}");
    assert!(about.routes_version > 0 && about.generation > 0);

    let mut client = client;
    let nodes = client.show_nodes(ShowRequest {}).await.unwrap();
    let nodes = nodes.into_inner().nodes;
    assert_eq!(nodes.len(), 2);
    assert!(nodes.iter().all(|node| node.reachable && node.links == 1));
    assert_eq!((nodes[1].metric, nodes[1].delay_us), (10, 100));
    assert_eq!((nodes[0].metric, nodes[0].name.as_str()), (0, "sr1"));

    let links = client.show_links(ShowRequest {}).await.unwrap();
    let links = links.into_inner().links;
    assert_eq!(links.len(), 2);
    let own = links.iter().find(|link| link.own).unwrap();
    assert!(
        own.two_way && own.session == "synced" && own.hello == "up",
        "{own:?}"
    );
    assert!(own.sent_messages > 0 && own.received_messages > 0);

    let routes = client.show_routes(PageRequest::default()).await.unwrap();
    let routes = routes.into_inner().routes;
    assert!(routes.iter().all(|route| route.peers == [2]), "{routes:?}");
    let lsdb = client
        .show_lsdb(LsdbRequest {
            bodies: true,
            ..LsdbRequest::default()
        })
        .await
        .unwrap();
    let entries = lsdb.into_inner().entries;
    assert!(entries[1].body.contains("link 1 to node 1"), "{entries:?}");
    let prefixes = client.show_prefixes(PrefixesRequest::default()).await;
    assert_eq!(prefixes.unwrap().into_inner().total, 0);
    let pods = client.show_pods(PageRequest::default()).await.unwrap();
    assert!(pods.into_inner().pods.is_empty());
    let stages = client.show_convergence(ShowRequest {}).await.unwrap();
    assert_eq!(stages.into_inner().stages.len(), 6);

    let text = metrics(&format!("{}:9464", pair.net.address(1))).await;
    for line in [
        "dmsc_sessions_synced 1",
        "dmsc_state{state=\"running\"} 1",
        "dmsc_alarm{alarm=\"clock-jump\"} 0",
        "dmsc_link_up{adjacency=\"1\",peer=\"2\"} 1",
        "dmsc_lsdb_objects 2",
        "dmsc_routes{topology=\"metric\"} 1",
        "dmsc_dataplane_programmed 1",
        "# HELP dmsc_refused_objects Link-state objects",
        "# TYPE dmsc_convergence_seconds histogram",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}

async fn metrics(address: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}
