//! Gateways with real TLS, a real authority and pods with credentials: what is announced, what is refused, and what survives whom.

mod model;
mod net;

use dmsc_proto::v1::op::Op as Kind;
use dmsc_spa::identity::Identity;
use dmsc_spa::pki::{Root, Scope};
use dmsc_wire::NodeId;
use model::{Dataplane, Tables};
use net::authority::Spa;
use net::pod::{Pod, name};
use net::{Net, Process};
use tonic::Code;

const POLICY: &str = "[[policy]]\nidentity = \"pod1/*\"\nsubtrees = [\"/shop/a\"]\n\
                      [[policy]]\nidentity = \"pod3/*\"\nsubtrees = [\"/shop/a\", \"/shop/c\"]\n";

/// Gateways 1 and 3, router 2 between them.
struct Three {
    net: Net,
    one: Dataplane,
    _two: Dataplane,
    three: Dataplane,
    first: Option<Process>,
    _others: (Process, Process),
}

impl Three {
    async fn new(number: u8) -> Self {
        let net = Net::new(number);
        let authorities = format!("authorities = [\"{}:35032\"]\n", net.address(9));
        net.write(1, "sg", &[2], &authorities);
        net.write(2, "sr", &[1, 3], "");
        net.write(3, "sg", &[2], &authorities);
        let one = net.dataplane(1, "sg", 1).await;
        let two = net.dataplane(2, "sr", 2).await;
        let three = net.dataplane(3, "sg", 1).await;
        let first = net.start(1, "sg");
        let others = (net.start(2, "sr"), net.start(3, "sg"));
        for (dataplane, peer) in [(&one, 3), (&three, 1)] {
            let tables = dataplane
                .until(|tables| tables.gateways.contains_key(&(0, peer)))
                .await;
            assert_eq!(tables.gateways[&(0, peer)].metric, 20);
        }
        Self {
            net,
            one,
            _two: two,
            three,
            first: Some(first),
            _others: others,
        }
    }
}

/// The gateways that serve a prefix, with their metrics; `None` if it is not there.
fn members(tables: &Tables, text: &str) -> Option<Vec<(u32, u32)>> {
    let group = tables.prefixes.get(&name(text))?.group;
    Some(
        tables.groups[&group]
            .members
            .iter()
            .map(|one| (one.gateway, one.metric))
            .collect(),
    )
}

#[tokio::test]
async fn what_a_pod_announces_is_everywhere_while_it_can_be_reached() {
    let place = Three::new(2).await;
    let _spa = Spa::start(&place.net, "spa1", 9, POLICY);
    let mut pod = Pod::new(&place.net, 1, "pod1/a").await;
    let reply = pod
        .register(4_000, &["/shop/a/v1", "/bank", "/dmsc/1"])
        .await
        .unwrap();
    assert!(reply.waiting.is_empty(), "{:?}", reply.waiting);
    assert_eq!(reply.refused.len(), 2);
    let bank = reply
        .refused
        .iter()
        .find(|one| one.name == name("/bank"))
        .unwrap();
    assert!(
        bank.reason.contains("spa1") && bank.reason.contains("/shop/a"),
        "{}",
        bank.reason
    );
    let there = |tables: &Tables| members(tables, "/shop/a/v1") == Some(vec![(1, 20)]);
    let tables = place.three.until(there).await;
    assert!(!tables.prefixes.contains_key(&name("/bank")));
    place
        .one
        .until(|tables| members(tables, "/shop/a/v1") == Some(vec![(1, 0)]))
        .await;
    assert_eq!(
        place.one.tables().attachments[&1].serves,
        [name("/shop/a/v1")]
    );

    // A second instance elsewhere, and what a pod there sees of both.
    let mut other = Pod::new(&place.net, 3, "pod3/a").await;
    let lease = other
        .register(4_000, &["/shop/a/v1", "/shop/c"])
        .await
        .unwrap()
        .lease;
    place
        .three
        .until(|tables| members(tables, "/shop/a/v1") == Some(vec![(1, 20), (3, 0)]))
        .await;
    let request = dmsc_proto::v1::ResolveRequest {
        lease,
        name: name("/shop/a/v1/x"),
    };
    let mut stream = other.client.resolve(request).await.unwrap().into_inner();
    let mut seen = Vec::new();
    while seen.len() != 2 {
        let reply = stream.message().await.unwrap().unwrap();
        seen = reply
            .instances
            .iter()
            .map(|one| (one.gateway, one.metric))
            .collect();
    }
    assert_eq!(seen, [(3, 0), (1, 20)]);

    // Gone by ICMP, and back.
    place.one.tell(1, "unreachable").await;
    place
        .three
        .until(|tables| members(tables, "/shop/a/v1") == Some(vec![(3, 0)]))
        .await;
    place.one.tell(1, "up").await;
    place
        .three
        .until(|tables| members(tables, "/shop/a/v1").is_some_and(|all| all.len() == 2))
        .await;

    // Gone by probe: it gets no calls either; and back.
    place.one.silence(1, true);
    place
        .three
        .until(|tables| members(tables, "/shop/a/v1") == Some(vec![(3, 0)]))
        .await;
    assert!(place.one.tables().attachments[&1].serves.is_empty());
    place.one.silence(1, false);
    place
        .three
        .until(|tables| members(tables, "/shop/a/v1").is_some_and(|all| all.len() == 2))
        .await;
    assert_eq!(place.one.tables().attachments[&1].serves.len(), 1);

    // Gone by its own word.
    let request = dmsc_proto::v1::WithdrawRequest {
        lease,
        prefixes: vec![name("/shop/a/v1")],
    };
    other.client.withdraw(request).await.unwrap();
    place
        .one
        .until(|tables| members(tables, "/shop/a/v1") == Some(vec![(1, 0)]))
        .await;
    assert!(members(&place.one.tables(), "/shop/c").is_some());
}

