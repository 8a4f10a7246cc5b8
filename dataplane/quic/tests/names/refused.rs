//! Who is not who they say, or does not prove it.

use std::time::Duration;

use dmsc_quic::error::Unproven;
use dmsc_quic::{NotProven, QuicError};
use dmsc_spa::pki::now_s;

use crate::world::{Server, World, name};

#[tokio::test]
async fn a_pod_without_an_authorisation_for_the_name_is_told_nothing() {
    let world = World::new().await;
    let me = "cart/a";
    let cases = [
        (Vec::new(), Unproven::Nothing),
        (vec![world.proof(me, "/shop/till", |_| {})], Unproven::Name),
        (
            vec![world.proof("cart/b", "/shop/cart", |_| {})],
            Unproven::Identity("cart/b".into()),
        ),
        (
            vec![world.proof(me, "/shop/cart", |body| body.domain = 2)],
            Unproven::Domain,
        ),
        (
            vec![world.proof(me, "/shop/cart", |body| body.gateway = 2)],
            Unproven::Gateway,
        ),
        (
            vec![world.proof(me, "/shop", |body| body.grants[0].exact = true)],
            Unproven::Name,
        ),
    ];
    let client = world.client().await;
    for (proofs, why) in cases {
        let endpoint = world.endpoint((me, me), &["/shop/cart"], proofs).await;
        let at = endpoint.pod().registered().attachment;
        let listener = endpoint.listen();
        let connector = client.connector();
        let answer = connector.call(&name("/shop/cart"), b"secret", true).await;
        let error = answer.unwrap_err();
        let QuicError::NotProven(error) = error else {
            panic!("{error}");
        };
        let expected = NotProven {
            name: name("/shop/cart"),
            identity: me.into(),
            why,
        };
        assert_eq!(error, expected);
        let connection = listener.accept().await.unwrap();
        assert!(connection.accept_bi().await.is_err(), "nothing was said");
        world.gateway.detach(at);
    }
}

#[tokio::test]
async fn an_authorisation_that_is_over_counts_as_long_as_its_prefix_stays() {
    let world = World::new().await;
    let me = "cart/a";
    let proof = |stale_s| {
        vec![world.proof(me, "/shop/cart", |body| {
            body.issued_at_s = now_s() - 100;
            body.not_after_s = now_s() - 50;
            body.stale_s = stale_s;
        })]
    };
    let client = world.client().await;
    let server = world.endpoint((me, me), &["/shop/cart"], proof(10)).await;
    let at = server.pod().registered().attachment;
    let _server = Server::start(server);
    let error = client.connector().connect(&name("/shop/cart")).await;
    assert!(
        matches!(&error, Err(QuicError::NotProven(error)) if error.why == Unproven::Validity),
        "{error:?}"
    );
    world.gateway.detach(at);
    let server = world
        .endpoint((me, me), &["/shop/cart"], proof(3_600))
        .await;
    let _server = Server::start(server);
    client
        .connector()
        .connect(&name("/shop/cart"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_caller_with_a_certificate_of_another_pod_is_refused() {
    let world = World::new().await;
    let _server = world.echo("cart/a").await;
    let liar = world.endpoint(("web", "till"), &[], Vec::new()).await;
    let error = liar.connector().connect(&name("/shop/cart")).await;
    assert!(matches!(error, Err(QuicError::Connect { .. })), "{error:?}");
}

#[tokio::test]
async fn a_server_of_another_root_is_refused() {
    let (world, other) = (World::new().await, World::new().await);
    let me = "cart/a";
    let mut config = dmsc_quic::Config::new(other.credentials(me));
    config.proofs = vec![other.proof(me, "/shop/cart", |_| {})];
    let mut pod = dmsc_pod::PodConfig::new(world.gateway.registrar().into(), me);
    pod.prefixes = vec![name("/shop/cart")];
    let pod = dmsc_pod::Pod::connect(pod).await.unwrap();
    let _server = Server::start(dmsc_quic::Endpoint::new(pod, config).unwrap());
    let client = world.client().await;
    let error = client.connector().connect(&name("/shop/cart")).await;
    let text = error.unwrap_err().to_string();
    assert!(text.contains("UnknownIssuer"), "{text}");
}

#[tokio::test]
async fn who_listens_no_more_says_so_at_once_and_may_listen_again() {
    let world = World::new().await;
    let me = "cart/a";
    let proof = vec![world.proof(me, "/shop/cart", |_| {})];
    let endpoint = world.endpoint((me, me), &["/shop/cart"], proof).await;
    drop(endpoint.listen());
    let client = world.client().await;
    let (connector, cart) = (client.connector(), name("/shop/cart"));
    for _ in 0..3 {
        // A handshake that is not answered would take five seconds.
        let called = connector.connect(&cart);
        let called = tokio::time::timeout(Duration::from_secs(3), called).await;
        let error = called.expect("in time").unwrap_err();
        assert!(matches!(error, QuicError::Connect { .. }), "{error}");
    }
    let listener = endpoint.listen();
    let called = connector.connect(&cart);
    let (called, served) = tokio::join!(called, listener.accept());
    assert_eq!(called.unwrap().peer_identity(), me);
    assert!(served.is_some());
}
