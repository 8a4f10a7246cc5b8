//! Two instances of one name.

use std::time::Duration;

use dmsc_pod::Pin;
use dmsc_quic::replicas::Health;
use dmsc_quic::{QuicError, Replicas};
use dmsc_wire::{AttachmentId, NodeId};
use tokio::sync::watch;

use crate::world::{World, name};

#[tokio::test]
async fn a_connection_stays_where_it_began_and_a_new_one_goes_where_there_is_one() {
    let world = World::new().await;
    let _first = world.echo("cart/a").await;
    let client = world.client().await;
    let connector = client.connector();
    let cart = name("/shop/cart");
    let connection = connector.connect(&cart).await.unwrap();
    let _second = world.echo("cart/b").await;
    for _ in 0..20 {
        connector.call(&cart, b"x", false).await.unwrap();
    }
    assert_eq!(connection.stats().path.lost_packets, 0);
    let again = connector.connect(&cart).await.unwrap();
    assert_eq!(again.peer_identity(), "cart/a", "shared");

    // Who chooses is obeyed: the caller itself has attachment 2.
    let chosen = connector
        .connect_to(&cart, "1:3".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(chosen.peer_identity(), "cart/b");

    // The instance dies. A call that it has is not made again, unless it may be.
    let told = b"silence";
    let lost = connector.call(&cart, told, false);
    let died = async {
        // The stream is there once its request was acknowledged.
        while connection.stats().frame_tx.stream < 21 {
            tokio::task::yield_now().await;
        }
        world.gateway.detach(AttachmentId(1));
        connection.closed().await
    };
    let both = tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(lost, died) });
    let (lost, _) = both.await.unwrap();
    let error = lost.unwrap_err();
    assert!(
        matches!(&error, QuicError::Lost { instance: Some(pin), .. } if pin.attachment == AttachmentId(1)),
        "{error}"
    );
    // What was not sent goes to the other.
    assert_eq!(connector.call(&cart, b"y", false).await.unwrap(), b"y");
    let other = connector.connect(&cart).await.unwrap();
    assert_eq!(other.peer_identity(), "cart/b");
}

fn pin(text: &str) -> Pin {
    text.parse().unwrap()
}

/// Until servers at the model's gateway tell just these.
async fn told(replicas: &mut watch::Receiver<Replicas>, wanted: &[(u16, Health)]) {
    let is = |now: &Replicas| {
        let now = now.at(NodeId(1)).iter();
        let now: Vec<_> = now.map(|one| (one.attachment.0, one.health)).collect();
        now == wanted
    };
    let limit = Duration::from_secs(10);
    let told = tokio::time::timeout(limit, replicas.wait_for(is)).await;
    assert!(told.is_ok_and(|told| told.is_ok()), "{replicas:?}");
}

#[tokio::test]
async fn a_server_tells_who_else_there_is_at_its_gateway() {
    let world = World::new().await;
    let first = world.echo("cart/a").await;
    let client = world.client().await;
    let (connector, cart) = (client.connector(), name("/shop/cart"));
    let mut replicas = client.replicas(&cart);
    let connection = connector.connect_to(&cart, pin("1")).await.unwrap();
    assert_eq!(connection.instance(), Some(pin("1:1")));
    // Who answered can be chosen: it has one connection, whichever way it was found.
    for at in ["1:1", "1"] {
        let again = connector.connect_to(&cart, pin(at)).await.unwrap();
        assert_eq!(again.id(), connection.id(), "{at}");
    }
    let second = world.echo("cart/b").await;
    told(&mut replicas, &[(1, Health::Serving), (3, Health::Serving)]).await;
    let other = connector.connect_to(&cart, pin("1:3")).await.unwrap();
    assert_eq!(other.peer_identity(), "cart/b");
    let health = dmsc_pod::Health::Draining;
    second.endpoint.pod().set_health(health).await.unwrap();
    told(
        &mut replicas,
        &[(1, Health::Serving), (3, Health::Draining)],
    )
    .await;
    // What one said counts while it is there, and the other says the same.
    first.endpoint.close().await;
    connection.closed().await;
    assert_eq!(replicas.borrow().at(NodeId(1)).len(), 2);
    drop(first);
    told(&mut replicas, &[(3, Health::Draining)]).await;
    second.endpoint.close().await;
    told(&mut replicas, &[]).await;
}

/// One dial for each of them would take twice as long as all of them have.
#[tokio::test]
async fn who_waits_for_a_dial_shares_its_failure() {
    let world = World::new().await;
    let client = world
        .endpoint_with(("web", "web"), &[], |config| {
            config.unreachable_after = Duration::from_millis(500);
        })
        .await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let connector = client.connector();
        calls.spawn(async move { connector.connect(&name("/shop/cart")).await });
    }
    let all = tokio::time::timeout(Duration::from_secs(10), calls.join_all());
    for result in all.await.unwrap() {
        assert!(matches!(result, Err(QuicError::NoRoute(_))), "{result:?}");
    }
}

#[tokio::test]
async fn a_name_that_nobody_serves_is_told_soon() {
    let world = World::new().await;
    let client = world.client().await;
    let error = client.connector().connect(&name("/shop/cart")).await;
    assert!(matches!(error, Err(QuicError::NoRoute(_))), "{error:?}");
}
