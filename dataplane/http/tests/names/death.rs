//! Instances that die, before and after a call was sent to them.

use bytes::Bytes;
use dmsc_http::{Client, HttpError};
use dmsc_wire::AttachmentId;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use tonic::Code;

use crate::hall::{Hall, NAME, URI, caller, hello, reaches};
use crate::shop::Shop;
use crate::world::{World, name};

#[tokio::test]
async fn a_call_that_was_not_sent_goes_to_another_instance() {
    let world = World::new().await;
    let first = Hall::open(&world, "cart/a").await;
    let (endpoint, mut client) = caller(&world).await;
    client.hello(hello("you")).await.unwrap();
    // The one it is connected to, and one that the gateway still tells when it is gone.
    let place = "1:1".parse().unwrap();
    let connection = endpoint.connector().connect_to(&name(NAME), place).await;
    world.gateway.detach(AttachmentId(1));
    drop(first);
    connection.unwrap().closed().await;
    let second = Hall::open(&world, "cart/b").await;
    let third = Hall::open(&world, "cart/c").await;
    world.gateway.detach(AttachmentId(3));
    for _ in 0..10 {
        let reply = client.hello(hello("you")).await.unwrap();
        assert_eq!(reply.get_ref().message, "hello you from cart/c");
    }
    assert_eq!((second.begun(), third.begun()), (0, 10));
}

#[tokio::test]
async fn a_call_that_was_sent_fails_clearly_and_is_never_made_twice() {
    let world = World::new().await;
    let first = Hall::open(&world, "cart/a").await;
    let (_endpoint, client) = caller(&world).await;
    let mut caller = client.clone();
    let call = tokio::spawn(async move { caller.hello(hello("silence")).await });
    reaches(&first.seen.begun, 1).await;
    let second = Hall::open(&world, "cart/b").await;
    world.gateway.detach(AttachmentId(1));
    let status = call.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    for words in [
        "/shop/cart: the instance 1:1 was lost",
        "may have been executed",
    ] {
        assert!(status.message().contains(words), "{status}");
    }
    assert_eq!((first.begun(), second.begun()), (1, 0), "never twice");
    let mut client = client;
    let reply = client.hello(hello("you")).await.unwrap();
    assert_eq!(reply.get_ref().message, "hello you from cart/b");
}

#[tokio::test]
async fn what_may_be_repeated_is_and_what_may_not_is_not() {
    let world = World::new().await;
    let first = Shop::open(&world, "cart/a").await;
    let endpoint = std::sync::Arc::new(world.client().await);
    let client = Client::new(&endpoint);
    let call = |method: Method| {
        let client = client.clone();
        let body = Full::new(Bytes::from("body"));
        let request = Request::builder().method(method).uri("/silence");
        let request = request.body(body).unwrap();
        tokio::spawn(async move { client.send(URI, request).await })
    };
    let (get, post) = (call(Method::PUT), call(Method::POST));
    reaches(&first.seen, 2).await;
    let second = Shop::open(&world, "cart/b").await;
    second.speak();
    world.gateway.detach(AttachmentId(1));
    let error = post.await.unwrap().unwrap_err();
    assert!(matches!(error, HttpError::Lost { .. }), "{error}");
    assert!(!error.is_safe_to_repeat());
    let answer = get.await.unwrap().unwrap();
    assert_eq!(answer.body().instance(), Some("1:3".parse().unwrap()));
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "PUT body at cart/b");
    assert_eq!((*first.seen.borrow(), *second.seen.borrow()), (2, 1));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_told() {
    let world = World::new().await;
    let _shop = Shop::open(&world, "cart/a").await;
    let endpoint = std::sync::Arc::new(world.client().await);
    let client = Client::new(&endpoint);
    let request = Request::get("/half").body(String::new()).unwrap();
    let mut body = client.send(URI, request).await.unwrap().into_body();
    let half = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(half, "half");
    world.gateway.detach(AttachmentId(1));
    let error = body.frame().await.unwrap().unwrap_err();
    assert!(matches!(error, HttpError::Lost { .. }), "{error}");
}

#[tokio::test]
async fn nobody_is_told_soon_and_nothing_was_sent() {
    let world = World::new().await;
    let (_endpoint, mut client) = caller(&world).await;
    let status = client.hello(hello("you")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("nothing was sent"), "{status}");
}
