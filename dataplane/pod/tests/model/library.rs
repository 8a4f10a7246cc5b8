//! Pods over a model gateway on loopback: one registrar and one UDP socket that delivers by name, with the real wire format.

use std::time::Duration;

use crate::gateway::Gateway;
use bytes::Bytes;
use dmsc_pod::{CallError, CallOptions, Health, Pod, PodConfig, PodError, Proofs};
use dmsc_wire::{
    AttachmentId, ErrorCode, Kind, NameBuf, NodeId, PacketBuilder, Probe, ProbeHealth, ProbeState,
};

fn name(text: &str) -> NameBuf {
    NameBuf::parse(text).unwrap()
}

async fn pod(gateway: &Gateway, identity: &str, names: &[&str]) -> Pod {
    Pod::connect(config(gateway, identity, names))
        .await
        .unwrap()
}

fn config(gateway: &Gateway, identity: &str, names: &[&str]) -> PodConfig {
    let mut config = PodConfig::new(gateway.registrar().into(), identity);
    config.prefixes = names.iter().map(|text| name(text)).collect();
    config
}

fn quick() -> CallOptions {
    CallOptions {
        timeout: Duration::from_millis(100),
        ..CallOptions::default()
    }
}

#[tokio::test]
async fn a_call_is_answered_by_the_pod_that_serves_the_name() {
    let gateway = Gateway::start().await;
    let server = pod(&gateway, "pod1/a", &["/shop/a"]).await;
    server.serve(|request| async move {
        assert_eq!(request.source_name.to_string(), "/id/pod1/c");
        let mut payload = request.payload;
        payload.reverse();
        payload
    });
    let client = pod(&gateway, "pod1/c", &[]).await;
    let answer = client
        .call(&name("/shop/a/v1"), b"abc", &CallOptions::default())
        .await
        .unwrap();
    assert_eq!(answer.payload, b"cba");
    assert_eq!(
        (answer.gateway, answer.attachment),
        (NodeId(1), AttachmentId(1))
    );
    assert_eq!(
        answer.source_name,
        name("/shop/a/v1"),
        "the name that was called"
    );

    // Pings need no handler, and record the way.
    let pong = client
        .ping(&name("/shop/a"), b"x", 4, &CallOptions::default())
        .await
        .unwrap();
    assert_eq!(
        pong.hops.iter().map(|hop| hop.node.0).collect::<Vec<_>>(),
        [1, 1]
    );
    assert_eq!(server.counts().requests, 1);
    assert_eq!(server.counts().echoes, 1);
    client.close().await.unwrap();
    server.close().await.unwrap();
    assert_eq!(gateway.attached(), 0);
}

#[tokio::test]
async fn slow_handlers_do_not_hold_up_others_and_late_answers_are_strays() {
    let gateway = Gateway::start().await;
    let server = pod(&gateway, "pod1/a", &["/shop/a"]).await;
    let release = std::sync::Arc::new(tokio::sync::Notify::new());
    let handler_release = release.clone();
    server.serve(move |request| {
        let release = handler_release.clone();
        async move {
            if request.payload == b"slow" {
                release.notified().await;
            }
            request.payload
        }
    });
    let client = pod(&gateway, "pod1/c", &[]).await;
    let slow = client
        .call(&name("/shop/a"), b"slow", &quick())
        .await
        .unwrap_err();
    assert!(matches!(slow, CallError::Timeout(_)));
    client
        .call(&name("/shop/a"), b"fast", &quick())
        .await
        .unwrap();
    release.notify_one();
    // The late answer is sent before this one.
    while client.counts().stray == 0 {
        client
            .call(&name("/shop/a"), b"fast", &quick())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn errors_of_routers_and_limits_of_the_pod_are_told_apart() {
    let gateway = Gateway::start().await;
    let client = pod(&gateway, "pod1/c", &[]).await;
    let error = client
        .call(&name("/shop/nobody"), b"", &quick())
        .await
        .unwrap_err();
    assert!(
        matches!(error, CallError::NoRoute { node: NodeId(1) }),
        "{error}"
    );
    gateway.answer_with(Some(ErrorCode::TooBig));
    let error = client
        .call(&name("/shop/nobody"), b"", &quick())
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            CallError::TooBig {
                max: 1_400,
                node: Some(NodeId(1))
            }
        ),
        "{error}"
    );
    let error = client
        .call(&name("/shop/a"), &[0; 2_000], &quick())
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            CallError::TooBig {
                max: 1_472,
                node: None
            }
        ),
        "{error}"
    );

    let mut config = config(&gateway, "pod1/d", &[]);
    config.calls_in_flight = 1;
    let client = Pod::connect(config).await.unwrap();
    gateway.swallow();
    let (name, options) = (name("/shop/a"), quick());
    let (one, two) = tokio::join!(
        client.call(&name, b"", &options),
        client.call(&name, b"", &options)
    );
    let mut codes = [one.unwrap_err().code(), two.unwrap_err().code()];
    codes.sort_unstable();
    assert_eq!(codes, ["busy", "timeout"]);
}

