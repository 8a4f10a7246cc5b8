//! A gateway and a scheduling center with real TLS: what it measures, what it obeys, what it refuses, and what it does alone.

mod model;
mod net;

use std::time::{Duration, Instant};

use dmsc_proto::v1::{ExplainPolicyRequest, PageRequest};
use dmsc_scsc::stream::Decoder;
use dmsc_scsc::{
    Epoch, GroupId, Level, Policy, PolicyId, Rank, ReplicaId, Scsc, ScscConfig, Share, Thresholds,
    Topology,
};
use dmsc_spa::identity::Identity;
use dmsc_wire::{Domain, NameBuf, NodeId};
use model::{Dataplane, Links, Tables};
use net::authority::Spa;
use net::center::{Center, credentials};
use net::pod::{Pod, name};
use net::{Logged, Net, Process};
use nix::sys::signal::Signal;

const POLICY: &str = "[[policy]]\nidentity = \"pod2/*\"\nsubtrees = [\"/shop\"]\n\
                      [[policy]]\nidentity = \"pod3/*\"\nsubtrees = [\"/shop\"]\n";

/// Calls enter at gateway 1; /shop/a is served at gateways 2 and 3, equally far.
struct Place {
    net: Net,
    one: Dataplane,
    first: Option<Logged>,
    _others: (Dataplane, Dataplane, Process, Process),
    _spa: Spa,
}

impl Place {
    async fn new(number: u8) -> Self {
        let net = Net::new(number);
        let authorities = format!("authorities = [\"{}:35032\"]\n", net.address(9));
        let centers = format!("[scheduling]\ncenters = [\"{}:35034\"]\n", net.address(8));
        net.write(1, "sg", &[2, 3], &(authorities.clone() + &centers));
        let operator = format!(
            "operator_listen = \"{}:35033\"\n[linkstate]",
            net.address(1)
        );
        net.rewrite(1, "[linkstate]", &operator);
        net.write(2, "sg", &[1], &authorities);
        net.write(3, "sg", &[1], &authorities);
        let spa = Spa::start(&net, "spa1", 9, POLICY);
        let one = net.dataplane(1, "sg", 2).await;
        let two = net.dataplane(2, "sg", 1).await;
        let three = net.dataplane(3, "sg", 1).await;
        let first = net.start_logged(1, "sg");
        let others = (two, three, net.start(2, "sg"), net.start(3, "sg"));
        for (gateway, identity) in [(2, "pod2/a"), (3, "pod3/a")] {
            let mut pod = Pod::new(&net, gateway, identity).await;
            let reply = pod.register(4_000, &["/shop/a"]).await.unwrap();
            assert!(reply.refused.is_empty(), "{:?}", reply.refused);
        }
        one.until(|tables| weights(tables).is_some_and(|(_, all)| all.len() == 2))
            .await;
        Self {
            net,
            one,
            first: Some(first),
            _others: others,
            _spa: spa,
        }
    }

    async fn is(&self, weighted: bool, members: &[(u32, u32)]) -> Tables {
        let there = |tables: &Tables| weights(tables) == Some((weighted, members.to_vec()));
        self.one.until(there).await
    }
}

/// Whether weights count for /shop/a at gateway 1, and gateways with their weights.
fn weights(tables: &Tables) -> Option<(bool, Vec<(u32, u32)>)> {
    let group = tables.prefixes.get(&name("/shop/a"))?.group;
    let group = &tables.groups[&group];
    let members = group.members.iter();
    Some((
        group.weighted,
        members.map(|one| (one.gateway, one.weight)).collect(),
    ))
}

fn policy(id: u64, ttl_ms: u64, shares: &[(u32, u16)]) -> Policy {
    let share = |(gateway, weight): &(u32, u16)| Share {
        gateway: NodeId(*gateway),
        weight: *weight,
        topology: Topology::Metric,
    };
    Policy {
        rank: Rank {
            epoch: Epoch(7),
            replica: ReplicaId(1),
            id: PolicyId(id),
        },
        area: 0,
        domain: Domain(1),
        prefix: NameBuf::parse("/shop").unwrap(),
        gateway: NodeId(1),
        ttl: Duration::from_millis(ttl_ms),
        shares: shares.iter().map(share).collect(),
        reason: "a test".into(),
    }
}

