//! The format of a stream, with an other end that knows nothing of this library.

use std::sync::Arc;

use bytes::Bytes;
use dmsc_http::preface::{self, Code};
use dmsc_http::{Client, HttpError};
use dmsc_quic::{Endpoint, Stream};
use http::Request;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use crate::hall::{Hall, NAME, URI, caller, hello, serving};
use crate::shop::{Shop, taken};
use crate::world::{World, name};

const GET: &[u8] = b"GET /who HTTP/1.1\r\nhost: me\r\nconnection: close\r\n\r\n";

async fn stream(world: &World) -> (Endpoint, Stream) {
    let endpoint = world.client().await;
    let stream = endpoint.connector().open(&name(NAME)).await.unwrap();
    (endpoint, stream)
}

#[tokio::test]
async fn a_library_serves_an_edge() {
    let world = World::new().await;
    let _shop = Shop::open(&world, "cart/a").await;
    let (_endpoint, mut stream) = stream(&world).await;
    // With an extension, and in pieces.
    stream.write_all(&[1, 0, 0]).await.unwrap();
    stream.flush().await.unwrap();
    stream.write_all(&[3, 9, 9, 9]).await.unwrap();
    stream.write_all(GET).await.unwrap();
    let answer = stream.read_to_end(10_000).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("web called /shop/cart as me"), "{answer}");
}

#[tokio::test]
async fn another_version_is_refused() {
    let world = World::new().await;
    let _shop = Shop::open(&world, "cart/a").await;
    for preface in [[2, 0, 0, 0], [1, 1, 0, 0]] {
        let (_endpoint, mut stream) = stream(&world).await;
        stream.write_all(&preface).await.unwrap();
        let error = stream.read_u8().await.unwrap_err();
        assert_eq!(Code::of(&error), Some(Code::BadPreface), "{error}");
    }
}

/// An edge before a program that is not there, or that is `program`.
fn edge(endpoint: &Arc<Endpoint>, program: fn(Stream) -> JoinHandle<()>) -> JoinHandle<()> {
    let listener = endpoint.listen();
    tokio::spawn(async move {
        while let Some(connection) = listener.accept().await {
            tokio::spawn(async move {
                while let Ok(stream) = connection.accept_bi().await {
                    program(stream);
                }
            });
        }
    })
}

fn nobody(mut stream: Stream) -> JoinHandle<()> {
    tokio::spawn(async move {
        // Late: the whole call has come, and its body was read by whoever called.
        preface::read(&mut stream).await.unwrap();
        let mut some = [0; 1];
        let _ = stream.read(&mut some).await;
        Code::NobodyListens.break_off(&mut stream);
        std::future::pending::<()>().await;
    })
}

fn page(mut stream: Stream) -> JoinHandle<()> {
    tokio::spawn(async move {
        preface::read(&mut stream).await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            asked.push(stream.read_u8().await.unwrap());
        }
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\npage";
        stream.write_all(answer).await.unwrap();
        std::future::pending::<()>().await;
    })
}

fn crash(mut stream: Stream) -> JoinHandle<()> {
    tokio::spawn(async move {
        preface::read(&mut stream).await.unwrap();
        stream.read_u8().await.unwrap();
        Code::Gone.break_off(&mut stream);
        std::future::pending::<()>().await;
    })
}

#[tokio::test]
async fn an_edge_serves_a_library() {
    let world = World::new().await;
    let served = serving(&world, "cart/a").await;
    let task = edge(&served, page);
    let client = Client::new(&Arc::new(world.client().await));
    let request = Request::get("/").body(String::new()).unwrap();
    let answer = client.send(URI, request).await.unwrap();
    let page = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(page, "page");
    task.abort();
}

#[tokio::test]
async fn what_no_program_was_given_goes_elsewhere_whatever_it_is() {
    let world = World::new().await;
    let empty = serving(&world, "cart/a").await;
    let task = edge(&empty, nobody);
    let endpoint = Arc::new(world.client().await);
    let client = Client::new(&endpoint);
    let order = || Full::new(Bytes::from("order"));
    let post = || Request::post("/echo").body(order()).unwrap();
    let error = client.send(URI, post()).await.unwrap_err();
    assert!(
        matches!(
            &error,
            HttpError::Refused {
                code: Code::NobodyListens,
                ..
            }
        ),
        "{error}"
    );
    let shop = Shop::open(&world, "cart/b").await;
    taken(&client, post).await;
    for _ in 1..20 {
        let answer = client.send(URI, post()).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "POST order at cart/b");
    }
    assert_eq!(*shop.seen.borrow(), 20);
    task.abort();
}

