//! The operator's API of a center: what it shows, and policies by hand between those of the engine.

use std::time::Duration;

use dmsc_proto::v1::operator_client::OperatorClient;
use dmsc_proto::v1::*;
use dmsc_scsc::Topology;
use dmsc_wire::NameBuf;
use tonic::Code;
use tonic::transport::Channel;

use crate::scene::Scene;

const BAD_US: u32 = 90_000;
const GOOD_US: u32 = 5_000;

fn name(text: &str) -> Vec<u8> {
    NameBuf::parse(text).expect("name").as_bytes().to_vec()
}

pub fn wish(shares: &[(u32, u32)], ttl_ms: u32) -> SetPolicyRequest {
    let share = |(gateway, weight): &(u32, u32)| PolicyShare {
        gateway: *gateway,
        weight: *weight,
        topology: 0,
    };
    SetPolicyRequest {
        domain: 1,
        name: name("/shop"),
        gateway: 11,
        shares: shares.iter().map(share).collect(),
        ttl_ms,
        reason: "a test".into(),
    }
}

async fn policies(client: &mut OperatorClient<Channel>) -> Vec<PolicyInfo> {
    let reply = client.show_policies(PageRequest::default()).await;
    reply.expect("policies").into_inner().policies
}

#[tokio::test]
async fn by_hand_counts_until_it_is_unset_and_the_engine_goes_on_from_there() {
    let scene = Scene::new();
    let running = scene.center(1).await;
    let mut client = scene.operator(&running, "operate").await;
    let mut gateway = scene.gateway(&running, 11).await;
    gateway.second(GOOD_US).await;
    gateway.next().await.expect("acknowledged");

    // Plain routes choose 1 only; somebody wants a quarter to go to 2.
    let set = client.set_policy(wish(&[(2, 1), (1, 3)], 60_000)).await;
    let set = set.expect("set").into_inner();
    assert!(set.connected);
    let (policy, _) = gateway.policy().await;
    let weights: Vec<(u32, u16)> = policy
        .shares
        .iter()
        .map(|share| (share.gateway.0, share.weight))
        .collect();
    assert_eq!(weights, [(1, 750), (2, 250)]);
    assert!(policy.reason.ends_with(": a test"), "{}", policy.reason);
    gateway.acknowledge(&policy, 77).await;

    // The way to 1 is bad now, and the engine leaves it to whoever set the policy.
    for _ in 0..6 {
        gateway.second(BAD_US).await;
        gateway.until_acknowledged().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let shown = policies(&mut client).await;
    assert_eq!(shown.len(), 1);
    assert!(shown[0].by.contains("eve"), "{:?}", shown[0].by);
    assert_eq!(shown[0].outcomes[0].generation, 77);
    assert!(shown[0].ttl_left_ms > 1_000 && shown[0].ttl_left_ms < 60_000);

    let unset = UnsetPolicyRequest {
        domain: 1,
        name: name("/shop"),
        gateway: 0,
    };
    let done = client.unset_policy(unset.clone()).await.expect("unset");
    assert_eq!(done.into_inner().gateways, [11]);
    let status = client.unset_policy(unset).await.expect_err("none is left");
    assert_eq!(status.code(), Code::NotFound);
    let (policy, _) = gateway.policy().await;
    assert!(policy.reason.contains("delay 88.0 ms"), "{}", policy.reason);
    let best = policy.shares.iter().max_by_key(|share| share.weight);
    assert_eq!(best.map(|share| share.gateway.0), Some(2), "{policy:?}");
    assert!(policies(&mut client).await[0].by.is_empty());

    // What was decided, and who did what.
    let decisions = client.show_decisions(DecisionsRequest { limit: 10 }).await;
    let decisions = decisions.expect("decisions").into_inner().decisions;
    let texts: Vec<&str> = decisions.iter().map(|one| one.text.as_str()).collect();
    assert!(texts[0].contains("by hand, "), "{texts:?}");
    assert!(texts[1].contains("unset by hand"), "{texts:?}");
    assert!(texts[2].contains("delay 88.0 ms"), "{texts:?}");
    let audit = client.show_audit(AuditRequest { limit: 10 }).await;
    let records = audit.expect("audit").into_inner().records;
    let calls: Vec<(&str, bool)> = records
        .iter()
        .map(|one| (one.call.as_str(), one.outcome == "ok"))
        .collect();
    let all = [
        ("SetPolicy", true),
        ("UnsetPolicy", true),
        ("UnsetPolicy", false),
    ];
    assert_eq!(calls, all);
}

#[tokio::test]
async fn a_member_may_have_a_share_in_each_topology() {
    let scene = Scene::new();
    let running = scene.center(1).await;
    let mut gateway = scene.gateway(&running, 11).await;
    gateway.second(GOOD_US).await;
    gateway.next().await.expect("acknowledged");
    let mut client = scene.operator(&running, "operate").await;
    let mut both = wish(&[(1, 3), (1, 1)], 20_000);
    both.shares[1].topology = 1;
    client.set_policy(both).await.expect("set");
    let (policy, _) = gateway.policy().await;
    let shares = policy.shares.iter();
    let shares: Vec<_> = shares
        .map(|share| (share.gateway.0, share.weight, share.topology))
        .collect();
    let expected = [(1, 750, Topology::Metric), (1, 250, Topology::Delay)];
    assert_eq!(shares, expected);
    let decisions = client.show_decisions(DecisionsRequest { limit: 1 }).await;
    let text = &decisions.expect("decisions").into_inner().decisions[0].text;
    assert!(text.contains("75.0 % to 1, 25.0 % to 1 by delay"), "{text}");
}

#[tokio::test]
async fn at_its_end_nothing_jumps_and_over_a_restart_it_stays() {
    let scene = Scene::new();
    let running = scene.center(1).await;
    let mut gateway = scene.gateway(&running, 11).await;
    gateway.second(GOOD_US).await;
    gateway.next().await.expect("acknowledged");
    let mut client = scene.operator(&running, "operate").await;
    let set = client.set_policy(wish(&[(1, 1), (2, 1)], 20_000)).await;
    set.expect("set");
    let (before, _) = gateway.policy().await;
    running.center.save_now();
    drop((running, gateway, client));

    let running = scene.center(1).await;
    let mut gateway = scene.gateway(&running, 11).await;
    assert_eq!(gateway.policy().await.0, before);
    for _ in 0..6 {
        gateway.second(BAD_US).await;
        gateway.until_acknowledged().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let mut client = scene.operator(&running, "operate").await;
    assert!(!policies(&mut client).await[0].by.is_empty());
    // The same again for a shorter time: a second before its end the engine says the same or better as its own.
    let set = client.set_policy(wish(&[(1, 1), (2, 1)], 2_000)).await;
    set.expect("set");
    assert!(gateway.policy().await.0.set_by().is_some());
    let (policy, _) = gateway.until_policy(BAD_US).await;
    assert!(policy.set_by().is_none() && !policy.ttl.is_zero());
    let left = policy.shares.iter().find(|share| share.gateway.0 == 1);
    assert!(left.is_none_or(|share| share.weight <= 500), "{policy:?}");
}

#[tokio::test]
async fn mistakes_are_told_in_words_and_change_nothing() {
    let scene = Scene::new();
    let running = scene.center(1).await;
    let client = scene.operator(&running, "operate").await;
    let refused = async |change: &dyn Fn(&mut SetPolicyRequest)| {
        let mut request = wish(&[(1, 1)], 10_000);
        change(&mut request);
        let status = client.clone().set_policy(request).await;
        let status = status.expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        status.message().to_owned()
    };
    let same = |_: &mut SetPolicyRequest| {};
    assert!(refused(&same).await.contains("there are: none yet"));
    let mut gateway = scene.gateway(&running, 11).await;
    gateway.second(GOOD_US).await;
    gateway.next().await.expect("acknowledged");
    let wrong = |text: &str, word: &str| assert!(text.contains(word), "{word:?}: {text}");
    wrong(
        &refused(&|it| it.name = name("/shop/a")).await,
        "/shop/a in domain 1; there are: /shop",
    );
    wrong(&refused(&|it| it.name = vec![9, 1]).await, "name: ");
    wrong(&refused(&|it| it.gateway = 12).await, "these do: 11");
    wrong(
        &refused(&|it| it.shares[0].gateway = 9).await,
        "node 9 is no member of /shop; members are: 1, 2",
    );
    wrong(&refused(&|it| it.shares[0].weight = 65_536).await, "65535");
    wrong(&refused(&|it| it.shares[0].weight = 0).await, "weight is 0");
    wrong(&refused(&|it| it.shares.clear()).await, "weight is 0");
    wrong(&refused(&|it| it.shares[0].topology = 2).await, "topology");
    let twice = |it: &mut SetPolicyRequest| it.shares.push(it.shares[0]);
    wrong(&refused(&twice).await, "node 1 stands there twice");
    let excluded_too = |it: &mut SetPolicyRequest| {
        let mut by_delay = it.shares[0];
        (by_delay.topology, by_delay.weight) = (1, 0);
        it.shares.push(by_delay);
    };
    wrong(&refused(&excluded_too).await, "do not exclude it besides");
    for ttl in [0, 1_999, 3_600_001] {
        wrong(&refused(&|it| it.ttl_ms = ttl).await, "2s to 3600s");
    }
    wrong(&refused(&|it| it.reason.clear()).await, "1 to 255");
    wrong(&refused(&|it| it.reason = "x".repeat(256)).await, "255");
    wrong(&refused(&|it| it.reason = "a\nb".into()).await, "control");
    assert_eq!(running.center.counts().policies, 0);

    let mut view = scene.operator(&running, "view").await;
    let status = view.set_policy(wish(&[(1, 1)], 10_000)).await;
    assert_eq!(status.expect_err("no role").code(), Code::PermissionDenied);
    let status = view.show_routes(PageRequest::default()).await;
    let status = status.expect_err("no link state");
    assert!(status.message().contains("scheduling center"), "{status}");
}

#[tokio::test]
async fn quality_comes_in_pages_and_by_ends() {
    let scene = Scene::new();
    let running = scene.center(1).await;
    let mut view = scene.operator(&running, "view").await;
    let mut one = scene.gateway(&running, 11).await;
    let mut two = scene.gateway(&running, 12).await;
    for gateway in [&mut one, &mut two] {
        gateway.second(BAD_US).await;
        gateway.next().await.expect("acknowledged");
    }
    while running.center.counts().pairs < 8 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut request = QualityRequest {
        limit: 3,
        ..QualityRequest::default()
    };
    let mut seen = Vec::new();
    loop {
        let reply = view.show_quality(request.clone()).await.expect("quality");
        let reply = reply.into_inner();
        assert_eq!(reply.total, 8);
        seen.extend(reply.pairs);
        request.after = reply.next;
        if request.after.is_empty() {
            break;
        }
    }
    let ends: Vec<_> = seen
        .iter()
        .map(|pair| (pair.from, pair.to, pair.topology))
        .collect();
    assert!(ends.is_sorted() && ends.len() == 8, "{ends:?}");
    assert_eq!((seen[0].samples, seen[0].delay_p50_us), (1, 88_064));
    assert_eq!((seen[0].loss_ppm, seen[0].available_kbps), (Some(0), None));
    let request = QualityRequest {
        from: 12,
        to: 2,
        ..QualityRequest::default()
    };
    let reply = view.show_quality(request).await.expect("quality");
    assert_eq!(reply.into_inner().pairs.len(), 2);
    let about = view.about(AboutRequest {}).await.expect("about");
    let about = about.into_inner();
    assert_eq!((about.daemon.as_str(), about.sessions), ("scsc", 2));
}