const PLAIN: [(u32, u32); 2] = [(2, 1), (3, 1)];

#[tokio::test]
async fn a_policy_moves_weights_until_it_is_over_and_what_is_none_moves_nothing() {
    let place = Place::new(30).await;
    let folder = credentials(&place.net, "scsc1");
    let mut center = Center::start(&place.net, 8, &folder, true);
    let hello = center.hello().await;
    assert_eq!((hello.node, hello.held.len()), (1, 0));
    place.is(false, &PLAIN).await;

    // Forged, by somebody who is no center, for others, of another area, for a member that is none.
    let wanted = policy(1, 60_000, &[(2, 0), (3, 5)]);
    let mut forged = center.sign(&wanted);
    forged.signature = vec![0; 64].into();
    center.say(forged).await;
    let ack = center.ack().await;
    assert_eq!((ack.id, ack.generation), (1, 0));
    assert!(ack.refused.contains("signature"), "{}", ack.refused);
    let node = dmsc_spa::credentials::Credentials::load(&place.net.path("node2")).unwrap();
    let key = node.signing_key().unwrap();
    center
        .say(wanted.sign(&key, node.certificate_der.clone()))
        .await;
    let ack = center.ack().await;
    assert!(ack.refused.contains("scheduling center"), "{}", ack.refused);
    let elsewhere = Policy {
        gateway: NodeId(2),
        ..wanted.clone()
    };
    let ack = center.order(&elsewhere).await;
    assert!(ack.refused.contains("gateway 2"), "{}", ack.refused);
    let area = Policy {
        area: 9,
        ..wanted.clone()
    };
    let ack = center.order(&area).await;
    assert!(ack.refused.contains("area 9"), "{}", ack.refused);
    let strangers = center.order(&policy(2, 60_000, &[(77, 5)])).await;
    assert_eq!(strangers.refused, "");
    let before = place.is(false, &PLAIN).await;

    // Weights; then an exclusion. The acknowledgement says in which tables.
    let ack = center.order(&policy(3, 60_000, &[(2, 1), (3, 3)])).await;
    let after = place.is(true, &[(2, 1), (3, 3)]).await;
    assert_eq!((ack.id, ack.refused.as_str()), (3, ""));
    assert_eq!(ack.generation, after.generation);
    assert_eq!(after.generation, before.generation + 1, "one transaction");
    assert_eq!(after.transactions.last(), Some(&1), "of one operation");
    center.order(&policy(4, 60_000, &[(2, 0), (3, 3)])).await;
    place.is(true, &[(3, 3)]).await;
    // Late, or played back.
    let ack = center.order(&policy(3, 60_000, &[(2, 9), (3, 1)])).await;
    assert!(ack.refused.contains("older"), "{}", ack.refused);
    place.is(true, &[(3, 3)]).await;
    // A renewal tells the dataplane nothing.
    let count = place.one.tables().transactions.len();
    let started = Instant::now();
    let ack = center.order(&policy(5, 1_500, &[(2, 0), (3, 3)])).await;
    assert!(ack.refused.is_empty() && ack.generation > 0);
    assert_eq!(place.one.tables().transactions.len(), count);

    // The center is killed: nothing moves before the policy is over, then plain routes are back.
    drop(center);
    place.is(false, &PLAIN).await;
    assert!(started.elapsed() > Duration::from_millis(1_200));
}

