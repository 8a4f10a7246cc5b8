//! What is taken back while connections are open with it.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use dmsc_quic::error::Unproven;
use dmsc_quic::{Ended, NotProven, QuicError};
use dmsc_spa::pki::now_s;
use dmsc_wire::NameBuf;

use crate::world::{Server, World, name};

const CART: &str = "/shop/cart";
const TILL: &str = "/shop/till";

impl World {
    /// By the authority, of everything below a name that it authorised until now.
    fn taken_back(&self, below: &str) -> Bytes {
        self.revocation(|body| {
            body.name = Bytes::copy_from_slice(name(below).as_bytes());
            body.issued_before_s = now_s();
            body.until_s = now_s() + 7_200;
            body.reason = "moved".into();
        })
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(Duration::from_secs(10), what).await;
    result.expect("not in time")
}

#[tokio::test]
async fn a_connection_ends_with_the_authorisation_that_it_was_proven_with() {
    let world = World::new().await;
    world.gateway.authorise(Vec::new());
    let proofs = [CART, TILL].map(|grant| world.proof("cart/a", grant, |_| {}));
    let endpoint = world
        .endpoint(("cart/a", "cart/a"), &[CART, TILL], proofs.to_vec())
        .await;
    let listener = endpoint.listen();
    let client = world.client().await;
    let connector = client.connector();
    let (cart, till): (NameBuf, NameBuf) = (name(CART), name(TILL));
    let first = soon(connector.connect(&cart)).await.unwrap();
    let served = soon(listener.accept()).await.unwrap();
    let other = soon(connector.connect(&till)).await.unwrap();

    // What nobody has signed ends nothing.
    world.gateway.revoke(vec![b"garbage".to_vec()], Vec::new());
    client.pod().refresh();
    let mut told = client.pod().revocations();
    soon(told.wait_for(|told| told.by_authorities.len() == 1))
        .await
        .unwrap();
    assert!(first.is_open());

    world
        .gateway
        .revoke(vec![world.taken_back(CART).to_vec()], Vec::new());
    client.pod().refresh();
    let why = soon(served.closed()).await.to_string();
    assert!(
        why.contains("the authorisation that proved the name was revoked"),
        "{why}"
    );
    assert_eq!(first.ended(), Some(Ended::ProofRevoked));
    assert!(other.is_open(), "of another name");

    // It proves nothing any more; one that was issued later does.
    let error = soon(connector.connect(&cart)).await.unwrap_err();
    let why = match &error {
        QuicError::NotProven(NotProven { why, .. }) => why,
        other => panic!("{other}"),
    };
    assert_eq!(*why, Unproven::Revoked);
    let later = world.proof("cart/a", CART, |body| body.issued_at_s = now_s() + 1);
    // The server's pod hears of it because its caller believes the old one no more.
    world.gateway.authorise(vec![later.to_vec()]);
    let _server = Server::serving(endpoint, listener);
    let again = async {
        while let Err(error) = connector.call(&cart, b"x", false).await {
            assert!(matches!(error, QuicError::NotProven(_)), "{error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(again).await;
}

#[tokio::test]
async fn a_server_ends_it_too_and_not_while_it_can_show_another() {
    let world = World::new().await;
    let proof = world.proof("cart/a", CART, |_| {});
    world.gateway.authorise(vec![proof.to_vec()]);
    let endpoint = world.endpoint(("cart/a", "cart/a"), &[CART], Vec::new());
    let endpoint = endpoint.await;
    let listener = endpoint.listen();
    let client = world.client().await;
    let first = soon(client.connector().connect(&name(CART))).await.unwrap();
    let served = soon(listener.accept()).await.unwrap();
    let revoke = |body: Bytes| {
        world.gateway.revoke(vec![body.to_vec()], Vec::new());
        endpoint.pod().refresh();
    };

    // The one that was shown is void, and a later one is there.
    let later = world.proof("cart/a", CART, |body| body.issued_at_s = now_s() + 100);
    world.gateway.authorise(vec![later.to_vec()]);
    revoke(world.taken_back(CART));
    let mut told = endpoint.pod().revocations();
    let heard = told.wait_for(|told| told.by_authorities.len() == 1);
    drop(soon(heard).await.unwrap());
    tokio::task::yield_now().await;
    assert!(first.is_open() && served.is_open());

    revoke(world.revocation(|body| {
        body.name = Bytes::copy_from_slice(name(CART).as_bytes());
        body.issued_before_s = now_s() + 200;
        body.until_s = now_s() + 7_200;
    }));
    let why = soon(first.closed()).await.to_string();
    assert!(
        why.contains("the authorisation that proved the name was revoked"),
        "{why}"
    );
    assert_eq!(served.ended(), Some(Ended::ProofRevoked));
}

#[tokio::test]
async fn a_caller_whose_key_the_root_took_back_is_let_go() {
    let world = World::new().await;
    let proof = world.proof("cart/a", CART, |_| {});
    let endpoint = world
        .endpoint(("cart/a", "cart/a"), &[CART], vec![proof])
        .await;
    let listener = endpoint.listen();
    let client = world.client().await;
    let first = soon(client.connector().connect(&name(CART))).await.unwrap();
    let served = soon(listener.accept()).await.unwrap();

    let key = world.public_key("web");
    let taken_back = world.root.revoke_keys(&[key], "leaked", now_s()).unwrap();
    world.gateway.revoke(Vec::new(), vec![taken_back.to_vec()]);
    endpoint.pod().refresh();
    let why = soon(first.closed()).await.to_string();
    assert!(why.contains("was revoked by the root"), "{why}");
    assert_eq!(served.ended(), Some(Ended::CertificateRevoked));
    let error = soon(client.connector().connect(&name(CART))).await;
    assert!(matches!(error, Err(QuicError::Connect { .. })), "{error:?}");
}