#[tokio::test]
async fn who_is_not_who_it_says_is_refused_in_words() {
    let place = Three::new(3).await;
    let _spa = Spa::start(&place.net, "spa1", 9, POLICY);
    let mut pod = Pod::new(&place.net, 1, "pod1/a").await;
    pod.identity = "pod1/b".into();
    let status = pod.register(4_000, &["/shop/a"]).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(
        status
            .message()
            .contains("is not the certificate's, which is \"pod1/a\""),
        "{status}"
    );

    // A nonce is good once, and a signature is over what it says.
    pod.identity = "pod1/a".into();
    let request = pod.request(4_000, &["/shop/a"]).await.unwrap();
    pod.client.register(request.clone()).await.unwrap();
    let status = pod.client.register(request).await.unwrap_err();
    assert!(status.message().contains("nonce is unknown"), "{status}");
    let mut request = pod.request(4_001, &["/shop/a"]).await.unwrap();
    request.signature[0] ^= 1;
    let status = pod.client.register(request).await.unwrap_err();
    assert!(status.message().contains("bad signature"), "{status}");

    // A node is no pod, and another root is nobody.
    let folder = place.net.path("node3");
    let mut node = Pod::connect(&place.net, 1, "pod1/a", &folder)
        .await
        .unwrap();
    let status = node.register(4_002, &[]).await.unwrap_err();
    assert!(status.message().contains("is no pod"), "{status}");
    let foreign = Root::init(&place.net.path("foreign"), "dmsc.test", 1).unwrap();
    let folder = place.net.path("stranger");
    foreign
        .issue(
            &Identity::Pod("pod1/a".into()),
            &Scope::default(),
            1,
            false,
            &folder,
        )
        .unwrap();
    std::fs::copy(
        place.net.path("root").join("root.pem"),
        folder.join("root.pem"),
    )
    .unwrap();
    assert!(
        dmsc_spa::credentials::Credentials::load(&folder).is_err(),
        "it cannot even be loaded with our root"
    );
    assert_eq!(place.one.tables().attachments.len(), 1);
}