#[tokio::test]
async fn the_operator_sees_what_is_held_and_what_becomes_of_it() {
    let place = Place::new(36).await;
    let eve = place
        .net
        .credentials(&"operator/view/eve".parse().unwrap(), "eve");
    let mut view = place.net.operator(1, &eve).await;
    let asked = view.clone();
    let explain = async |name: &str| {
        let name = NameBuf::parse(name).unwrap().as_bytes().to_vec();
        let request = ExplainPolicyRequest { domain: 1, name };
        let reply = asked.clone().explain_policy(request).await;
        reply.unwrap().into_inner()
    };
    let none = explain("/shop/a/1").await;
    assert_eq!((none.node, none.policy), (1, None));
    assert_eq!(none.matched, name("/shop/a"));
    assert!(explain("/nobody").await.matched.is_empty());

    let folder = credentials(&place.net, "scsc1");
    let mut center = Center::start(&place.net, 8, &folder, true);
    center.hello().await;
    let elsewhere = Policy {
        prefix: NameBuf::parse("/nobody").unwrap(),
        ..policy(2, 60_000, &[(2, 1)])
    };
    center.order(&elsewhere).await;
    center.order(&policy(3, 60_000, &[(2, 1), (3, 3)])).await;
    let longer = Policy {
        prefix: NameBuf::parse("/shop/a").unwrap(),
        reason: dmsc_scsc::hand::reason("eve", "because: so"),
        ..policy(4, 60_000, &[(2, 0), (3, 0)])
    };
    center.order(&longer).await;
    let mut request = PageRequest {
        limit: 1,
        after: Vec::new(),
    };
    let mut seen = Vec::new();
    loop {
        let reply = view.show_policies(request.clone()).await.unwrap();
        let reply = reply.into_inner();
        assert_eq!(reply.total, 3);
        seen.extend(reply.policies);
        request.after = reply.next;
        if request.after.is_empty() {
            break;
        }
    }
    let states: Vec<(u64, &str)> = seen
        .iter()
        .map(|one| (one.id, one.state.as_str()))
        .collect();
    assert_eq!(states, [(3, "behind"), (4, "ignored"), (2, "no route")]);
    assert!(seen[1].why.contains("excludes every member"), "{seen:?}");
    assert_eq!(seen[1].by, "eve");
    let explained = explain("/shop/a").await.policy.unwrap();
    assert_eq!((explained.id, explained.state.as_str()), (4, "ignored"));
    assert!(explained.ttl_left_ms > 1_000 && explained.replica == 1);
    let mut ended = longer;
    (ended.ttl, ended.rank.id) = (Duration::ZERO, PolicyId(5));
    center.order(&ended).await;
    let explained = explain("/shop/a").await.policy.unwrap();
    assert_eq!((explained.id, explained.state.as_str()), (3, "applied"));
    assert_eq!(explained.reason, "a test");
}

#[tokio::test]
async fn a_restart_of_either_side_moves_nothing_and_loses_no_telemetry() {
    let mut place = Place::new(31).await;
    let folder = credentials(&place.net, "scsc1");
    let mut center = Center::start(&place.net, 8, &folder, false);
    center.hello().await;
    center.order(&policy(1, 60_000, &[(2, 0), (3, 5)])).await;
    let before = place.is(true, &[(3, 5)]).await;
    let told = center.telemetry().await.second;
    // Nobody acknowledged it: another process of the center hears it again, and all that came since.
    drop(center);
    let mut center = Center::start(&place.net, 8, &folder, true);
    let hello = center.hello().await;
    assert_eq!(hello.held.len(), 1);
    let first = center.telemetry().await.second;
    assert!(first <= told, "{first} {told}");
    for next in first + 1..first + 4 {
        assert_eq!(center.telemetry().await.second, next);
    }
    assert_eq!(place.one.tables().transactions, before.transactions);

    drop(place.first.take());
    std::fs::remove_file(place.net.path("status1")).unwrap();
    place.first = Some(place.net.start_logged(1, "sg"));
    let running = |status: &serde_json::Value| {
        status["state"] == "running" && status["version"].as_u64() > Some(0)
    };
    place.net.until(1, running).await;
    assert_eq!(center.hello().await.held.len(), 1);
    assert_eq!(
        place.one.tables().transactions,
        before.transactions,
        "the policy still holds, and nothing was told again"
    );
    // Taken back.
    center.order(&policy(9, 0, &[])).await;
    place.is(false, &PLAIN).await;
}

#[tokio::test]
async fn nobody_but_a_center_is_told_anything() {
    let place = Place::new(32).await;
    // It has the name that TLS looks for only if the root certified a center.
    let identity = Identity::Authority("spa7".into());
    let folder = place.net.credentials(&identity, "spa7");
    let mut center = Center::start(&place.net, 8, &folder, true);
    let first = place.first.as_ref().unwrap();
    let refused = |line: &str| {
        line.contains("no scheduling center") && line.contains("scheduling.dmsc.internal")
    };
    first.until("it is not believed", refused).await;
    assert!(center.heard_nothing());
}

