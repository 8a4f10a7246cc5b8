//! What works.

use std::time::Duration;

use dmsc_pod::{Pod, PodConfig, Towards};
use dmsc_wire::{Class, Ecn, FlowLabel};

use crate::world::{World, name};

fn megabyte() -> Vec<u8> {
    (0..1 << 20).map(|at: u32| (at % 251) as u8).collect()
}

#[tokio::test]
async fn a_megabyte_goes_both_ways_and_no_packet_is_too_big() {
    let world = World::new().await;
    let _server = world.echo("cart/a").await;
    let client = world.client().await;
    let connector = client.connector();
    let connection = connector.connect(&name("/shop/cart")).await.unwrap();
    assert_eq!(connection.peer_identity(), "cart/a");
    assert_eq!(connection.instance(), Some("1:1".parse().unwrap()));
    let told = megabyte();
    let answer = connector.call(&name("/shop/cart"), &told, false).await;
    assert_eq!(answer.unwrap(), told);
    let (too_big, largest) = world.gateway.sizes();
    assert_eq!(too_big, 0);
    assert!(largest > 1_400, "discovery finds what fits: {largest}");
    // One connection carried it all.
    assert!(connection.stats().udp_tx.bytes > 1 << 20);
}

#[tokio::test]
async fn a_hundred_streams_share_one_connection() {
    let world = World::new().await;
    let server = world.echo("cart/a").await;
    let client = world.client().await;
    let calls: Vec<_> = (0..100_u32)
        .map(|number| {
            let connector = client.connector();
            tokio::spawn(async move {
                let told = number.to_be_bytes().repeat(1_000);
                let answer = connector.call(&name("/shop/cart"), &told, false).await;
                assert_eq!(answer.unwrap(), told);
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(client.open_connections(), 1);
    assert_eq!(server.endpoint.open_connections(), 1);
}

#[tokio::test]
async fn what_is_lost_is_sent_again() {
    let world = World::new().await;
    let _server = world.echo("cart/a").await;
    let client = world.client().await;
    world.gateway.lose_every(20);
    let told = megabyte();
    let connector = client.connector();
    let cart = name("/shop/cart");
    let call = connector.call(&cart, &told, false);
    let answer = tokio::time::timeout(Duration::from_secs(60), call).await;
    assert_eq!(answer.unwrap().unwrap(), told);
    let connection = connector.connect(&cart).await.unwrap();
    assert!(connection.stats().path.lost_packets > 0);
}

#[tokio::test]
async fn marks_of_a_congested_way_reach_the_sender() {
    let world = World::new().await;
    let _server = world.echo("cart/a").await;
    let client = world.client().await;
    world.gateway.mark_congestion();
    let connector = client.connector();
    let told = vec![1; 200_000];
    let answer = connector.call(&name("/shop/cart"), &told, false).await;
    assert_eq!(answer.unwrap(), told);
    let connection = connector.connect(&name("/shop/cart")).await.unwrap();
    assert!(connection.stats().path.congestion_events > 0);
    assert_eq!(connection.stats().path.lost_packets, 0);
}

#[tokio::test]
async fn all_packets_of_a_call_have_its_class_there_and_back() {
    let world = World::new().await;
    let _server = world.echo("cart/a").await;
    let set = |config: &mut dmsc_quic::Config| config.class = Class(5);
    let client = world.endpoint_with(("web", "web"), &[], set).await;
    let told = vec![1; 20_000];
    let call = client.connector();
    let answer = call.call(&name("/shop/cart"), &told, false).await;
    assert_eq!(answer.unwrap(), told);
    let classes = world.gateway.classes();
    // Each way takes more than a dozen packets.
    assert!(classes[5] > 30, "{classes:?}");
    assert_eq!(classes.iter().sum::<u32>(), classes[5], "{classes:?}");
}

#[tokio::test]
async fn a_way_that_becomes_narrower_is_noticed() {
    let world = World::new().await;
    let _server = world.echo("cart/a").await;
    let client = world.client().await;
    let connector = client.connector();
    let (cart, told) = (name("/shop/cart"), megabyte());
    connector.call(&cart, &told, false).await.unwrap();
    let connection = connector.connect(&cart).await.unwrap();
    assert!(connection.stats().path.current_mtu > 1_300);
    world.gateway.narrow(1_300);
    let call = connector.call(&cart, &told, false);
    let answer = tokio::time::timeout(Duration::from_secs(60), call).await;
    assert_eq!(answer.unwrap().unwrap(), told);
    assert!(connection.stats().path.current_mtu < 1_300);
    assert!(connection.stats().path.black_holes_detected > 0);
}

#[tokio::test]
async fn garbage_for_the_name_harms_no_call() {
    let world = World::new().await;
    let server = world.echo("cart/a").await;
    let client = world.client().await;
    let (connector, cart) = (client.connector(), name("/shop/cart"));
    connector.call(&cart, b"before", false).await.unwrap();
    let noisy = PodConfig::new(world.gateway.registrar().into(), "noise");
    let noisy = Pod::connect(noisy).await.unwrap();
    let datagrams = noisy.datagrams().unwrap();
    let towards = Towards::Name {
        name: cart.as_name(),
        pin: None,
    };
    for flow in 0..5_000 {
        let garbage = [flow as u8; 60];
        // What the socket does not take is not sent.
        let _ = datagrams.try_send(towards, FlowLabel(flow), Class(0), Ecn::NotEct, &garbage);
        if flow % 64 == 0 {
            connector.call(&cart, b"beside", false).await.unwrap();
        }
    }
    assert_eq!(connector.call(&cart, b"x", false).await.unwrap(), b"x");
    assert_eq!(server.endpoint.open_connections(), 1);
    assert!(server.endpoint.pod().counts().datagrams > 1_000);
}
