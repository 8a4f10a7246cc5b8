//! All kinds of gRPC calls.

use std::time::Duration;

use dmsc_http::{UriError, channel, tonic_channel};
use tokio::sync::mpsc;
use tokio_stream::iter;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request};

use crate::hall::proto::HelloOftenRequest;
use crate::hall::proto::greeter_client::GreeterClient;
use crate::hall::{Hall, NAME, URI, caller, hello, reaches};
use crate::world::{World, name};

#[tokio::test]
async fn unary_calls_with_metadata_trailers_and_who_called() {
    let world = World::new().await;
    let _hall = Hall::open(&world, "cart/a").await;
    let (_endpoint, mut client) = caller(&world).await;
    let reply = client.hello(hello("you")).await.unwrap();
    assert_eq!(reply.metadata().get("mood").unwrap(), "good");
    assert_eq!(reply.get_ref().message, "hello you from cart/a");
    let who = client.hello(hello("who")).await.unwrap();
    assert_eq!(who.get_ref().message, "web called /shop/cart");
    let status = client.hello(hello("nobody")).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::NotFound, "nobody is here")
    );
    assert_eq!(status.metadata().get("looked").unwrap(), "twice");
}

#[tokio::test]
async fn streams_of_all_kinds() {
    let world = World::new().await;
    let _hall = Hall::open(&world, "cart/a").await;
    let (_endpoint, mut client) = caller(&world).await;

    let names = (0..300).map(|_| hello("x".repeat(1_000)));
    let reply = client.hello_all(iter(names)).await.unwrap();
    assert_eq!(
        reply.get_ref().message,
        "hello 300 of 300000 bytes from cart/a"
    );

    let often = HelloOftenRequest {
        name: "x".repeat(500),
        count: 2_000,
    };
    let mut replies = client.hello_often(often).await.unwrap().into_inner();
    for at in 0..2_000 {
        let message = replies.message().await.unwrap().unwrap().message;
        assert!(
            message.ends_with(&format!(" {at} from cart/a")),
            "{message}"
        );
    }
    assert!(replies.message().await.unwrap().is_none());
    assert!(replies.trailers().await.unwrap().is_some());

    // Each answer before the next question: both directions are open at the same time.
    let (say, said) = mpsc::channel(1);
    let mut replies = client
        .chat(ReceiverStream::new(said))
        .await
        .unwrap()
        .into_inner();
    for at in 0..50 {
        say.send(hello(at.to_string())).await.unwrap();
        let reply = replies.message().await.unwrap().unwrap();
        assert_eq!(reply.message, format!("hello {at} from cart/a"));
    }
    say.send(hello("stop")).await.unwrap();
    let status = replies.message().await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Aborted, "stopped")
    );
}