/// Bytes of a second's rows, in all and to each member.
fn told(telemetry: &dmsc_proto::v1::Telemetry) -> (u64, Vec<(u32, u64)>) {
    let rows = &telemetry.prefixes;
    let members = rows.iter().flat_map(|row| &row.by_member);
    (
        rows.iter().map(|row| row.bytes).sum(),
        members.map(|one| (one.node, one.bytes)).collect(),
    )
}

#[tokio::test]
async fn what_enters_is_told_once_by_member_and_that_it_ended() {
    let place = Place::new(34).await;
    let folder = credentials(&place.net, "scsc1");
    let mut center = Center::start(&place.net, 8, &folder, true);
    let mut decoder = Decoder::new(NodeId(1));
    let mut reported = |telemetry: &dmsc_proto::v1::Telemetry| {
        let mut all = Vec::new();
        let take = |pair: dmsc_scsc::Pair, report: &dmsc_scsc::Report| {
            if report.bytes > 0 {
                all.push((pair.member.0, report.bytes));
            }
        };
        decoder.read(&telemetry.reports, take).unwrap();
        all
    };
    loop {
        let telemetry = center.telemetry().await;
        assert_eq!(told(&telemetry), (0, Vec::new()));
        assert_eq!(reported(&telemetry), []);
        if !telemetry.prefixes.is_empty() {
            break;
        }
    }
    place.one.count(&name("/shop/a"), 2, 100, 1_000);
    place.one.count(&name("/shop/a"), 3, 50, 1_000);
    // Two seconds, if it was counted in between.
    let (mut bytes, mut members, mut reports) = (0, [0, 0], [0, 0]);
    let mut ended = false;
    while !ended {
        let telemetry = center.telemetry().await;
        let (all, by_member) = told(&telemetry);
        bytes += all;
        for (sums, list) in [
            (&mut members, by_member),
            (&mut reports, reported(&telemetry)),
        ] {
            for (member, bytes) in list {
                sums[member as usize - 2] += bytes;
            }
        }
        ended = bytes == 150_000 && telemetry.prefixes.iter().any(|row| row.bytes == 0);
    }
    assert_eq!((members, reports), ([100_000, 50_000], [100_000, 50_000]));
    assert_eq!(center.telemetry().await.prefixes, [], "and no more");

    // Not acknowledged: told again to another process of the center, in sum neither more nor less.
    drop(center);
    let mut center = Center::start(&place.net, 8, &folder, false);
    center.hello().await;
    place.one.count(&name("/shop/a"), 3, 40, 1_000);
    while told(&center.telemetry().await).0 == 0 {}
    drop(center);
    let mut center = Center::start(&place.net, 8, &folder, true);
    place.one.count(&name("/shop/a"), 3, 2, 1_000);
    let mut again = 0;
    while again < 42_000 {
        again += told(&center.telemetry().await).0;
    }
    assert_eq!(again, 42_000);
}

