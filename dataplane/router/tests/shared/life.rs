//! The life of a pod with two ways to its gateway.

use std::time::{Duration, Instant};

use dmsc_pod::{CallOptions, Health, Pod, PodConfig};
use dmsc_proto::v1;
use dmsc_quic::{Config, Endpoint};
use tokio::task::block_in_place;

use crate::gateway::enter;
use crate::rig::need_ports;
use crate::world::{Server, World, name};

/// Nothing takes longer, however busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The test in a namespace of its own: on a thread that goes with it.
pub fn play<F: Future<Output = ()>>(scene: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::spawn(|| {
        enter();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(scene());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

pub fn config(world: &World, identity: &str, shared: Option<usize>) -> PodConfig {
    let mut config = PodConfig::new(world.gateway.registrar().into(), identity);
    config.fix_offload = false;
    config.shared = shared.map(|number| world.gateway.shared(number));
    config
}

/// Asks until it is so.
pub async fn until(what: &str, mut ready: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !ready() {
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A connection outlasts that this process stands still for a while.
pub fn quic(world: &World, identity: &str) -> Config {
    let mut config = Config::new(world.credentials(identity));
    config.idle_timeout = Duration::from_secs(600);
    config
}

async fn client(world: &World) -> Endpoint {
    let pod = Pod::connect(config(world, "web", Some(0))).await.unwrap();
    Endpoint::new(pod, quic(world, "web")).unwrap()
}

pub async fn server(world: &World, shared: Option<usize>) -> Server {
    let mut pod = config(world, "cart/a", shared);
    pod.prefixes = vec![name("/shop/cart")];
    let mut config = quic(world, "cart/a");
    config.proofs = vec![world.proof("cart/a", "/shop/cart", |_| {})];
    let pod = Pod::connect(pod).await.unwrap();
    Server::start(Endpoint::new(pod, config).unwrap())
}

#[test]
fn calls_and_long_packets_go_over_shared_memory() {
    need_ports!();
    play(|| async {
        let world = World::new().await;
        let mut served = config(&world, "shop/a", Some(0));
        served.prefixes = vec![name("/shop/a")];
        let pod = Pod::connect_and_serve(served, |request| async move { request.payload });
        let pod = pod.await.unwrap();
        until("shared memory", || pod.is_shared()).await;
        assert_eq!(pod.registered().max_packet, 8_972);
        let caller = Pod::connect(config(&world, "web", None)).await.unwrap();
        assert!(!caller.is_shared());
        let options = CallOptions::default();
        for length in [0, 1, 1_000, 1_300] {
            let payload = vec![7; length];
            let answer = caller.call(&name("/shop/a"), &payload, &options).await;
            assert_eq!(answer.unwrap().payload, payload);
        }
        // To itself, so both ends take it.
        let long = vec![9; 8_800];
        let answer = pod.call(&name("/shop/a"), &long, &options).await.unwrap();
        assert_eq!(answer.payload, long);
        // An answer may reach its caller before it is counted.
        until("six packets each way", || {
            let counts = pod.counts();
            counts.shared_sent >= 6 && counts.shared_received >= 6
        })
        .await;
        let counts = pod.counts();
        assert_eq!(
            counts.frames_malformed + counts.frames_not_ours,
            0,
            "{counts:?}"
        );
        pod.close().await.unwrap();
    });
}

/// What a pod's gateway hears when it probes a service of it.
async fn probed(world: &World, pod: &Pod, service: &str) -> v1::EchoReply {
    let request = v1::EchoRequest {
        name: name(service).as_bytes().to_vec(),
        gateway: 1,
        attachment: pod.registered().attachment.0.into(),
        timeout_ms: 10_000,
        probe: true,
        ..Default::default()
    };
    let dataplane = world.gateway.dataplane.as_ref().unwrap();
    block_in_place(|| dataplane.agent.echo(request)).remove(0)
}

#[test]
fn a_gateway_hears_from_its_pods_how_they_are() {
    need_ports!();
    play(|| async {
        let world = World::new().await;
        // By UDP, then by shared memory.
        for (shared, service) in [(None, "/shop/a"), (Some(0), "/shop/b")] {
            let mut served = config(&world, &service[1..], shared);
            served.prefixes = vec![name(service)];
            served.requests_in_hand = 4;
            let pod = Pod::connect_and_serve(served, |_| std::future::pending::<Vec<u8>>());
            let pod = pod.await.unwrap();
            until("its way", || pod.is_shared() == shared.is_some()).await;
            let reply = probed(&world, &pod, service).await;
            assert!(reply.answered && reply.state_known, "{reply:?}");
            assert_eq!((reply.health, reply.load_permille), (0, 0));
            assert!((1..reply.round_trip_ns).contains(&reply.residence_ns));
            let options = CallOptions {
                timeout: Duration::from_millis(50),
                ..CallOptions::default()
            };
            for (health, load) in [(0, 250), (0, 500), (0, 750), (2, 1_000)] {
                let before = pod.counts().requests;
                let call = pod.call(&name(service), b"", &options).await;
                assert!(call.is_err(), "nothing is ever answered");
                until("a call under way", || pod.counts().requests > before).await;
                let reply = probed(&world, &pod, &format!("{service}/v1")).await;
                assert_eq!((reply.health, reply.load_permille), (health, load));
            }
            // A registrar that knows no health is no reason not to say it to who asks.
            let _ = pod.set_health(Health::Draining).await;
            let reply = probed(&world, &pod, service).await;
            assert_eq!(reply.health, 2, "the worse of the two");
            pod.close().await.unwrap();
        }
    });
}

#[test]
fn a_gateway_that_does_not_let_it_is_reached_by_udp() {
    need_ports!();
    play(|| async {
        let world = World::new().await;
        world.gateway.refuse(true);
        let pod = Pod::connect(config(&world, "web", Some(0))).await.unwrap();
        let options = CallOptions::default();
        let router = name("/dmsc/1");
        let ping = || pod.ping(&router, b"", 0, &options);
        ping().await.unwrap();
        assert!(!pod.is_shared() && pod.registered().max_packet == 1_472);
        // And as soon as it does.
        world.gateway.refuse(false);
        until("shared memory", || pod.is_shared()).await;
        ping().await.unwrap();
        assert_eq!(pod.registered().max_packet, 8_972);
        // A second one, while the first is there, and when it is not any more.
        let second = Pod::connect(config(&world, "web2", Some(0))).await.unwrap();
        assert!(!second.is_shared());
        ping().await.unwrap();
        assert!(pod.is_shared());
        pod.close().await.unwrap();
        until("the second's turn", || second.is_shared()).await;
        second
            .ping(&name("/dmsc/1"), b"", 0, &options)
            .await
            .unwrap();
    });
}

#[test]
fn live_connections_of_quic_move_with_their_pod() {
    need_ports!();
    play(|| async {
        let mut world = World::new().await;
        let _server = server(&world, None).await;
        world.gateway.refuse(true);
        let client = client(&world).await;
        let connector = client.connector();
        let told = vec![5; 200_000];
        let call = async |told: &[u8]| {
            let answer = connector.call(&name("/shop/cart"), told, false).await;
            assert!(answer.unwrap() == told);
        };
        call(&told).await;
        let connection = connector.connect(&name("/shop/cart")).await.unwrap();
        let attachment = client.pod().registered().attachment;
        let is_shared = || client.pod().is_shared();
        assert!(!is_shared());
        // To shared memory while it talks.
        world.gateway.refuse(false);
        let end = Instant::now() + PATIENCE;
        while !is_shared() {
            assert!(Instant::now() < end);
            call(&told).await;
        }
        call(&told).await;
        for _ in 0..3 {
            // The gateway dies and comes back: nothing passes meanwhile, and nobody notices more than that.
            let dead = world.gateway.kill();
            until("the end of shared memory", || !is_shared()).await;
            let waiting = call(&told);
            world.gateway.start_again(dead).await;
            waiting.await;
            let end = Instant::now() + PATIENCE;
            while !is_shared() {
                assert!(Instant::now() < end);
                call(&told).await;
            }
            call(&told).await;
        }
        assert_eq!(client.pod().registered().attachment, attachment);
        assert!(connection.is_open(), "the same connection all the time");
        assert_eq!(client.open_connections(), 1);
        client.close().await;
    });
}

#[test]
fn quic_has_long_datagrams_where_both_ends_share_memory_and_short_ones_elsewhere() {
    need_ports!();
    play(|| async {
        let mut world = World::new().await;
        let server = server(&world, Some(1)).await;
        let client = client(&world).await;
        let (one, two) = (client.pod(), server.endpoint.pod());
        until("shared memory", || one.is_shared() && two.is_shared()).await;
        let connector = client.connector();
        let told = vec![5; 400_000];
        let call = async || {
            let answer = connector.call(&name("/shop/cart"), &told, false).await;
            assert!(answer.unwrap() == told);
        };
        call().await;
        let connection = connector.connect(&name("/shop/cart")).await.unwrap();
        let mtu = || connection.stats().path.current_mtu;
        let end = Instant::now() + PATIENCE;
        while mtu() < 8_700 {
            assert!(Instant::now() < end, "{}", mtu());
            call().await;
        }
        // What is too long now is noticed by the connection, which goes on.
        let dead = world.gateway.kill();
        world.gateway.refuse(true);
        until("UDP", || !one.is_shared() && !two.is_shared()).await;
        world.gateway.start_again(dead).await;
        call().await;
        assert!(mtu() < 1_500, "{}", mtu());
        world.gateway.refuse(false);
        until("shared memory", || one.is_shared() && two.is_shared()).await;
        call().await;
        assert!(connection.is_open());
        assert_eq!(one.counts().frames_malformed, 0);
    });
}
