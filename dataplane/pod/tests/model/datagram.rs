//! Datagrams of two pods, beside their calls.

use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::task::{Poll, ready};
use std::time::Duration;

use dmsc_pod::{CallOptions, Datagrams, Pod, PodConfig, Towards};
use dmsc_wire::{AttachmentId, Class, Ecn, ErrorCode, FlowLabel, Kind, NameBuf, NodeId};

use crate::gateway::Gateway;

/// What was seen of a datagram.
#[derive(Debug)]
struct Seen {
    kind: Kind,
    name: NameBuf,
    source_name: NameBuf,
    at: (NodeId, AttachmentId),
    flow: FlowLabel,
    class: Class,
    ecn: Ecn,
    payload: Vec<u8>,
    error: Option<ErrorCode>,
}

async fn next(datagrams: &Datagrams) -> Seen {
    poll_fn(|context| {
        let mut seen = None;
        let mut look = |datagram: dmsc_pod::Datagram<'_>| {
            if seen.is_some() {
                return false;
            }
            seen = Some(Seen {
                kind: datagram.kind(),
                name: datagram.name().unwrap().to_owned(),
                source_name: datagram.source_name().unwrap().to_owned(),
                at: (datagram.gateway(), datagram.attachment()),
                flow: datagram.flow_label(),
                class: datagram.treatment().class,
                ecn: datagram.ecn(),
                payload: datagram.payload().to_vec(),
                error: datagram.error().map(|error| error.code),
            });
            true
        };
        ready!(datagrams.poll_recv(context, &mut look)).unwrap();
        Poll::Ready(seen.unwrap())
    })
    .await
}

/// Who has the datagrams of a pod receives for all of it.
async fn beside<T>(datagrams: [&Datagrams; 2], work: impl Future<Output = T>) -> T {
    tokio::select! {
        done = work => done,
        seen = next(datagrams[0]) => panic!("{seen:?}"),
        seen = next(datagrams[1]) => panic!("{seen:?}"),
    }
}

#[tokio::test]
async fn datagrams_go_there_and_back_with_flow_and_congestion_field() {
    let gateway = Gateway::start().await;
    let name = |text: &str| NameBuf::parse(text).unwrap();
    let mut config = PodConfig::new(gateway.registrar().into(), "pod1/a");
    config.prefixes = vec![name("/shop/a")];
    let server = Pod::connect(config).await.unwrap();
    server.serve(|request| async move { request.payload });
    let client = PodConfig::new(gateway.registrar().into(), "pod1/c");
    let client = Pod::connect(client).await.unwrap();
    let (ours, theirs) = (client.datagrams().unwrap(), server.datagrams().unwrap());
    assert!(client.datagrams().is_none(), "once");

    let called = name("/shop/a/v1");
    let towards = Towards::Name {
        name: called.as_name(),
        pin: None,
    };
    let flow = FlowLabel(0x1234_5678);
    let class = Class(5);
    ours.try_send(towards, flow, class, Ecn::Ect0, b"there")
        .unwrap();
    let datagram = next(&theirs).await;
    assert_eq!(
        (datagram.kind, &datagram.payload[..]),
        (Kind::Request, &b"there"[..])
    );
    assert_eq!((datagram.flow, datagram.ecn), (flow, Ecn::Ect0));
    assert_eq!(datagram.class, class);
    assert_eq!(datagram.name, called);
    let back = Towards::Caller {
        caller: datagram.source_name.as_name(),
        gateway: datagram.at.0,
        attachment: datagram.at.1,
        called: datagram.name.as_name(),
    };
    theirs
        .try_send(back, flow, class, Ecn::Ce, b"back")
        .unwrap();
    let answer = next(&ours).await;
    assert_eq!(
        (answer.kind, &answer.payload[..]),
        (Kind::Response, &b"back"[..])
    );
    assert_eq!((answer.flow, answer.ecn), (flow, Ecn::Ce));
    assert_eq!(answer.source_name, called);
    assert_eq!(answer.at.1, server.registered().attachment);

    // Calls are what they were.
    let options = CallOptions::default();
    let call = client.call(&called, b"call", &options);
    let answer = beside([&ours, &theirs], call).await;
    assert_eq!(answer.unwrap().payload, b"call");

    // What fits is what was said, and what routers say comes with the flow.
    let largest = vec![0; ours.max_payload(towards)];
    ours.try_send(towards, flow, class, Ecn::NotEct, &largest)
        .unwrap();
    assert_eq!(next(&theirs).await.payload, largest);
    let larger = vec![0; largest.len() + 1];
    let error = ours.try_send(towards, flow, class, Ecn::NotEct, &larger);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput);
    let nobody = name("/shop/nobody");
    let towards = Towards::Name {
        name: nobody.as_name(),
        pin: None,
    };
    ours.try_send(towards, flow, class, Ecn::NotEct, b"x")
        .unwrap();
    let error = next(&ours).await;
    assert_eq!(error.error, Some(ErrorCode::NoRoute));
    assert_eq!(error.flow, flow);

    // Given back, the pod receives by itself again.
    drop((ours, theirs));
    let answer = client.call(&called, b"call", &options).await;
    assert_eq!(answer.unwrap().payload, b"call");
    assert!(client.datagrams().is_some(), "again");
}