#[tokio::test]
async fn measured_delay_moves_calls_by_the_engine_of_the_center() {
    let place = Place::new(33).await;
    let folder = credentials(&place.net, "scsc1");
    let mut center = Center::start(&place.net, 8, &folder, true);
    let level = |raise, clear| Some(Level { raise, clear });
    let thresholds = Thresholds {
        delay_us: level(20_000, 15_000),
        ..Thresholds::default()
    };
    let mut scsc = Scsc::new(ScscConfig::default()).unwrap();
    let group = scsc.group(Domain(1), NameBuf::parse("/shop/a").unwrap(), thresholds);
    let mut decoder = Decoder::new(NodeId(1));
    let ids = |list: &[u32]| list.iter().map(|id| NodeId(*id)).collect::<Vec<_>>();
    let (start, mut seconds, mut slow_since) = (Instant::now(), 0, None);
    let limit = Instant::now() + Duration::from_secs(25);
    let (mut is_first, mut rate_kbps, mut steps) = (true, 0, Vec::new());
    let ack = loop {
        assert!(Instant::now() < limit, "not in time");
        let telemetry = match center.hear().await {
            dmsc_proto::v1::gateway_message::Message::Telemetry(telemetry) => telemetry,
            dmsc_proto::v1::gateway_message::Message::PolicyAck(ack) => {
                if steps.last() == Some(&0) {
                    break ack;
                }
                continue;
            }
            dmsc_proto::v1::gateway_message::Message::Hello(_) => continue,
        };
        place.one.count(&name("/shop/a"), 2, 250, 1_000);
        for row in &telemetry.prefixes {
            assert_eq!((row.name.clone(), row.domain), (name("/shop/a"), 1));
            if row.members.len() == 2 {
                assert!(row.others.is_empty(), "equally far");
                let plain = ids(&row.members);
                if std::mem::take(&mut is_first) {
                    scsc.caller(GroupId(0), NodeId(1), &plain, &plain);
                }
                scsc.traffic(group, NodeId(1), row.bytes / 125);
                rate_kbps = row.bytes / 125;
            }
        }
        let now = start.elapsed();
        let mut answered = 0;
        decoder
            .read(&telemetry.reports, |pair, report| {
                answered += report.answered;
                scsc.report(now, pair, report);
            })
            .unwrap();
        seconds += u32::from(answered >= 2);
        if seconds == 3 && slow_since.is_none() {
            // 30 ms are added to one instance's path.
            place.one.round_trip(2, 30_100_000);
            slow_since = Some(Instant::now());
        }
        for order in scsc.step(now) {
            assert!(slow_since.is_some(), "quiet before: {:?}", order.policy);
            assert!(rate_kbps >= 2_000, "the gateway told its rate: {rate_kbps}");
            let of = |id| {
                let all = order.policy.shares.iter();
                let all = all.filter(|share| share.gateway == NodeId(id));
                all.map(|share| u32::from(share.weight)).sum::<u32>()
            };
            assert_eq!(of(2) + of(3), 1_000);
            steps.push(of(2));
            let signed = center.sign(&order.policy);
            center.say(signed).await;
        }
    };
    assert!(ack.generation > 0, "{}", ack.refused);
    let took = slow_since.unwrap().elapsed();
    place
        .one
        .until(|tables| {
            weights(tables).is_some_and(|(weighted, all)| {
                let of = |id| all.iter().find(|one| one.0 == id).map_or(0, |one| one.1);
                weighted && of(3) > 0 && of(2) == 0
            })
        })
        .await;
    assert!(took < Duration::from_secs(9), "{took:?}");
    // Of what the gateway counts a quarter a step.
    assert_eq!(steps, [250, 0]);
}

#[tokio::test]
async fn a_center_that_the_root_took_back_is_obeyed_no_more() {
    let place = Place::new(35).await;
    let folder = credentials(&place.net, "scsc1");
    let mut center = Center::start(&place.net, 8, &folder, true);
    center.hello().await;
    center.order(&policy(1, 3_000_000, &[(2, 0), (3, 5)])).await;
    place.is(true, &[(3, 5)]).await;
    // Given to another gateway: it is flooded.
    let stolen = dmsc_spa::credentials::Credentials::load(&folder).unwrap();
    let key = stolen.signing_key().unwrap().public_key();
    let now_s = dmsc_node::clock::wall().as_secs();
    let statement = place.net.root.revoke_keys(&[key], "stolen", now_s).unwrap();
    let by_hand = place.net.path("state2/root-revocations/stolen.bin");
    std::fs::write(by_hand, statement).unwrap();
    place._others.2.signal(Signal::SIGHUP);
    // At once: long before the policy is over.
    place.is(false, &PLAIN).await;
    let first = place.first.as_ref().unwrap();
    let refused = |line: &str| line.contains("its certificate is not taken: revoked by the root");
    first.until("it is not heard again", refused).await;
    // Nor after a restart; another center is.
    drop(center);
    let mut place = place;
    drop(place.first.take());
    place.first = Some(place.net.start_logged(1, "sg"));
    let folder = credentials(&place.net, "scsc2");
    let mut center = Center::start(&place.net, 8, &folder, true);
    assert_eq!(center.hello().await.held.len(), 0);
    center.order(&policy(2, 60_000, &[(2, 1), (3, 3)])).await;
    place.is(true, &[(2, 1), (3, 3)]).await;
}

