//! Proofs that come from the gateway, how long they count, and connections that make way.

use std::future::Future;
use std::time::Duration;

use dmsc_quic::{Connection, Ended, QuicError};
use dmsc_spa::identity::Identity;
use dmsc_spa::pki::{Scope, now_s};
use tokio::io::AsyncWriteExt;

use crate::world::{LIMIT, Server, World, name};

const CART: &str = "/shop/cart";

impl World {
    /// The gateway tells everybody this one: of `cart/a`, for so many seconds from now.
    fn authorise(&self, seconds: u64) {
        let proof = self.proof("cart/a", "/shop", |body| {
            body.not_after_s = now_s() + seconds
        });
        self.gateway.authorise(vec![proof.to_vec()]);
    }

    /// `cart/a`, with no proof but what its gateway tells.
    async fn told(&self) -> dmsc_quic::Endpoint {
        self.endpoint(("cart/a", "cart/a"), &[CART], Vec::new())
            .await
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(Duration::from_secs(10), what).await;
    result.expect("not in time")
}

#[tokio::test]
async fn what_the_gateway_tells_proves_the_name_also_if_it_comes_late() {
    let world = World::new().await;
    // Waits for an authority: no proof yet.
    world.gateway.authorise(Vec::new());
    let server = Server::start(world.told().await);
    let proofs = server.endpoint.pod().proofs();
    assert!(proofs.borrow().authorisations.is_empty());
    // Admitted, and called before the pod's next refresh.
    world.authorise(3_600);
    let client = world.client().await;
    let answer = soon(client.connector().call(&name(CART), b"x", false)).await;
    assert_eq!(answer.unwrap(), b"x");
    assert_eq!(proofs.borrow().authorisations.len(), 1);
}

#[tokio::test]
async fn a_name_without_any_proof_is_told_so() {
    let world = World::new().await;
    let other = world.proof("cart/a", "/shop/till", |_| {});
    world
        .gateway
        .authorise(vec![other.to_vec(), b"garbage".to_vec()]);
    let _server = Server::start(world.told().await);
    let client = world.client().await;
    let error = soon(client.connector().connect(&name(CART))).await;
    assert!(matches!(error, Err(QuicError::NotProven(_))), "{error:?}");
}

#[tokio::test]
async fn a_connection_outlives_its_proof_only_with_a_renewed_one() {
    let world = World::new().await;
    world.gateway.authorise(Vec::new());
    let endpoint = world.told().await;
    let listener = endpoint.listen();
    let client = world.client().await;
    let connector = client.connector();
    let cart = name(CART);
    world.authorise(3);
    let first = connector.connect(&cart).await.unwrap();
    let served = listener.accept().await.unwrap();
    assert!(first.ends_s() <= now_s() + 3);

    // A call is under way when it ends: both ends are told why.
    let mut stream = first.open_bi().await.unwrap();
    stream.write_all(b"x").await.unwrap();
    let call = {
        let (connector, cart) = (connector.clone(), cart.clone());
        tokio::spawn(async move { connector.call(&cart, b"y", false).await })
    };
    let why = soon(served.closed()).await.to_string();
    assert!(why.contains("has expired; show a renewed one"), "{why}");
    assert_eq!(first.ended(), Some(Ended::Proof));
    let error = soon(call).await.unwrap().unwrap_err().to_string();
    assert!(
        error.contains("authorisation that proved the name has expired"),
        "{error}"
    );
    assert!(stream.read_to_end(LIMIT).await.is_err());

    // The renewed one makes the next, and moves its end on while it is there.
    world.authorise(100);
    let second = soon(connector.connect(&cart)).await.unwrap();
    let before = second.ends_s();
    world.authorise(3_600);
    endpoint.pod().refresh();
    soon(async {
        while second.ends_s() == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(second.is_open());
    assert!(second.ends_s() > now_s() + 3_000);
}

#[tokio::test]
async fn a_connection_ends_with_the_certificate_and_a_renewed_one_serves_the_next() {
    let world = World::new().await;
    world.authorise(3_600);
    let mut folder = None;
    let endpoint = world
        .endpoint_with(("cart/a", "cart/a"), &[CART], |config| {
            config.credentials_interval = Duration::ZERO;
            folder = Some(config.credentials.clone());
        })
        .await;
    let issue = |seconds| {
        let pod = Identity::pod("cart/a").unwrap();
        let life = (now_s() - 10, now_s() + seconds);
        let folder = folder.as_ref().unwrap();
        let issued = world
            .root
            .issue_for(&pod, &Scope::default(), life, false, folder);
        issued.unwrap();
    };
    let server = Server::start(endpoint);
    let client = world.client().await;
    let connector = client.connector();
    issue(3);
    let first = connector.connect(&name(CART)).await.unwrap();
    assert!(first.ends_s() <= now_s() + 3);
    soon(first.closed()).await;
    assert_eq!(first.ended(), Some(Ended::Certificate));
    issue(86_400);
    let second = soon(connector.connect(&name(CART))).await.unwrap();
    assert!(second.ends_s() > now_s() + 3_000);
    assert_eq!(second.peer_identity(), "cart/a");
    drop(server);
}

#[tokio::test]
async fn a_drained_connection_gets_no_new_calls_and_ends_with_those_it_has() {
    let world = World::new().await;
    world.authorise(3_600);
    let endpoint = world.told().await;
    let listener = endpoint.listen();
    let client = world.client().await;
    let connector = client.connector();
    let cart = name(CART);
    let first = connector.connect(&cart).await.unwrap();
    let served = listener.accept().await.unwrap();
    let mut stream = first.open_bi().await.unwrap();
    stream.write_all(b"before").await.unwrap();
    soon(served.drain()).await.unwrap();
    soon(first.retired()).await;
    assert!(!first.is_open());
    assert!(first.ended().is_none());

    // Under way: goes on.
    stream.write_all(b" and after").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut got = soon(served.accept_bi()).await.unwrap();
    let told = got.read_to_end(LIMIT).await.unwrap();
    assert_eq!(told, b"before and after");
    got.write_all(&told).await.unwrap();
    got.shutdown().await.unwrap();
    assert_eq!(soon(stream.read_to_end(LIMIT)).await.unwrap(), told);

    // New: on another connection.
    let second = soon(connector.connect(&cart)).await.unwrap();
    assert!(second.is_open());
    let other: Connection = soon(listener.accept()).await.unwrap();
    // The first ends with its last user: its place does not hold it.
    drop((stream, first, got));
    soon(served.closed()).await;

    // The caller may do the same by itself; then nobody has the second either.
    second.drain().await.unwrap();
    soon(second.retired()).await;
    drop(second);
    soon(other.closed()).await;
}

#[tokio::test]
async fn a_drained_connection_that_nobody_uses_ends_at_once() {
    let world = World::new().await;
    world.authorise(3_600);
    let endpoint = world.told().await;
    let listener = endpoint.listen();
    let client = world.client().await;
    drop(client.connector().connect(&name(CART)).await.unwrap());
    let served = listener.accept().await.unwrap();
    soon(served.drain()).await.unwrap();
    soon(served.closed()).await;
    let over = served.drain().await;
    assert!(over.is_err(), "{over:?}");
}

#[tokio::test]
async fn a_caller_makes_no_new_calls_with_a_certificate_that_is_over() {
    let world = World::new().await;
    world.authorise(3_600);
    let _server = Server::start(world.told().await);
    let mut folder = None;
    let client = world
        .endpoint_with(("web", "web"), &[], |config| {
            config.credentials_interval = Duration::ZERO;
            folder = Some(config.credentials.clone());
        })
        .await;
    let issue = |seconds| {
        let pod = Identity::pod("web").unwrap();
        let life = (now_s() - 10, now_s() + seconds);
        let folder = folder.as_ref().unwrap();
        world
            .root
            .issue_for(&pod, &Scope::default(), life, false, folder)
            .unwrap();
    };
    issue(3);
    let connector = client.connector();
    let first = connector.connect(&name(CART)).await.unwrap();
    issue(86_400);
    soon(first.retired()).await;
    let second = soon(connector.connect(&name(CART))).await.unwrap();
    assert!(second.is_open());
    // The server ends the first, and says why.
    let why = soon(first.closed()).await.to_string();
    assert!(why.contains("your certificate has expired"), "{why}");
    assert!(second.is_open());
}