#[tokio::test]
async fn a_deadline_ends_the_call_at_both_ends() {
    let world = World::new().await;
    let hall = Hall::open(&world, "cart/a").await;
    let (_endpoint, mut client) = caller(&world).await;
    client.hello(hello("you")).await.unwrap();
    let mut request = Request::new(hello("silence"));
    request.set_timeout(Duration::from_millis(300));
    let status = client.hello(request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    reaches(&hall.seen.dropped, 1).await;

    // Of a stream too, whose head has come.
    let (say, said) = mpsc::channel(1);
    let mut request = Request::new(ReceiverStream::new(said));
    request.set_timeout(Duration::from_millis(500));
    let mut replies = client.chat(request).await.unwrap().into_inner();
    say.send(hello("you")).await.unwrap();
    assert!(replies.message().await.unwrap().is_some());
    let status = replies.message().await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    // The connection serves on.
    client.hello(hello("you")).await.unwrap();
}

#[tokio::test]
async fn a_call_that_is_given_up_ends_at_the_server() {
    let world = World::new().await;
    let hall = Hall::open(&world, "cart/a").await;
    let (_endpoint, client) = caller(&world).await;
    let mut other = client.clone();
    let call = tokio::spawn(async move { other.hello(hello("silence")).await });
    reaches(&hall.seen.begun, 1).await;
    call.abort();
    reaches(&hall.seen.dropped, 1).await;
}

#[tokio::test]
async fn a_hundred_calls_share_one_connection() {
    let world = World::new().await;
    let hall = Hall::open(&world, "cart/a").await;
    let (endpoint, client) = caller(&world).await;
    let calls: Vec<_> = (0..100)
        .map(|number| {
            let mut client = client.clone();
            tokio::spawn(async move {
                let reply = client.hello(hello(number.to_string())).await.unwrap();
                let expected = format!("hello {number} from cart/a");
                assert_eq!(reply.get_ref().message, expected);
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(hall.begun(), 100);
    assert_eq!(endpoint.open_connections(), 1);
    assert_eq!(hall.endpoint.open_connections(), 1);
}

#[tokio::test]
async fn every_call_is_answered_on_a_lossy_way() {
    let world = World::new().await;
    let hall = Hall::open(&world, "cart/a").await;
    let (_endpoint, mut client) = caller(&world).await;
    world.gateway.lose_every(20);
    for number in 0..50 {
        let reply = client.hello(hello(number.to_string())).await.unwrap();
        assert_eq!(
            reply.get_ref().message,
            format!("hello {number} from cart/a")
        );
    }
    assert_eq!(hall.begun(), 50, "none twice");
}

#[tokio::test]
async fn two_instances_share_the_calls() {
    let world = World::new().await;
    let first = Hall::open(&world, "cart/a").await;
    let second = Hall::open(&world, "cart/b").await;
    let (endpoint, client) = caller(&world).await;
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let mut client = client.clone();
            tokio::spawn(async move { client.hello(hello("you")).await.unwrap() })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(first.begun() + second.begun(), 100);
    assert!(
        first.begun() > 20 && second.begun() > 20,
        "{}",
        first.begun()
    );
    assert_eq!(endpoint.open_connections(), 2);
}

#[tokio::test]
async fn who_leaves_under_load_loses_no_call() {
    let world = World::new().await;
    let mut first = Hall::open(&world, "cart/a").await;
    let (_endpoint, client) = caller(&world).await;
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let mut client = client.clone();
            tokio::spawn(async move {
                for _ in 0..100 {
                    client.hello(hello("you")).await.unwrap();
                }
            })
        })
        .collect();
    reaches(&first.seen.begun, 200).await;
    let second = Hall::open(&world, "cart/b").await;
    reaches(&second.seen.begun, 50).await;
    first.leave();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(
        first.begun() + second.begun(),
        1_000,
        "none lost, none twice"
    );
}

#[tokio::test]
async fn a_channel_of_tonic_itself() {
    let world = World::new().await;
    let first = Hall::open(&world, "cart/a").await;
    let endpoint = std::sync::Arc::new(world.client().await);
    let mut client = GreeterClient::new(tonic_channel(&endpoint, URI).unwrap());
    let reply = client.hello(hello("you")).await.unwrap();
    assert_eq!(reply.get_ref().message, "hello you from cart/a");
    // It outlives its instance.
    let _second = Hall::open(&world, "cart/b").await;
    world.gateway.detach(dmsc_wire::AttachmentId(1));
    let connection = endpoint.connector().connect(&name(NAME)).await.unwrap();
    connection.closed().await;
    drop(first);
    let mut tries = 0;
    let reply = loop {
        match client.hello(hello("you")).await {
            Ok(reply) => break reply,
            // The channel may still be about to notice.
            Err(status) if tries < 3 => assert_eq!(status.code(), Code::Unknown, "{status}"),
            Err(status) => panic!("{status}"),
        }
        tries += 1;
    };
    assert_eq!(reply.get_ref().message, "hello you from cart/b");
}

#[tokio::test]
async fn a_uri_that_says_no_name() {
    let world = World::new().await;
    let endpoint = std::sync::Arc::new(world.client().await);
    let error = channel(&endpoint, "http://shop/cart").unwrap_err();
    assert!(matches!(error, UriError::Scheme(_)), "{error}");
}