/// Two pods with their datagrams, and the name of the second.
async fn two(gateway: &Gateway) -> [(Pod, Datagrams); 2] {
    let client = PodConfig::new(gateway.registrar().into(), "pod1/c");
    let mut server = PodConfig::new(gateway.registrar().into(), "pod1/a");
    server.prefixes = vec![NameBuf::parse("/shop/a").unwrap()];
    let pods = [
        Pod::connect(client).await.unwrap(),
        Pod::connect(server).await.unwrap(),
    ];
    pods.map(|pod| {
        let datagrams = pod.datagrams().unwrap();
        (pod, datagrams)
    })
}

#[tokio::test]
async fn trains_arrive_as_single_packets_with_headers_of_their_own() {
    let gateway = Gateway::start().await;
    let [(client, ours), (_server, theirs)] = two(&gateway).await;
    let called = NameBuf::parse("/shop/a").unwrap();
    let towards = Towards::Name {
        name: called.as_name(),
        pin: None,
    };
    let flow = FlowLabel(7);
    // The first goes one by one, and asks whether trains pass; so they do on loopback.
    for round in 0..20_u8 {
        let segment = 1_000 + usize::from(round);
        let bytes: Vec<u8> = (0..9 * segment + 17)
            .map(|at| (at / segment) as u8 + round)
            .collect();
        ours.try_send_all(towards, flow, Class(0), Ecn::Ect0, &bytes, segment)
            .unwrap();
        for payload in bytes.chunks(segment) {
            let seen = tokio::select! {
                seen = next(&theirs) => seen,
                seen = next(&ours) => panic!("{seen:?}"),
            };
            assert_eq!(
                (seen.kind, seen.flow, seen.ecn),
                (Kind::Request, flow, Ecn::Ect0)
            );
            assert_eq!(
                (seen.name, seen.payload),
                (called.clone(), payload.to_vec())
            );
        }
    }
    assert!(client.counts().trains > 0);
    assert_eq!(client.counts().send_failed, 0);

    // Too big for the link: nothing is sent.
    let segment = ours.max_payload(towards) + 1;
    let error = ours.try_send_all(
        towards,
        flow,
        Class(0),
        Ecn::NotEct,
        &vec![0; 2 * segment],
        segment,
    );
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn nobody_reads_and_memory_stays_what_it_was() {
    let gateway = Gateway::start().await;
    let [(_client, ours), (server, theirs)] = two(&gateway).await;
    let called = NameBuf::parse("/shop/a").unwrap();
    let towards = Towards::Name {
        name: called.as_name(),
        pin: None,
    };
    // More than the socket of the other end holds: the kernel drops the rest.
    let payload = [1; 1_000];
    for _ in 0..20_000 {
        while let Err(error) = ours.try_send(towards, FlowLabel(1), Class(0), Ecn::NotEct, &payload)
        {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            ours.writable().await.unwrap();
        }
        tokio::task::yield_now().await;
    }
    let mut seen = 0;
    while tokio::time::timeout(Duration::from_millis(500), next(&theirs))
        .await
        .is_ok()
    {
        seen += 1;
    }
    assert_eq!(server.counts().datagrams, seen);
    assert!((1..20_000).contains(&seen), "{seen}");
}