#[tokio::test]
async fn a_lost_registration_is_made_again_when_the_gateway_says_so() {
    let gateway = Gateway::start().await;
    let client = pod(&gateway, "pod1/c", &["/shop/c", "/other/c"]).await;
    let refused: Vec<String> = client
        .registered()
        .refused
        .iter()
        .map(|one| one.name.to_string())
        .collect();
    assert_eq!(refused, ["/other/c"]);
    client.set_health(Health::Draining).await.unwrap();
    let before = client.registered().lease;
    gateway.forget();
    gateway.answer_with(Some(ErrorCode::SourceNotOwned));
    let error = client
        .call(&name("/shop/a"), b"", &quick())
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::SourceNotOwned { .. }), "{error}");
    gateway.registered(2).await;
    while client.registered().lease == before || gateway.health() != "draining" {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn garbage_is_counted_and_hurts_nobody() {
    let gateway = Gateway::start().await;
    let server = pod(&gateway, "pod1/a", &["/shop/a"]).await;
    let client = pod(&gateway, "pod1/c", &[]).await;
    for length in 0..80_usize {
        gateway
            .send_raw(server.registered().attachment, &vec![0x10; length])
            .await;
    }
    // No handler yet: counted, not answered. Loopback keeps the order, so all garbage is in by then.
    let error = client
        .call(&name("/shop/a"), b"", &quick())
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::Timeout(_)));
    let counts = server.counts();
    assert_eq!((counts.malformed, counts.not_served), (80, 1));
    server.serve(|request| async move { request.payload });
    client.call(&name("/shop/a"), b"", &quick()).await.unwrap();
}

#[tokio::test]
async fn nobody_at_the_gateway_and_refusals_are_told() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut nobody = PodConfig::new(free.into(), "pod1/a");
    nobody.patience = Duration::ZERO;
    let error = Pod::connect(nobody).await.unwrap_err();
    assert!(matches!(error, PodError::Away { .. }), "{error}");

    let gateway = Gateway::start().await;
    let error = Pod::connect(config(&gateway, "stranger", &[]))
        .await
        .unwrap_err();
    assert!(matches!(error, PodError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("stranger"), "{error}");
}

#[tokio::test]
async fn what_proves_its_names_is_told_with_the_registration_and_with_refreshes() {
    let gateway = Gateway::start().await;
    let none = pod(&gateway, "pod1/n", &["/shop/n"]).await;
    assert_eq!(*none.proofs().borrow().clone(), Proofs::default());
    gateway.authorise(vec![b"first".to_vec()]);
    let server = pod(&gateway, "pod1/a", &["/shop/a"]).await;
    let mut proofs = server.proofs();
    let told = proofs.borrow_and_update().clone();
    assert_eq!(
        (told.version, &told.authorisations[..]),
        (1, &[Bytes::from("first")][..])
    );
    gateway.authorise(vec![b"second".to_vec(), vec![0; 65_537], b"third".to_vec()]);
    server.refresh();
    let changed = tokio::time::timeout(Duration::from_secs(10), proofs.changed()).await;
    changed.unwrap().unwrap();
    let told = proofs.borrow_and_update().clone();
    assert_eq!(told.version, 2);
    assert_eq!(
        told.authorisations,
        ["second", "third"].map(Bytes::from),
        "what is too long is left out"
    );
    // Registered again with the same list: nothing is news.
    let lease = server.registered().lease;
    gateway.forget();
    server.refresh();
    while server.registered().lease == lease {
        tokio::task::yield_now().await;
    }
    assert!(!proofs.has_changed().unwrap());
}

#[tokio::test]
async fn a_probe_is_told_how_the_service_is() {
    let gateway = Gateway::start().await;
    let mut config = config(&gateway, "pod1/a", &["/shop/a"]);
    config.requests_in_hand = 2;
    let server = Pod::connect(config).await.unwrap();
    let release = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let handler_release = release.clone();
    server.serve(move |request| {
        let release = handler_release.clone();
        async move {
            drop(release.acquire().await);
            request.payload
        }
    });
    let client = pod(&gateway, "pod1/c", &[]).await;
    let state = |health, load_permille| {
        Some(ProbeState {
            health,
            load_permille,
        })
    };
    let (at, served) = (AttachmentId(1), name("/shop/a"));
    let probe = gateway.probe(at, &served, 1).await;
    assert_eq!(probe.state, state(ProbeHealth::Healthy, 0));
    assert!(!probe.is_question() && probe.residence_ns().is_some());
    // Calls that their caller has given up are under way all the same.
    client.call(&served, b"", &quick()).await.unwrap_err();
    let probe = gateway.probe(at, &served, 2).await;
    assert_eq!(probe.state, state(ProbeHealth::Healthy, 500));
    client.call(&served, b"", &quick()).await.unwrap_err();
    let probe = gateway.probe(at, &served, 3).await;
    assert_eq!(probe.state, state(ProbeHealth::Overloaded, 1_000));
    release.add_permits(2);
    while client.counts().stray < 2 {
        tokio::task::yield_now().await;
    }
    server.set_health(Health::Draining).await.unwrap();
    let probe = gateway.probe(at, &served, 4).await;
    assert_eq!(probe.state, state(ProbeHealth::Draining, 0));
    // An answer, something else than a probe, and a name of somebody else: never answered, each counted.
    for (payload, to) in [
        (probe.payload().to_vec(), &served),
        (vec![0; 47], &served),
        (Probe::default().payload().to_vec(), &name("/shop/b")),
    ] {
        let packet = PacketBuilder::new(Kind::Probe)
            .destination(to.as_name())
            .source(name("/dmsc/1").as_name())
            .payload(&payload)
            .to_vec();
        gateway.send_raw(at, &packet.unwrap()).await;
    }
    // The service is of somebody who knows better.
    server.detect(|name| {
        assert_eq!(name.to_string(), "/shop/a/v1");
        dmsc_pod::detect::of_calls(1, 10)
    });
    let probe = gateway.probe(at, &name("/shop/a/v1"), 5).await;
    assert_eq!(probe.state, state(ProbeHealth::Draining, 100));
    let counts = server.counts();
    assert_eq!(
        (counts.probes, counts.unexpected, counts.malformed),
        (5, 1, 1)
    );
    assert_eq!(counts.not_served, 1);
}
