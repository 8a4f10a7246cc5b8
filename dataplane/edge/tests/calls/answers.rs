//! Answers of programs that nobody can read, and who is told so.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{Empty, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::curl::curl;
use crate::rig::{LIMIT, edge};
use crate::world::World;

const CART: &str = "cart.shop.dmsc";

/// A program that answers with the same bytes whatever it is asked, and keeps its connections.
async fn parrot(answer: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(say(stream, Arc::clone(&answer)));
        }
    });
    at
}

async fn say(mut stream: TcpStream, answer: Arc<Vec<u8>>) {
    let mut asked = [0; 4_096];
    while stream.read(&mut asked).await.is_ok_and(|read| read > 0) {
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

fn head(fields: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n{fields}\r\ngood").into_bytes()
}

#[tokio::test]
async fn answers_of_http1_that_cannot_be_read() {
    const NO_HTTP: (&str, &str) = ("bad-answer", "the program's answer is no HTTP; does the");
    const LONG: (&str, &str) = (
        "long-answer",
        "the head of the program's answer is too long; have the program say at most 100 fields",
    );
    let world = World::new().await;
    let good = parrot(head("")).await;
    let mut serves = vec![("/shop/cart", good)];
    let cases = [
        ("/shop/banner", b"220 mail.shop ready\r\n".to_vec(), NO_HTTP),
        (
            "/shop/tls",
            b"\x15\x03\x03\x00\x02\x02\x28".to_vec(),
            NO_HTTP,
        ),
        ("/shop/field", head("a b: c\r\n"), NO_HTTP),
        (
            "/shop/large",
            head(&format!("a: {}\r\n", "x".repeat(200_000))),
            LONG,
        ),
        // With its length it has 101 fields.
        ("/shop/many", head(&"a: b\r\n".repeat(100)), LONG),
    ];
    for (prefix, answer, _) in &cases {
        serves.push((*prefix, parrot(answer.clone()).await));
    }
    let last = parrot(head(&"a: b\r\n".repeat(99))).await;
    serves.push(("/shop/last", last));
    let _server = edge(&world, "cart/a", &serves).await;
    let client = edge(&world, "web", &[]).await;
    let page = curl(&client, "last.shop.dmsc", &[], "/").await;
    assert_eq!(page, "good");
    for (prefix, _, (code, told)) in cases {
        let (_, name) = prefix.rsplit_once('/').unwrap();
        let host = format!("{name}.shop.dmsc");
        // Before and after it on the same connection, others are answered.
        let good = format!("GET / HTTP/1.1\r\nhost: {CART}\r\n\r\n");
        let bad = format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n");
        let last = format!("GET / HTTP/1.1\r\nhost: {CART}\r\nconnection: close\r\n\r\n");
        let answers = client.raw(format!("{good}{bad}{last}").as_bytes()).await;
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
        assert_eq!(answers.matches("HTTP/1.1 502 ").count(), 1, "{answers}");
        let error = format!("dmsc-error: {code}\r\n");
        assert!(answers.contains(&error), "{prefix}: {answers}");
        let told = format!("{prefix}: {told}");
        assert!(answers.contains(&told), "{answers}");
        let page = curl(&client, &host, &["-i", "-d", "x"], "/").await;
        assert!(page.starts_with("HTTP/1.1 502 "), "{page}");
        assert!(page.contains(&told), "{page}");
    }
    let stats = &client.context.shared.stats;
    assert_eq!(
        (stats.in_flight(), stats.errors()),
        (0, vec![("bad-answer", 6), ("long-answer", 4)])
    );
}

#[tokio::test]
async fn a_program_that_speaks_no_http2() {
    let world = World::new().await;
    let good = head("");
    let banner = b"SSH-2.0-OpenSSH_9.2\r\n".to_vec();
    let first = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n".to_vec();
    let serves = [
        ("/shop/cart", parrot(good).await),
        ("/shop/banner", parrot(banner).await),
        ("/shop/first", parrot(first).await),
    ];
    let _server = edge(&world, "cart/a", &serves).await;
    let client = edge(&world, "web", &[]).await;
    let arguments = ["-i", "--http2-prior-knowledge"];
    for name in ["banner", "first"] {
        let host = format!("{name}.shop.dmsc");
        for data in [&arguments[..], &[arguments[0], arguments[1], "-d", "x"]] {
            let page = curl(&client, &host, data, "/").await;
            assert!(page.starts_with("HTTP/2 502"), "{page}");
            assert!(page.contains("dmsc-error: bad-answer"), "{page}");
            let told = format!(
                "/shop/{name}: the program's answer is no HTTP/2; does the program speak the protocol that it was called with?"
            );
            assert!(page.contains(&told), "{page}");
        }
    }
    assert_eq!(curl(&client, CART, &[], "/").await, "good");
    let grpc = [
        "-i",
        "--http2-prior-knowledge",
        "-H",
        "content-type: application/grpc",
    ];
    let page = curl(&client, "banner.shop.dmsc", &grpc, "/").await;
    assert!(page.contains("grpc-status: 13"), "{page}");
    let stats = &client.context.shared.stats;
    assert_eq!(
        (stats.in_flight(), stats.errors()),
        (0, vec![("bad-answer", 5)])
    );
}

/// HTTP/2: as many bytes of a field as the path says; `/wait` answers when it is told to.
async fn program(go: watch::Receiver<bool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let go = go.clone();
            let service = service_fn(move |request| answer(request, go.clone()));
            let server = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    at
}

async fn answer(
    request: Request<Incoming>,
    mut go: watch::Receiver<bool>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::from("good"));
    match request.uri().path().trim_start_matches('/').parse() {
        Ok(length) => {
            let value = HeaderValue::from_str(&"x".repeat(length)).unwrap();
            response.headers_mut().insert("x-long", value);
        }
        Err(_) => drop(go.wait_for(|go| *go).await),
    }
    Ok(response)
}

#[tokio::test]
async fn heads_of_http2_that_are_too_long() {
    let world = World::new().await;
    let (go, told) = watch::channel(false);
    let at = program(told).await;
    let _server = edge(&world, "cart/a", &[("/shop/cart", at)]).await;
    let client = edge(&world, "web", &[]).await;
    let mut sender = client.second().await;
    let mut call = |method: Method, path: &str| {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{CART}/{path}"))
            .body(Empty::new());
        sender.send_request(request.unwrap())
    };
    // It shares the connection to the program with those that follow.
    let waiting = tokio::spawn(call(Method::GET, "wait"));
    for (length, status) in [(10_000, 200), (70_000, 502), (100_000, 502), (1, 200)] {
        let answer = call(Method::GET, &length.to_string()).await.unwrap();
        assert_eq!(answer.status(), status, "{length}");
        let told = answer.headers().get("dmsc-error");
        let told = told.map(|told| told.to_str().unwrap());
        assert_eq!(told, (status == 502).then_some("bad-answer"), "{length}");
    }
    assert!(!waiting.is_finished());
    // With one of many times the length the program's connection ends; whose answer that was is not known. What may be made again is.
    let answer = call(Method::POST, "400000").await.unwrap();
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.headers()["dmsc-error"], "lost-after-sent");
    go.send_replace(true);
    let waited = tokio::time::timeout(LIMIT, waiting).await.unwrap();
    assert_eq!(waited.unwrap().unwrap().status(), 200);
    let stats = &client.context.shared.stats;
    assert_eq!(
        (stats.in_flight(), stats.errors()),
        (0, vec![("bad-answer", 2), ("lost-after-sent", 1)])
    );
}
