//! Datagrams of two pods, beside their calls.

use std::future::poll_fn;
use std::io::ErrorKind;

use dmsc_pod::{CallOptions, Datagram, Datagrams, Pod, PodConfig, Towards};
use dmsc_wire::{Ecn, ErrorCode, FlowLabel, Kind, NameBuf};

use crate::gateway::Gateway;

async fn next(datagrams: &Datagrams) -> Datagram {
    poll_fn(|context| datagrams.poll_recv(context))
        .await
        .unwrap()
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
    ours.try_send(towards, flow, Ecn::Ect0, b"there").unwrap();
    let datagram = next(&theirs).await;
    assert_eq!(
        (datagram.kind(), datagram.payload()),
        (Kind::Request, &b"there"[..])
    );
    assert_eq!((datagram.flow_label(), datagram.ecn()), (flow, Ecn::Ect0));
    assert_eq!(datagram.name(), Some(called.as_name()));
    let back = Towards::Caller {
        caller: datagram.source_name().unwrap(),
        gateway: datagram.gateway(),
        attachment: datagram.attachment(),
        called: datagram.name().unwrap(),
    };
    theirs.try_send(back, flow, Ecn::Ce, b"back").unwrap();
    let answer = next(&ours).await;
    assert_eq!(
        (answer.kind(), answer.payload()),
        (Kind::Response, &b"back"[..])
    );
    assert_eq!((answer.flow_label(), answer.ecn()), (flow, Ecn::Ce));
    assert_eq!(answer.source_name(), Some(called.as_name()));
    assert_eq!(
        Some(answer.attachment()),
        Some(server.registered().attachment)
    );

    // Calls are what they were.
    let answer = client.call(&called, b"call", &CallOptions::default()).await;
    assert_eq!(answer.unwrap().payload, b"call");

    // What fits is what was said, and what routers say comes with the flow.
    let largest = vec![0; ours.max_payload(towards)];
    ours.try_send(towards, flow, Ecn::NotEct, &largest).unwrap();
    assert_eq!(next(&theirs).await.payload(), largest);
    let larger = vec![0; largest.len() + 1];
    let error = ours.try_send(towards, flow, Ecn::NotEct, &larger);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput);
    let nobody = name("/shop/nobody");
    let towards = Towards::Name {
        name: nobody.as_name(),
        pin: None,
    };
    ours.try_send(towards, flow, Ecn::NotEct, b"x").unwrap();
    let error = next(&ours).await;
    assert_eq!(error.error().unwrap().code, ErrorCode::NoRoute);
    assert_eq!(error.flow_label(), flow);
}
