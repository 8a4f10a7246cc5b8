//! Instances and programs that fail, and what their callers are told.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dmsc_edge::pod::Phase;
use tokio::net::TcpListener;

use crate::curl::curl;
use crate::program::Program;
use crate::rig::{LIMIT, edge, edge_with};
use crate::world::World;

const CART: &str = "cart.shop.dmsc";

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn a_name_that_nobody_serves() {
    let world = World::new().await;
    let client = edge(&world, "web", &[]).await;
    let began = Instant::now();
    let page = curl(&client, CART, &["-i"], "/").await;
    assert!(page.starts_with("HTTP/1.1 503 "), "{page}");
    assert!(page.contains("dmsc-error: nobody-serves"), "{page}");
    assert!(
        page.contains("/shop/cart: nobody serves this name; start an instance"),
        "{page}"
    );
    assert!(began.elapsed() < Duration::from_secs(5));
    let page = curl(&client, "cart.shop.example", &["-i"], "/").await;
    assert!(page.starts_with("HTTP/1.1 400 "), "{page}");
    assert!(page.contains("does not end in .dmsc"), "{page}");
}

#[tokio::test]
async fn what_no_program_got_goes_to_another_instance_whatever_it_is() {
    let world = World::new().await;
    let (down, program) = (nobody().await, Program::start("b").await);
    let _first = edge(&world, "cart/a", &[("/shop/cart", down)]).await;
    let _second = edge(&world, "cart/b", &[("/shop/cart", program.at)]).await;
    let client = edge(&world, "web", &[]).await;
    for call in 1..=20 {
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            let data = ["--data-binary", "hello", version];
            assert_eq!(curl(&client, CART, &data, "/count").await, "b 5", "{call}");
        }
    }
    assert_eq!(program.calls(), 40);
}

#[tokio::test]
async fn a_program_that_falls_ill_loses_callers_that_keep_streams_to_it() {
    let world = World::new().await;
    let (ill, well) = (Program::start("ill").await, Program::start("well").await);
    let first = edge(&world, "cart/a", &[("/shop/cart", ill.at)]).await;
    let _second = edge(&world, "cart/b", &[("/shop/cart", well.at)]).await;
    let client = edge(&world, "web", &[]).await;
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        // It has calls, again in the second round; then it has none, although it would answer.
        for (healthy, row) in [(true, 1), (false, 20)] {
            first.context.shared.served[0].set_healthy(healthy);
            let wanted = if healthy {
                "ill GET /page"
            } else {
                "well GET /page"
            };
            let (mut in_a_row, began) = (0, Instant::now());
            while in_a_row < row {
                let page = curl(&client, CART, &[version], "/page").await;
                assert!(page.ends_with(" GET /page"), "{page}");
                in_a_row = if page == wanted { in_a_row + 1 } else { 0 };
                assert!(began.elapsed() < LIMIT, "{version}, well: {healthy}");
            }
        }
    }
}

#[tokio::test]
async fn nobody_listens_anywhere() {
    let world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let server = edge(&world, "cart/a", &[("/shop/cart", at)]).await;
    let client = edge(&world, "web", &[]).await;
    // It was well when it was looked at, and is gone then.
    listener.accept().await.unwrap();
    drop(listener);
    let page = curl(&client, CART, &["-i", "-d", "x"], "/").await;
    assert!(page.starts_with("HTTP/1.1 503 "), "{page}");
    assert!(page.contains("dmsc-error: not-reached"), "{page}");
    assert!(
        page.contains("takes no connections; no program has got it"),
        "{page}"
    );
    server.context.shared.served[0].set_healthy(false);
    let page = curl(&client, CART, &["-i", "-d", "x"], "/").await;
    assert!(
        page.contains("is not well; no program has got it"),
        "{page}"
    );
}

#[tokio::test]
async fn what_a_program_got_is_not_sent_twice_unless_it_may_be() {
    let world = World::new().await;
    let program = Program::start("a").await;
    let _server = edge(&world, "cart/a", &[("/shop/cart", program.at)]).await;
    let client = edge(&world, "web", &[]).await;
    let page = curl(&client, CART, &["-i", "-d", "x"], "/drop").await;
    assert!(page.starts_with("HTTP/1.1 502 "), "{page}");
    assert!(page.contains("dmsc-error: lost-after-sent"), "{page}");
    assert_eq!(program.calls(), 1);
    // A kept connection ends in the same way.
    curl(&client, CART, &[], "/").await;
    let page = curl(&client, CART, &["-i", "-d", "x"], "/drop").await;
    assert!(page.starts_with("HTTP/1.1 502 "), "{page}");
    assert_eq!(program.calls(), 3);
    let page = curl(&client, CART, &["-i"], "/drop").await;
    assert!(page.starts_with("HTTP/1.1 502 "), "{page}");
    assert_eq!(program.calls(), 6);
    let arguments = ["-i", "-d", "x", "--http2-prior-knowledge"];
    let page = curl(&client, CART, &arguments, "/drop").await;
    assert!(page.starts_with("HTTP/2 502"), "{page}");
    assert_eq!(program.calls(), 7);
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time() {
    let world = World::new().await;
    let program = Program::start("a").await;
    let _server = edge(&world, "cart/a", &[("/shop/cart", program.at)]).await;
    let timeout = Duration::from_millis(500);
    let client = edge_with(&world, "web", &[], timeout).await;
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for data in [&["-i", version][..], &["-i", version, "-d", "x"]] {
            let page = curl(&client, CART, data, "/silence").await;
            assert!(page.contains(" 504"), "{page}");
            assert!(page.contains("no answer within 500ms"), "{page}");
        }
    }
    assert_eq!(program.calls(), 4);
    let stats = &client.context.shared.stats;
    assert_eq!(
        (stats.in_flight(), stats.errors()),
        (0, vec![("timeout", 4)])
    );
}

#[tokio::test]
async fn a_pod_that_dies_is_replaced() {
    let world = World::new().await;
    let (a, b) = (Program::start("a").await, Program::start("b").await);
    let first = edge(&world, "cart/a", &[("/shop/cart", a.at)]).await;
    let second = edge(&world, "cart/b", &[("/shop/cart", b.at)]).await;
    let client = edge(&world, "web", &[]).await;
    let pages = curl(&client, CART, &[], "/[1-40]").await;
    assert!(
        pages.contains("a GET") && pages.contains("b GET"),
        "{pages}"
    );
    // Nothing reaches it any more: what is on its way is lost, and may be sent again.
    let at = first.context.endpoint.pod().registered().attachment;
    world.gateway.detach(at);
    let pages = curl(&client, CART, &[], "/[1-40]").await;
    assert_eq!(pages.matches("b GET").count(), 40, "{pages}");
    drop(second);
}

#[tokio::test]
async fn an_edge_that_ends_takes_nothing_new_and_lets_the_rest_end() {
    let world = World::new().await;
    let (a, b) = (Program::start("a").await, Program::start("b").await);
    let first = edge(&world, "cart/a", &[("/shop/cart", a.at)]).await;
    let _second = edge(&world, "cart/b", &[("/shop/cart", b.at)]).await;
    let client = edge(&world, "web", &[]).await;
    first.phase.send_replace(Phase::Draining);
    let arguments = ["-d", "x"];
    for _ in 0..10 {
        assert_eq!(curl(&client, CART, &arguments, "/").await, "b POST /");
    }
    assert_eq!(a.calls(), 0);
    // The caller's edge: a program's connection ends with the call that it has.
    client.phase.send_replace(Phase::Draining);
    let gone = curl(&client, CART, &[], "/").await;
    assert!(gone.contains("curl: "), "{gone}");
}
