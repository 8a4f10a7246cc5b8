//! Instances that come and go at one gateway, over TLS: what a Resolve stream tells of them, and what notices first that one is gone.

mod model;
mod net;

use std::time::{Duration, Instant};

use dmsc_proto::v1;
use model::Dataplane;
use net::authority::Spa;
use net::pod::{Pod, name};
use net::{Net, Process};
use tonic::{Code, Streaming};

const POLICY: &str = "[[policy]]\nidentity = \"pod1/*\"\nsubtrees = [\"/shop/a\"]\n";

struct One {
    net: Net,
    dataplane: Dataplane,
    _process: Process,
    _spa: Spa,
}

impl One {
    async fn new(number: u8) -> Self {
        let net = Net::new(number);
        let authorities = format!("authorities = [\"{}:35032\"]\n", net.address(9));
        net.write(1, "sg", &[2], &authorities);
        let dataplane = net.dataplane(1, "sg", 0).await;
        let _spa = Spa::start(&net, "spa1", 9, POLICY);
        let _process = net.start(1, "sg");
        Self {
            net,
            dataplane,
            _process,
            _spa,
        }
    }
}

/// The next answer, as (attachment, health) of each instance.
async fn next(stream: &mut Streaming<v1::ResolveReply>) -> Vec<(u32, String)> {
    let wait = tokio::time::timeout(Duration::from_secs(10), stream.message());
    let reply = wait.await.expect("in time").unwrap().expect("an answer");
    let told = reply.instances.into_iter();
    told.map(|one| (one.attachment, one.health)).collect()
}

async fn until(stream: &mut Streaming<v1::ResolveReply>, wanted: &[(u32, &str)]) {
    loop {
        let told = next(stream).await;
        let told: Vec<(u32, &str)> = told.iter().map(|(id, word)| (*id, word.as_str())).collect();
        if told == wanted {
            return;
        }
    }
}

#[tokio::test]
async fn a_resolve_stream_tells_what_changes_until_the_lease_ends() {
    let place = One::new(22).await;
    let mut pod = Pod::new(&place.net, 1, "pod1/a").await;
    let mut other = Pod::new(&place.net, 1, "pod1/b").await;
    let lease = pod.register(4_000, &["/shop/a"]).await.unwrap().lease;
    let request = || v1::ResolveRequest {
        lease,
        name: name("/shop/a/x"),
    };
    let mut stream = pod.client.resolve(request()).await.unwrap().into_inner();
    until(&mut stream, &[(1, "serving")]).await;
    let theirs = other.register(4_001, &["/shop/a"]).await.unwrap();
    assert_eq!(theirs.attachment, 2);
    until(&mut stream, &[(1, "serving"), (2, "serving")]).await;
    let health = v1::HealthRequest {
        lease: theirs.lease,
        state: "draining".into(),
    };
    other.client.health(health).await.unwrap();
    until(&mut stream, &[(1, "serving"), (2, "draining")]).await;
    place.dataplane.tell(2, "unreachable").await;
    until(&mut stream, &[(1, "serving"), (2, "unreachable")]).await;
    let withdraw = |lease| v1::WithdrawRequest {
        lease,
        prefixes: vec![],
    };
    other.client.withdraw(withdraw(theirs.lease)).await.unwrap();
    until(&mut stream, &[(1, "serving")]).await;

    // The lease is of the certificate that registered it, from the same address or not.
    let status = other.client.resolve(request()).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status}");
    // It has so many streams, and no more.
    let mut held = Vec::new();
    let status = loop {
        match pod.client.resolve(request()).await {
            Ok(stream) => held.push(stream),
            Err(status) => break status,
        }
        assert!(held.len() < 24);
    };
    assert_eq!((status.code(), held.len()), (Code::ResourceExhausted, 23));
    pod.client.withdraw(withdraw(lease)).await.unwrap();
    let ended = loop {
        match stream.message().await {
            Ok(reply) => assert!(reply.is_some(), "an end without a word"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::NotFound, "{ended}");
}

/// Three pods fall silent at once: one whose port is unreachable, one that only answers no echo, and one whose lease nobody refreshes.
async fn silent(number: u8, to_the_end: bool) {
    let place = One::new(number).await;
    let names = ["/shop/a/icmp", "/shop/a/probe", "/shop/a/lease"];
    for (port, text) in (4_000..).zip(names) {
        let mut pod = Pod::new(&place.net, 1, &format!("pod1/{port}")).await;
        let reply = pod.register(port, &[text]).await.unwrap();
        assert_eq!(reply.attachment, port - 3_999);
    }
    let there = |text: &str| {
        let tables = place.dataplane.tables();
        tables.prefixes.contains_key(&name(text))
    };
    let all = |tables: &model::Tables| tables.prefixes.len() == 3;
    place.dataplane.until(all).await;
    // Only who ever answered an echo is judged by it: ten rounds of probes.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    place.dataplane.silence(2, true);
    place.dataplane.tell(1, "unreachable").await;
    let limit = Duration::from_secs(if to_the_end { 40 } else { 5 });
    let mut gone: Vec<(&str, Duration)> = Vec::new();
    while gone.len() < if to_the_end { 3 } else { 2 } {
        assert!(start.elapsed() < limit, "not in time: {gone:?}");
        for text in names {
            if !there(text) && !gone.iter().any(|(one, _)| *one == text) {
                gone.push((text, start.elapsed()));
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    eprintln!("{gone:?}");
    let order: Vec<&str> = gone.iter().map(|(text, _)| *text).collect();
    assert_eq!(order, names[..order.len()]);
    assert!(gone[0].1 < gone[1].1, "{gone:?}");
    assert!(to_the_end || there(names[2]), "a lease is the slowest");
}

/// A lease takes 30 s, which is left to [`the_lease_comes_last`]: here it is only seen to hold when the others are gone.
#[tokio::test]
async fn an_unreachable_port_is_noticed_before_a_probe_and_a_probe_before_the_lease() {
    silent(23, false).await;
}

#[tokio::test]
#[ignore = "takes half a minute; run by `make unit-long`, part of `make deep`"]
async fn the_lease_comes_last() {
    silent(24, true).await;
}
