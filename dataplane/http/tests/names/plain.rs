//! Plain HTTP: axum at one end, the client at the other.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dmsc_http::{Client, Config, HttpError};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::hall::{URI, reaches};
use crate::shop::{Shop, taken};
use crate::world::World;

async fn text(answer: http::Response<dmsc_http::Answer>) -> Bytes {
    assert_eq!(answer.status(), 200);
    answer.into_body().collect().await.unwrap().to_bytes()
}

fn post(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(path).body(Full::new(body.into())).unwrap()
}

#[tokio::test]
async fn requests_have_their_path_body_and_host() {
    let world = World::new().await;
    let _shop = Shop::open(&world, "cart/a").await;
    let endpoint = Arc::new(world.client().await);
    let client = Client::new(&endpoint);
    let get = Request::get("/who?x=1").body(String::new()).unwrap();
    let answer = client.send(URI, get).await.unwrap();
    assert_eq!(
        text(answer).await,
        "web called /shop/cart as cart.shop.dmsc"
    );
    let answer = client.send(URI, post("/echo", "hi")).await.unwrap();
    assert_eq!(text(answer).await, "POST hi at cart/a");
    // What the URI says of scheme and host counts nothing, and a name may lie below the one that is served.
    let get = Request::get("http://elsewhere/who").header("host", "me");
    let get = get.body(String::new()).unwrap();
    let answer = client.send("dmsc://shop/cart/v1", get).await.unwrap();
    assert_eq!(text(answer).await, "web called /shop/cart/v1 as me");
    let request = Request::get("/no-such-path").body(String::new()).unwrap();
    assert_eq!(client.send(URI, request).await.unwrap().status(), 404);
}

#[tokio::test]
async fn the_gateway_is_told_how_long_calls_took() {
    let world = World::new().await;
    let _shop = Shop::open(&world, "cart/a").await;
    let endpoint = Arc::new(world.client().await);
    let client = Client::new(&endpoint);
    for uri in [URI, URI, URI, "dmsc://shop/cart/v1"] {
        let answer = client.send(uri, post("/echo", "hi")).await.unwrap();
        text(answer).await;
    }
    world.gateway.answered("/shop/cart", 3).await;
    world.gateway.answered("/shop/cart/v1", 1).await;
    // And of the next second, what was not told before.
    let answer = client.send(URI, post("/echo", "hi")).await.unwrap();
    text(answer).await;
    world.gateway.answered("/shop/cart", 4).await;
}

#[tokio::test]
async fn a_large_body_both_ways_and_streams_are_used_again() {
    let world = World::new().await;
    // One stream at a time: a second one would be refused.
    let _shop = Shop::open_for(&world, "cart/a", 1).await;
    let endpoint = Arc::new(world.client().await);
    let client = Client::new(&endpoint);
    let body = "x".repeat(1 << 20);
    for _ in 0..3 {
        let answer = client.send(URI, post("/echo", body.clone())).await.unwrap();
        assert_eq!(
            text(answer).await.len(),
            body.len() + "POST  at cart/a".len()
        );
    }
    assert_eq!(endpoint.open_connections(), 1);
}

#[tokio::test]
async fn an_instance_with_too_many_streams_is_passed_over() {
    let world = World::new().await;
    let first = Shop::open_for(&world, "cart/a", 1).await;
    let endpoint = Arc::new(world.client().await);
    let client = Client::new(&endpoint);
    let busy = tokio::spawn({
        let client = client.clone();
        async move { client.send(URI, post("/silence", "1")).await }
    });
    reaches(&first.seen, 1).await;
    let error = client.send(URI, post("/echo", "2")).await.unwrap_err();
    let text_of = error.to_string();
    assert!(matches!(error, HttpError::Refused { .. }) && error.is_safe_to_repeat());
    assert!(
        text_of.contains("1:1 refused the call: overloaded"),
        "{text_of}"
    );
    let _second = Shop::open(&world, "cart/b").await;
    taken(&client, || post("/echo", "3")).await;
    for _ in 0..10 {
        let answer = client.send(URI, post("/echo", "3")).await.unwrap();
        assert_eq!(text(answer).await, "POST 3 at cart/b");
    }
    first.speak();
    let answer = busy.await.unwrap().unwrap();
    assert_eq!(text(answer).await, "POST 1 at cart/a");
}

#[tokio::test]
async fn who_shuts_down_ends_what_runs_and_takes_nothing_new() {
    let world = World::new().await;
    let mut first = Shop::open(&world, "cart/a").await;
    let endpoint = Arc::new(world.client().await);
    let client = Client::new(&endpoint);
    let running = tokio::spawn({
        let client = client.clone();
        async move { client.send(URI, post("/silence", "1")).await }
    });
    reaches(&first.seen, 1).await;
    let _second = Shop::open(&world, "cart/b").await;
    first.leave();
    taken(&client, || post("/echo", "2")).await;
    for _ in 0..10 {
        let answer = client.send(URI, post("/echo", "2")).await.unwrap();
        assert_eq!(text(answer).await, "POST 2 at cart/b");
    }
    first.speak();
    let answer = running.await.unwrap().unwrap();
    assert_eq!(text(answer).await, "POST 1 at cart/a");
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_given_up() {
    let world = World::new().await;
    let _shop = Shop::open(&world, "cart/a").await;
    let endpoint = Arc::new(world.client().await);
    let config = Config {
        timeout: Some(Duration::from_millis(300)),
        ..Config::default()
    };
    let client = Client::with_config(&endpoint, config);
    let error = client.send(URI, post("/silence", "")).await.unwrap_err();
    assert!(matches!(error, HttpError::Timeout { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("/shop/cart: no answer within 300ms")
    );
}

#[tokio::test]
async fn an_upgraded_connection_carries_bytes() {
    let world = World::new().await;
    let _shop = Shop::open(&world, "cart/a").await;
    let endpoint = Arc::new(world.client().await);
    let request = Request::get("/upgrade")
        .header("connection", "upgrade")
        .header("upgrade", "echo");
    let request = request.body(String::new()).unwrap();
    let answer = Client::new(&endpoint).send(URI, request).await.unwrap();
    assert_eq!(answer.status(), 101);
    let mut stream = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    stream.write_all(b"hello").await.unwrap();
    let mut told = Vec::new();
    stream.read_to_end(&mut told).await.unwrap();
    assert_eq!(told, b"hello");
}

#[tokio::test]
async fn names_are_bounded() {
    let world = World::new().await;
    let _shop = Shop::open(&world, "cart/a").await;
    let endpoint = Arc::new(world.client().await);
    let config = Config {
        names: 2,
        ..Config::default()
    };
    let client = Client::with_config(&endpoint, config);
    let mut kept = Vec::new();
    for at in 0..4 {
        let uri = format!("dmsc://shop/cart/{at}");
        let answer = client.send(&uri, post("/echo", "x")).await.unwrap();
        kept.push(text(answer).await);
    }
    assert_eq!(kept.len(), 4);
}