#[tokio::test]
async fn without_an_authority_new_names_wait_and_revocations_hold() {
    let mut place = Three::new(4).await;
    let mut pod = Pod::new(&place.net, 1, "pod1/a").await;
    let reply = pod.register(4_000, &["/shop/a"]).await.unwrap();
    assert!(reply.refused.is_empty());
    assert!(
        reply.waiting[0].reason.starts_with("no authority answers"),
        "{}",
        reply.waiting[0].reason
    );
    assert!(place.one.tables().attachments[&1].serves.is_empty());

    // It comes: announced without another word of the pod. It goes: what is authorised asks nobody.
    let spa = Spa::start(&place.net, "spa1", 9, POLICY);
    place
        .three
        .until(|tables| members(tables, "/shop/a").is_some())
        .await;
    place
        .one
        .until(|tables| tables.attachments[&1].serves.len() == 1)
        .await;
    drop(spa);
    let reply = pod
        .register(4_000, &["/shop/a", "/shop/a/b"])
        .await
        .unwrap();
    assert!(
        reply.waiting.is_empty() && reply.refused.is_empty(),
        "{reply:?}"
    );
    place
        .three
        .until(|tables| members(tables, "/shop/a/b").is_some())
        .await;

    // Revoked: gone everywhere at once, and for its own gateway too.
    let spa = Spa::start(&place.net, "spa1", 9, POLICY);
    let kept = spa.revoke("/shop/a/b", "sold");
    place
        .three
        .until(|tables| members(tables, "/shop/a/b").is_none())
        .await;
    place
        .one
        .until(|tables| tables.attachments[&1].serves == [name("/shop/a")])
        .await;
    assert!(members(&place.three.tables(), "/shop/a").is_some());
    drop((spa, kept));

    // It holds over a restart of the gateway's control plane, without any authority.
    let before = place.one.tables().transactions;
    place.first = None;
    place.first = Some(place.net.start(1, "sg"));
    let mut pod = Pod::new(&place.net, 1, "pod1/a").await;
    let reply = pod
        .register(4_000, &["/shop/a", "/shop/a/b"])
        .await
        .unwrap();
    assert_eq!(reply.refused.len(), 1, "{reply:?}");
    assert!(
        reply.refused[0].reason.contains("sold"),
        "{}",
        reply.refused[0].reason
    );
    assert!(reply.waiting.is_empty());
    assert!(members(&place.three.tables(), "/shop/a").is_some());
    let after = place.one.tables().transactions;
    assert_eq!(
        after.len(),
        before.len() + 1,
        "only the attachment was told again: {after:?}"
    );
}

#[tokio::test]
async fn a_gateway_that_restarts_withdraws_nothing() {
    let mut place = Three::new(5).await;
    let _spa = Spa::start(&place.net, "spa1", 9, POLICY);
    let mut pod = Pod::new(&place.net, 1, "pod1/a").await;
    pod.register(4_000, &["/shop/a"]).await.unwrap();
    place
        .three
        .until(|tables| members(tables, "/shop/a").is_some())
        .await;
    // Its own dataplane may hear of it later than others.
    let there = |tables: &Tables| members(tables, "/shop/a").is_some();
    let one = place.one.until(there).await;
    let three = place.three.tables();
    for round in 0..2 {
        place.first = None;
        if round == 1 {
            // Without its disk: the neighbours know its authorisations, and the dataplane its prefixes.
            std::fs::remove_dir_all(place.net.path("state1")).unwrap();
        }
        std::fs::remove_file(place.net.path("status1")).unwrap();
        place.first = Some(place.net.start(1, "sg"));
        place
            .net
            .until(1, |status| {
                status["state"] == "running" && status["version"].as_u64() > Some(0)
            })
            .await;
        let digest = place.net.status(1)["digest"].clone();
        let _ = digest;
        assert_eq!(place.one.tables().transactions, one.transactions);
        assert_eq!(place.three.tables().transactions, three.transactions);
    }
    // Its pod finds it again, under the same attachment.
    let mut pod = Pod::new(&place.net, 1, "pod1/a").await;
    let reply = pod.register(4_000, &["/shop/a"]).await.unwrap();
    assert_eq!(
        (reply.attachment, reply.waiting.len(), reply.refused.len()),
        (1, 0, 0)
    );
    assert_eq!(place.three.tables().transactions, three.transactions);
}

#[tokio::test]
async fn a_pod_that_a_new_dataplane_refuses_keeps_no_other_away() {
    let mut place = Three::new(16).await;
    let _spa = Spa::start(&place.net, "spa1", 9, POLICY);
    let mut pod = Pod::new(&place.net, 1, "pod1/a").await;
    for port in [4_000, 4_001, 4_002] {
        pod.register(port, &["/shop/a/v1"]).await.unwrap();
    }
    let socket = place.net.path("agent1");
    drop(place.one);
    let one = Dataplane::boot_as(&socket, 17, 1, "sg");
    one.refuse(Some(
        |op| matches!(op, Kind::Attach(pod) if pod.udp_port == 4_001),
    ));
    one.hello(&[1], true).await;
    let ports = |tables: &Tables| -> Vec<u32> {
        let pods = tables.attachments.values();
        pods.map(|pod| pod.udp_port).collect()
    };
    one.until(|tables| ports(tables).len() == 2).await;
    // The gateway is at work again.
    let error = pod.register(4_001, &["/shop/a/v1"]).await.unwrap_err();
    assert!(error.message().contains("refused by the test"), "{error}");
    one.refuse(None);
    pod.register(4_001, &["/shop/a/v1"]).await.unwrap();
    assert_eq!(ports(&one.tables()).len(), 3);
    place.one = one;
}

