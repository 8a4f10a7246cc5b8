//! `dmsc-controlplane scsc`: gateways speak to it over real TLS.

mod hand;
mod page;
mod scene;

use std::time::Duration;

use dmsc_node::scsc::config::CenterConfig;
use dmsc_node::scsc::state::MAX_GROUPS_EACH;
use dmsc_proto::v1::center_message::Message as Down;
use dmsc_proto::v1::gateway_message::Message as Up;
use dmsc_proto::v1::*;
use dmsc_scsc::Held;
use dmsc_scsc::store::Store;
use dmsc_spa::pki::now_s;
use dmsc_wire::NameBuf;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::Code;

use scene::{Scene, hello, traffic};

const BAD_US: u32 = 90_000;

#[tokio::test]
async fn what_is_slow_is_left_and_the_acknowledgement_is_shown() {
    let scene = Scene::new();
    let running = scene.center(1).await;
    let mut gateway = scene.gateway(&running, 11).await;
    assert_eq!((gateway.hello.version, gateway.hello.replica), (1, 1));
    let (policy, _) = gateway.until_policy(BAD_US).await;
    assert_eq!(policy.gateway, gateway.node);
    assert_eq!(
        (policy.area, policy.prefix.to_string().as_str()),
        (3, "/shop")
    );
    let best = policy.shares.iter().max_by_key(|share| share.weight);
    assert_eq!(best.map(|share| share.gateway.0), Some(2));
    assert!(
        policy.reason.contains("delay 88.0 ms ≥ 50.0 ms"),
        "{}",
        policy.reason
    );
    let rank = policy.rank;
    let ack = PolicyAck {
        id: rank.id.0,
        epoch: rank.epoch.0,
        replica: rank.replica.0,
        generation: 77,
        refused: String::new(),
    };
    let ack = GatewayMessage {
        message: Some(Up::PolicyAck(ack)),
    };
    gateway.sender.send(ack).await.expect("stream");
    // What comes after it is answered: the acknowledgement was taken.
    gateway.second(BAD_US).await;
    gateway.next().await.expect("answer");
    let policies = running.center.policies();
    assert_eq!(policies[0].0.acks[&gateway.node], Ok(77));
    let mut stream = tokio::net::TcpStream::connect(running.metrics.expect("metrics"))
        .await
        .expect("connect");
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\n\r\n")
        .await
        .expect("ask");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("read");
    assert!(text.contains("dmsc_scsc_policies_in_force 1"), "{text}");
    assert!(text.contains("dmsc_scsc_pairs 4"), "{text}");
    for line in [
        "dmsc_scsc_policies_by_hand 0",
        "dmsc_scsc_decisions_total 1",
        "dmsc_scsc_worst_delay_microseconds{rank=\"1\"} 88064",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[tokio::test]
async fn strangers_and_others_areas_are_refused_in_words() {
    let scene = Scene::new();
    let running = scene.center(1).await;
    let dial = async |identity: &str, change: &dyn Fn(&mut GatewayHello)| {
        let mut greeting = hello(11);
        change(&mut greeting);
        let refused = scene.dial(running.address, identity, greeting).await;
        refused.err().expect("refused")
    };
    let same = &|_: &mut GatewayHello| {};
    for identity in ["pod/pod1/a", "operator/admin/eva", "spa/spa1", "node/12/sg"] {
        if identity != "spa/spa1" {
            let status = dial(identity, same).await;
            assert_eq!(
                status.code(),
                Code::PermissionDenied,
                "{identity}: {status}"
            );
        }
    }
    let status = dial("node/11/sg", &|hello| hello.area = 4).await;
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(
        status
            .message()
            .contains("is of area 3, the caller of area 4"),
        "{status}"
    );
    let status = dial("node/11/sg", &|hello| hello.version_min = 2).await;
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    // Of another root: TLS does not even begin.
    let other = Scene::new();
    let refused = other.dial(running.address, "node/11/sg", hello(11)).await;
    assert!(refused.is_err());
    assert_eq!(running.center.counts().streams, 0);
}

#[tokio::test]
async fn a_service_that_says_it_is_overloaded_gets_no_calls() {
    let scene = Scene::new();
    let running = scene.center(1).await;
    let mut caller = scene.gateway(&running, 11).await;
    caller.second(10_000).await;
    caller.next().await.expect("acknowledged");
    // The near member speaks for the service that lives with it, and for no other gateway's.
    let mut member = scene.gateway(&running, 1).await;
    member.serves(2).await;
    member.next().await.expect("acknowledged");
    let (policy, _) = caller.until_policy(10_000).await;
    assert_eq!(policy.gateway, caller.node);
    let share = |gateway| {
        let of = policy.shares.iter().filter(|one| one.gateway.0 == gateway);
        of.map(|one| u32::from(one.weight)).sum::<u32>()
    };
    assert_eq!((share(1), share(2)), (0, 1_000));
    let reason = &policy.reason;
    assert!(reason.contains("1 says that it is overloaded"), "{reason}");
    // A state that is none ends the stream that tells it.
    member.serves(3).await;
    let status = member.next().await.expect_err("ended");
    assert!(
        status.message().starts_with("services[0]: health 3"),
        "{status}"
    );
}

#[tokio::test]
async fn malformed_telemetry_ends_its_stream_only() {
    let scene = Scene::new();
    let running = scene.center(1).await;
    let mut good = scene.gateway(&running, 12).await;
    let mut wrong = traffic();
    wrong.name = b"no name".to_vec();
    let mut many = traffic();
    many.members = vec![1; 65];
    for (telemetry, word) in [
        (
            Telemetry {
                second: 1,
                reports: vec![7; 9],
                prefixes: vec![traffic()],
                ..Telemetry::default()
            },
            "entry 0 is damaged",
        ),
        (
            Telemetry {
                second: 1,
                reports: vec![0, 1, 9],
                prefixes: vec![],
                ..Telemetry::default()
            },
            "entry 0 is damaged",
        ),
        (
            Telemetry {
                second: 1,
                reports: vec![],
                prefixes: vec![traffic(), wrong],
                ..Telemetry::default()
            },
            "prefixes[1]",
        ),
        (
            Telemetry {
                second: 1,
                reports: vec![],
                prefixes: vec![many],
                ..Telemetry::default()
            },
            "members",
        ),
    ] {
        let mut gateway = scene.gateway(&running, 11).await;
        gateway.tell(telemetry).await;
        let status = gateway.next().await.expect_err("ended");
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(word), "{status}");
        assert_eq!(running.center.counts().groups, 0);
    }
    let mut again = scene.gateway(&running, 11).await;
    again.second(10_000).await;
    again.next().await.expect("acknowledged");
    again.second = 0;
    again.second(10_000).await;
    let status = again.next().await.expect_err("ended");
    assert!(
        status.message().contains("second 1 comes again"),
        "{status}"
    );
    good.second(10_000).await;
    good.next().await.expect("goes on");
}

#[tokio::test]
async fn a_restart_goes_on_with_what_is_in_force() {
    let scene = Scene::new();
    let running = scene.center(1).await;
    let mut gateway = scene.gateway(&running, 11).await;
    let (before, signed) = gateway.until_policy(BAD_US).await;
    running.center.save_now();
    drop((running, gateway));
    let running = scene.center(1).await;
    assert!(running.center.epoch() > before.rank.epoch);
    // Who does not hold it gets it, as it was signed.
    let mut other = scene.gateway(&running, 11).await;
    let (again, same) = other.policy().await;
    assert_eq!((&again, &same), (&before, &signed));
    drop(other);
    // Who holds it is not told again, and what it does is not taken back.
    let mut greeting = hello(11);
    greeting.held = vec![HeldPolicy {
        statement_sha256: dmsc_spa::statement::sha256(&signed.statement).to_vec(),
        left_ms: 16_000,
    }];
    let mut gateway = scene
        .dial(running.address, "node/11/sg", greeting)
        .await
        .expect("connected");
    let (renewed, _) = gateway.until_policy(BAD_US).await;
    assert_eq!(renewed.shares, before.shares);
    assert!(renewed.rank > before.rank && !renewed.ttl.is_zero());
}

#[tokio::test]
async fn of_two_replicas_the_later_start_counts() {
    let scene = Scene::new();
    let (one, two) = (scene.center(1).await, scene.center(2).await);
    let mut first = scene.gateway(&one, 11).await;
    let mut second = scene.gateway(&two, 11).await;
    let (from_one, _) = first.until_policy(BAD_US).await;
    let (from_two, _) = second.until_policy(BAD_US).await;
    let mut held = Held::new(first.node, 3);
    let now = Duration::from_secs(1);
    let greater = from_one.rank.max(from_two.rank);
    let (domain, prefix) = (from_one.domain, from_one.prefix.clone());
    held.accept(now, from_two).expect("accepted");
    held.accept(now, from_one).expect("accepted");
    let active = held.active(now, domain, prefix.as_name()).expect("active");
    assert_eq!(active.rank, greater);
}

#[tokio::test]
async fn a_reload_changes_thresholds_or_nothing() {
    let scene = Scene::new();
    let running = scene.center(1).await;
    let path = scene.file(1, 200);
    running
        .center
        .reload(CenterConfig::load(&path))
        .expect("reloaded");
    let mut gateway = scene.gateway(&running, 11).await;
    for _ in 0..8 {
        gateway.second(BAD_US).await;
        gateway.next().await.expect("acknowledged");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(
        running.center.counts().policies,
        0,
        "below the new threshold"
    );
    let text = std::fs::read_to_string(&path).expect("read");
    for (from, to, told) in [
        (
            "raise = 200",
            "raise = 1",
            "scsc1.toml:13: [[threshold]] delay",
        ),
        (
            "area = 3",
            "area = 4",
            "area: can only be changed by a restart",
        ),
    ] {
        std::fs::write(&path, text.replace(from, to)).expect("write");
        let error = running
            .center
            .reload(CenterConfig::load(&path))
            .expect_err("refused");
        assert!(error.to_string().contains(told), "{error}");
    }
    let path = scene.file(1, 50);
    running
        .center
        .reload(CenterConfig::load(&path))
        .expect("reloaded");
    gateway.until_policy(BAD_US).await;
}

#[tokio::test]
async fn more_groups_than_there_is_room_for_cost_nothing_else() {
    let scene = Scene::new();
    let running = scene.center(1).await;
    let mut gateway = scene.gateway(&running, 11).await;
    let group = |at: usize| {
        let name = NameBuf::parse(&format!("/s/{at}")).expect("name");
        PrefixTraffic {
            name: name.as_bytes().to_vec(),
            ..traffic()
        }
    };
    // More than a message holds, over three of them; more than a gateway may have.
    let parts = [0..2_500, 2_500..4_000, 4_000..4_200];
    for (second, part) in (1..).zip(parts) {
        let prefixes = part.map(group).collect();
        gateway
            .tell(Telemetry {
                second,
                prefixes,
                ..Telemetry::default()
            })
            .await;
        let answer = gateway.next().await.expect("goes on").message;
        assert!(matches!(answer, Some(Down::TelemetryAck(ack)) if ack.second == second));
        gateway.second = second;
    }
    let center = &running.center;
    assert_eq!(center.counts().groups, MAX_GROUPS_EACH);
    assert_eq!(center.metrics.refused_groups.get(), 1);
    // The rest of its telemetry counts: /shop, with one group less, is judged.
    gateway.second += 1;
    let gone = PrefixTraffic {
        members: Vec::new(),
        others: Vec::new(),
        ..group(0)
    };
    gateway
        .tell(Telemetry {
            second: gateway.second,
            prefixes: vec![gone],
            ..Telemetry::default()
        })
        .await;
    gateway.next().await.expect("acknowledged");
    let (policy, _) = gateway.until_policy(BAD_US).await;
    assert_eq!(policy.prefix.to_string(), "/shop");
    // Another gateway has room, and none may say too much at once.
    let mut other = scene.gateway(&running, 12).await;
    let prefixes = (0..4_097).map(group).collect();
    other
        .tell(Telemetry {
            second: 1,
            prefixes,
            ..Telemetry::default()
        })
        .await;
    let status = other.next().await.expect_err("ended");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(
        status.message().contains("more than 4096 prefixes"),
        "{status}"
    );
}

#[tokio::test]
async fn a_node_that_the_root_took_back_is_heard_no_more() {
    let scene = Scene::new();
    let running = scene.center(1).await;
    let mut stolen = scene.gateway(&running, 11).await;
    let mut good = scene.gateway(&running, 12).await;
    stolen.until_policy(BAD_US).await;
    good.second(10_000).await;
    good.next().await.expect("acknowledged");
    let revoked = |node: &str| {
        let key = scene.credentials(node).signing_key().expect("key");
        scene
            .root
            .revoke_keys(&[key.public_key()], "stolen", now_s())
            .expect("signed")
    };
    let statement = revoked("node/11/sg");
    let mut forged = statement.to_vec();
    forged[9] ^= 1;
    assert!(running.center.give_root_revocation(&forged).is_err());
    let given = running.center.give_root_revocation(&statement);
    assert_eq!(given.expect("taken"), ("1 key: stolen".to_owned(), false));
    // At once, though it says nothing; and nothing is left of it.
    let status = loop {
        if let Err(status) = stolen.next().await {
            break status;
        }
    };
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    let counts = running.center.counts();
    assert_eq!((counts.streams, counts.policies, counts.groups), (1, 0, 1));
    let refused = scene.dial(running.address, "node/11/sg", hello(11)).await;
    let status = refused.err().expect("refused");
    assert!(status.message().contains("revoked by the root"), "{status}");
    good.second(10_000).await;
    good.next().await.expect("goes on");
    // Remembered; and one that is put into the folder counts with the next SIGHUP.
    drop((running, good));
    let running = scene.center(1).await;
    let refused = scene.dial(running.address, "node/11/sg", hello(11)).await;
    assert!(refused.is_err());
    let mut other = scene.gateway(&running, 12).await;
    let folder = scene.folder.path().join("state1/root-revocations");
    std::fs::write(folder.join("hand.bin"), revoked("node/12/sg")).expect("write");
    let config = CenterConfig::load(&scene.file(1, 50));
    running.center.reload(config).expect("reloaded");
    assert!(other.next().await.is_err());
    assert!(!running.center.is_revoked());
    let own = running.center.give_root_revocation(&revoked("scsc/scsc1"));
    assert!(own.is_ok() && running.center.is_revoked());
}

#[tokio::test]
async fn decisions_are_written_down() {
    let scene = Scene::new();
    let running = scene.center(1).await;
    let mut gateway = scene.gateway(&running, 11).await;
    gateway.until_policy(BAD_US).await;
    running.center.save_now();
    let store = Store::open(&scene.folder.path().join("state1")).expect("store");
    let decisions = store.decisions(0, u64::MAX);
    assert_eq!(decisions.len(), 1);
    assert!(decisions[0].1.contains("/shop at gateway 11: to 1 delay"));
    assert_eq!(running.center.metrics.unwritten_decisions.get(), 0);
}

#[test]
fn the_example_is_a_configuration() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conf/scsc.toml");
    let config = CenterConfig::load(path.as_ref()).expect("good");
    assert_eq!(config.rules.len(), 2);
}