#[tokio::test]
async fn another_pod_at_a_far_gateway_is_found() {
    let world = World::new().await;
    world.gateway.be_far();
    let empty = serving(&world, "cart/a").await;
    let task = edge(&empty, nobody);
    let shop = Shop::open(&world, "cart/b").await;
    let client = Client::new(&Arc::new(world.client().await));
    let mut taken = 0;
    // Each call dials up to three times, and where that leads to is a matter of chance; who answered once is kept.
    for _ in 0..30 {
        let request = Request::post("/echo").body(String::new()).unwrap();
        match client.send(URI, request).await {
            Ok(answer) => {
                assert_eq!(answer.body().instance(), Some("1:2".parse().unwrap()));
                answer.into_body().collect().await.unwrap();
                taken += 1;
            }
            Err(error) => {
                assert!(matches!(error, HttpError::Refused { .. }), "{error}");
                assert_eq!(taken, 0, "kept");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        }
    }
    assert!(taken >= 20, "{taken}");
    assert_eq!(*shop.seen.borrow(), taken);
    task.abort();
}

#[tokio::test]
async fn all_pods_at_a_far_gateway_get_their_share_and_one_that_dies_none() {
    let world = World::new().await;
    world.gateway.be_far();
    let shops = [
        Shop::open(&world, "cart/a").await,
        Shop::open(&world, "cart/b").await,
    ];
    let client = Client::new(&Arc::new(world.client().await));
    let send = || async {
        let request = Request::put("/echo").body(String::new()).unwrap();
        let answer = client.send(URI, request).await.unwrap();
        let instance = answer.body().instance().unwrap().attachment;
        answer.into_body().collect().await.unwrap();
        instance
    };
    let first = send().await;
    // From when the first server has told of the second.
    let limit = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while send().await == first {
        assert!(tokio::time::Instant::now() < limit, "only {first}");
    }
    let mut counts = std::collections::BTreeMap::<_, u32>::new();
    for _ in 0..100 {
        *counts.entry(send().await).or_default() += 1;
    }
    assert!(
        counts.len() == 2 && counts.values().all(|count| *count > 25),
        "{counts:?}"
    );
    let [gone, left] = shops;
    world.gateway.detach(dmsc_wire::AttachmentId(1));
    drop(gone);
    for _ in 0..100 {
        assert_eq!(send().await.0, 2);
    }
    drop(left);
}

#[tokio::test]
async fn grpc_calls_that_no_program_was_given_go_elsewhere() {
    let world = World::new().await;
    let empty = serving(&world, "cart/a").await;
    let task = edge(&empty, nobody);
    let hall = Hall::open(&world, "cart/b").await;
    for _ in 0..5 {
        let (_endpoint, mut client) = caller(&world).await;
        let reply = client.hello(hello("you")).await.unwrap();
        assert_eq!(reply.get_ref().message, "hello you from cart/b");
    }
    assert_eq!(hall.begun(), 5);
    task.abort();
}

#[tokio::test]
async fn a_program_that_broke_off_may_have_executed_it() {
    let world = World::new().await;
    let served = serving(&world, "cart/a").await;
    let task = edge(&served, crash);
    let shop = Shop::open(&world, "cart/b").await;
    let client = Client::new(&Arc::new(world.client().await));
    let mut lost = 0;
    for _ in 0..20 {
        let request = Request::post("/echo").body(String::new()).unwrap();
        match client.send(URI, request).await {
            Ok(answer) => assert_eq!(answer.status(), 200),
            Err(HttpError::Lost { why, .. }) => {
                assert_eq!(why, Code::Gone.to_string());
                lost += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(*shop.seen.borrow() + lost, 20, "none twice, none nowhere");
    task.abort();
}