#[tokio::test]
async fn credentials_of_another_node_are_told_at_the_start() {
    let net = Net::new(6);
    net.write(1, "sr", &[2], "");
    let identity = Identity::Node {
        id: NodeId(7),
        gateway: false,
    };
    net.credentials(&identity, "node7");
    net.rewrite(1, "/node1\"", "/node7\"");
    assert!(!net.start(1, "sr").wait());
    assert!(
        net.status(1)["error"]
            .as_str()
            .unwrap()
            .contains("the certificate is for node/7/sr"),
        "{}",
        net.status(1)
    );
}

#[tokio::test]
async fn a_drained_gateway_hands_over_and_takes_no_pods() {
    let net = Net::new(7);
    let authorities = format!("authorities = [\"{}:35032\"]\n", net.address(9));
    let socket = net.path("operator1");
    for (id, peer) in [(1, 3), (3, 1)] {
        net.write(id, "sg", &[peer], &authorities);
    }
    net.rewrite(
        1,
        "state_dir",
        &format!("operator = \"{}\"\nstate_dir", socket.display()),
    );
    let one = net.dataplane(1, "sg", 1).await;
    let three = net.dataplane(3, "sg", 1).await;
    let (mut first, _third) = (net.start(1, "sg"), net.start(3, "sg"));
    let _spa = Spa::start(&net, "spa1", 9, POLICY);
    let mut pod = Pod::new(&net, 1, "pod1/a").await;
    pod.register(4_000, &["/shop/a"]).await.unwrap();
    let mut other = Pod::new(&net, 3, "pod3/a").await;
    other.register(4_000, &["/shop/a"]).await.unwrap();
    for dataplane in [&one, &three] {
        dataplane
            .until(|tables| members(tables, "/shop/a").is_some_and(|all| all.len() == 2))
            .await;
    }
    let channel = dmsc_proto::connect_unix(&socket).await.unwrap();
    let mut operator = dmsc_proto::v1::operator_client::OperatorClient::new(channel);
    let mut stages = operator
        .drain(dmsc_proto::v1::DrainRequest::default())
        .await
        .unwrap()
        .into_inner();
    let mut last = None;
    while let Some(stage) = stages.message().await.unwrap() {
        last = Some((stage.stage, stage.done));
    }
    assert_eq!(last, Some(("drained".to_owned(), true)));
    for dataplane in [&one, &three] {
        let all = members(&dataplane.tables(), "/shop/a").unwrap();
        assert_eq!(
            all.iter().map(|one| one.0).collect::<Vec<_>>(),
            [3],
            "told before the drain was over"
        );
    }
    assert_eq!(
        one.tables().attachments[&1].serves.len(),
        1,
        "what is on its way is still delivered"
    );
    let status = pod.register(4_000, &["/shop/a"]).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("drained"), "{status}");
    operator
        .undrain(dmsc_proto::v1::UndrainRequest {})
        .await
        .unwrap();
    three
        .until(|tables| members(tables, "/shop/a").is_some_and(|all| all.len() == 2))
        .await;

    // To stop is to leave: nothing of it is known any more, and the process ends.
    let request = dmsc_proto::v1::DrainRequest {
        stop: true,
        ..Default::default()
    };
    let mut stages = operator.drain(request).await.unwrap().into_inner();
    let mut seen = Vec::new();
    while let Some(stage) = stages.message().await.unwrap() {
        seen.push(stage.stage);
    }
    assert!(
        seen.ends_with(&["leaving".into(), "drained".into()]),
        "{seen:?}"
    );
    assert!(first.wait(), "it ends in good order");
    three.until(|tables| tables.gateways.is_empty()).await;

    // A drain is remembered.
    std::fs::remove_file(net.path("status1")).unwrap();
    let _first = net.start(1, "sg");
    net.until(1, |status| {
        status["ok"] == true && status["state"] == "drained"
    })
    .await;
    three.until(|tables| !tables.gateways.is_empty()).await;
    assert_eq!(members(&three.tables(), "/shop/a").unwrap().len(), 1);
    let channel = dmsc_proto::connect_unix(&socket).await.unwrap();
    let mut operator = dmsc_proto::v1::operator_client::OperatorClient::new(channel);
    operator
        .undrain(dmsc_proto::v1::UndrainRequest {})
        .await
        .unwrap();
    three
        .until(|tables| members(tables, "/shop/a").is_some_and(|all| all.len() == 2))
        .await;
}

