//! A pod whose device breaks the rules gives it up, and goes on by UDP.

use std::time::{Duration, Instant};

use dmsc_pod::Pod;
use dmsc_quic::{Connector, Endpoint};

use crate::liar::{Liar, Lie};
use crate::life::{PATIENCE, config, play, quic, server, until};
use crate::rig::need_ports;
use crate::world::{World, name};

/// A client whose shared port has a liar before it.
async fn client(world: &World) -> (Endpoint, Liar) {
    let mut config = config(world, "web", Some(0));
    let attachment = config.shared.as_mut().unwrap();
    let liar = Liar::before(&attachment.socket);
    attachment.socket.clone_from(&liar.socket);
    let pod = Pod::connect(config).await.unwrap();
    (Endpoint::new(pod, quic(world, "web")).unwrap(), liar)
}

async fn call(connector: &Connector) {
    let told = vec![5; 200_000];
    let answer = connector.call(&name("/shop/cart"), &told, false).await;
    assert!(answer.unwrap() == told);
}

#[test]
fn a_pod_whose_device_lies_goes_on_by_udp() {
    need_ports!();
    play(|| async {
        let world = World::new().await;
        let _server = server(&world, None).await;
        let (client, liar) = client(&world).await;
        let (pod, connector) = (client.pod(), client.connector());
        until("shared memory", || pod.is_shared()).await;
        call(&connector).await;
        let connection = connector.connect(&name("/shop/cart")).await.unwrap();
        for (before, lie) in (0..).zip([Lie::Count, Lie::Id, Lie::Length]) {
            // An honest one is used again.
            let shared_before = pod.counts().shared_sent;
            until("shared memory", || pod.is_shared()).await;
            call(&connector).await;
            let honest = pod.counts();
            assert!(honest.shared_sent > shared_before, "{lie:?}: {honest:?}");
            assert_eq!(honest.shared_given_up, before, "{lie:?}: {honest:?}");
            liar.close(true);
            // The device may be faster than the pod, and make good what was written.
            until("the fall back", || {
                !pod.is_shared() || !liar.lie(lie) || !pod.is_shared()
            })
            .await;
            let given_up = || pod.counts().shared_given_up;
            until("the count", || given_up() > before).await;
            let fallen = pod.counts();
            for _ in 0..3 {
                call(&connector).await;
            }
            let after = pod.counts();
            assert!(!pod.is_shared(), "{lie:?}");
            assert_eq!(pod.registered().max_packet, 1_472, "{lie:?}");
            assert_eq!(after.shared_sent, fallen.shared_sent, "{lie:?}");
            assert!(after.sent > fallen.sent, "{lie:?}: {after:?}");
            assert_eq!(after.shared_given_up, before + 1, "{lie:?}: {after:?}");
            liar.close(false);
        }
        assert!(connection.is_open(), "the same connection all the time");
        assert_eq!(client.open_connections(), 1);
        client.close().await;
    });
}

#[test]
fn a_device_that_lies_again_and_again_is_tried_less_and_less() {
    need_ports!();
    play(|| async {
        let world = World::new().await;
        let _server = server(&world, None).await;
        let (client, liar) = client(&world).await;
        let (pod, connector) = (client.pod(), client.connector());
        let lasts = Duration::from_secs(3);
        let end = Instant::now() + lasts;
        let mut calls = 0;
        while Instant::now() < end || pod.counts().shared_given_up < 3 {
            assert!(Instant::now() < end + PATIENCE, "{:?}", pod.counts());
            if pod.is_shared() {
                liar.lie(Lie::Count);
            }
            call(&connector).await;
            calls += 1;
        }
        let counts = pod.counts();
        assert!(calls > 3, "{counts:?}");
        // 20, 40, 80 ms … between them, up to ten seconds.
        assert!(liar.connections() < 30, "{}", liar.connections());
        client.close().await;
    });
}