/// Gateway 1 alone, with a pod of its own that serves /shop/a; tells a center.
#[tokio::test]
async fn a_center_hears_how_the_services_of_a_gateway_are() {
    let net = Net::new(37);
    let authorities = format!("authorities = [\"{}:35032\"]\n", net.address(9));
    let centers = format!("[scheduling]\ncenters = [\"{}:35034\"]\n", net.address(8));
    net.write(1, "sg", &[], &(authorities + &centers));
    let _spa = Spa::start(&net, "spa1", 9, POLICY);
    let dataplane = net.dataplane(1, "sg", 0).await;
    let _gateway = net.start_logged(1, "sg");
    let folder = credentials(&net, "scsc1");
    let mut center = Center::start(&net, 8, &folder, true);
    center.hello().await;
    let mut pod = Pod::new(&net, 1, "pod2/a").await;
    let reply = pod.register(4_000, &["/shop/a"]).await.unwrap();

    // It knows no probes: its lease is alive, and it said nothing else.
    let heard = service(&mut center, |one| one.instances == 1).await;
    assert_eq!((heard.name, heard.domain), (name("/shop/a"), 1));
    assert_eq!(
        (heard.health, heard.healthy, heard.load_permille),
        (0, 1, 0)
    );
    let said = dmsc_proto::v1::HealthRequest {
        lease: reply.lease,
        state: "overloaded".into(),
    };
    pod.client.health(said).await.unwrap();
    service(&mut center, |one| (one.health, one.healthy) == (2, 0)).await;
    // It knows them, and says it is busy; then that it has more than it can do.
    dataplane.state(reply.attachment, 0, 700);
    let heard = service(&mut center, |one| one.load_permille == 700).await;
    assert_eq!((heard.health, heard.healthy), (0, 1));
    let delay = dmsc_scsc::ServiceState::delay_from(&heard.delay).unwrap();
    // 100 µs there and back, of which it had the probe for 10.
    assert!(
        (87..93).contains(&delay.quantile(500).unwrap()),
        "{delay:?}"
    );
    dataplane.state(reply.attachment, 2, 1_000);
    service(&mut center, |one| {
        (one.health, one.load_permille) == (2, 1_000)
    })
    .await;
    // Another process of the center is told from the beginning.
    drop(center);
    let mut center = Center::start(&net, 8, &folder, true);
    center.hello().await;
    service(&mut center, |one| one.health == 2).await;
    let all = dmsc_proto::v1::WithdrawRequest {
        lease: reply.lease,
        prefixes: vec![],
    };
    pod.client.withdraw(all).await.unwrap();
    service(&mut center, |one| one.instances == 0).await;
}

/// The first word of /shop/a that is so.
async fn service(
    center: &mut Center,
    is: impl Fn(&dmsc_proto::v1::ServiceState) -> bool,
) -> dmsc_proto::v1::ServiceState {
    let wait = async {
        loop {
            let told = center.telemetry().await.services;
            if let Some(one) = told.into_iter().find(&is) {
                return one;
            }
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(20), wait).await;
    told.expect("told in time")
}

#[tokio::test]
async fn reports_say_what_is_left_of_the_links_on_the_way() {
    let place = Place::new(38).await;
    let folder = credentials(&place.net, "scsc1");
    let mut center = Center::start(&place.net, 8, &folder, true);
    let mut decoder = Decoder::new(NodeId(1));
    let limit = Instant::now() + Duration::from_secs(30);
    // Nobody measures at first; then 70 of 100 Mbit/s leave by the port of both links; then 97.
    // What is told is right to ten points, and to the half where little is left.
    let stages = [(0, u64::MAX, 0), (70, 30_000, 10_000), (97, 3_000, 3_000)];
    let mut stages = stages.into_iter();
    let (mut used, mut left, mut margin) = stages.next().unwrap();
    loop {
        assert!(Instant::now() < limit, "{used} Mbit/s: not in time");
        let telemetry = center.telemetry().await;
        let mut right = 0;
        decoder
            .read(&telemetry.reports, |pair, report| {
                let near = report.available_kbps.abs_diff(left) <= margin;
                let link = report.narrowest;
                // Node 1's adjacency 1 leads to gateway 2, and 2 to 3.
                let on_the_way = (link.node.0, u32::from(link.port.0)) == (1, pair.member.0 - 1);
                right += u32::from(near && (on_the_way || left == u64::MAX));
            })
            .unwrap();
        if right < 2 {
            continue;
        }
        let Some(next) = stages.next() else {
            return;
        };
        (used, left, margin) = next;
        place.one.links(Links {
            round_trip_ns: 2_000_000,
            capacity_mbps: 100,
            used_mbps: used,
        });
    }
}