#[tokio::test]
async fn thousands_of_names_are_announced_at_once_and_one_by_one_asks_nobody() {
    let place = Three::new(8).await;
    let names: Vec<String> = (0..3_000)
        .map(|number| format!("/shop/a/{number}"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let spa = Spa::start(&place.net, "spa1", 9, POLICY);
    let mut pod = Pod::new(&place.net, 1, "pod1/a").await;
    let start = std::time::Instant::now();
    let reply = pod.register(4_000, &names).await.unwrap();
    eprintln!("registered in {:?}", start.elapsed());
    assert!(reply.refused.is_empty() && reply.waiting.is_empty());
    place
        .three
        .until(|tables| tables.prefixes.len() == 3_000)
        .await;
    eprintln!("everywhere after {:?}", start.elapsed());
    let groups = place.three.tables().groups.len();
    assert_eq!(groups, 1, "equal members share a group");
    drop(spa);
    let mut more = names.clone();
    more.push("/shop/a/more");
    let reply = pod.register(4_000, &more).await.unwrap();
    assert!(reply.refused.is_empty() && reply.waiting.is_empty());
    place
        .three
        .until(|tables| tables.prefixes.len() == 3_001)
        .await;
    let last = *place.three.tables().transactions.last().unwrap();
    assert_eq!(last, 1, "one more prefix costs one operation");
}

#[tokio::test]
async fn a_revoked_node_is_nobody_any_more() {
    let place = Three::new(9).await;
    let _spa = Spa::start(&place.net, "spa1", 9, POLICY);
    let mut other = Pod::new(&place.net, 3, "pod3/a").await;
    other.register(4_000, &["/shop/c"]).await.unwrap();
    place
        .one
        .until(|tables| members(tables, "/shop/c").is_some())
        .await;
    let now_s = dmsc_node::clock::wall().as_secs() + 1;
    let signed = place
        .net
        .root
        .revoke_node(NodeId(3), "stolen", now_s)
        .unwrap();
    std::fs::write(place.net.path("state1/root-revocations/stolen.bin"), signed).unwrap();
    place
        .first
        .as_ref()
        .unwrap()
        .signal(nix::sys::signal::Signal::SIGHUP);
    let gone = |tables: &Tables| {
        members(tables, "/shop/c").is_none() && !tables.gateways.contains_key(&(0, 3))
    };
    place.one.until(gone).await;
    // Its neighbour heard of it, too.
    place._two.until(gone).await;
}

#[tokio::test]
async fn an_authority_that_says_nothing_does_not_keep_the_next_from_being_asked() {
    let net = Net::new(15);
    let (first, second) = (net.address(8), net.address(9));
    let authorities = format!("authorities = [\"{first}:35032\", \"{second}:35032\"]\n");
    net.write(1, "sg", &[], &authorities);
    let dataplane = net.dataplane(1, "sg", 0).await;
    let one = Spa::start(&net, "spa1", 8, POLICY);
    let two = Spa::start(
        &net,
        "spa2",
        9,
        "[[policy]]\nidentity = \"pod1/*\"\nsubtrees = [\"/shop/a\"]\n",
    );
    one.mute();
    let _process = net.start(1, "sg");
    let mut pod = Pod::new(&net, 1, "pod1/a").await;
    let reply = pod.register(4_000, &["/shop/a", "/bank"]).await.unwrap();
    assert!(reply.refused.is_empty(), "{reply:?}");
    assert_eq!(reply.waiting.len(), 1, "{reply:?}");
    let reason = &reply.waiting[0].reason;
    assert!(reason.contains("neither refused it nor"), "{reason}");
    two.asked(1).await;
    let tables = dataplane.tables();
    assert_eq!(tables.attachments[&1].serves, [name("/shop/a")]);

    // One identity does not take the room of others.
    for port in 0..63 {
        pod.register(5_000 + port, &[]).await.unwrap();
    }
    let refused = pod.register(6_000, &[]).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    pod.register(4_000, &["/shop/a"]).await.unwrap();
}
