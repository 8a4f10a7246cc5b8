//! Bytes: WebSocket, half-closed connections, resets.

use std::time::Duration;

use http::Request;
use http_body_util::Empty;
use hyper::ext::Protocol;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::rig::{LIMIT, accept, edge};
use crate::world::{World, name};

/// Reads a head; what came after it.
async fn head(stream: &mut tokio::net::TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn a_connection_goes_over_to_another_protocol() {
    let world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let program = tokio::spawn(async move {
        let mut stream = accept(&listener).await;
        let asked = head(&mut stream).await.to_lowercase();
        assert!(asked.contains("upgrade: websocket\r\n"), "{asked}");
        assert!(asked.contains("connection: upgrade\r\n"), "{asked}");
        assert!(asked.contains("sec-websocket-key: abc\r\n"), "{asked}");
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: def\r\n\r\nfirst";
        stream.write_all(answer).await.unwrap();
        // Everything back, then the end.
        let mut told = Vec::new();
        stream.read_to_end(&mut told).await.unwrap();
        stream.write_all(&told).await.unwrap();
        stream.shutdown().await.unwrap();
    });
    let _server = edge(&world, "cart/a", &[("/shop/cart", at)]).await;
    let client = edge(&world, "web", &[]).await;
    let mut stream = client.connect().await;
    let ask = b"GET /chat HTTP/1.1\r\nhost: cart.shop.dmsc\r\nupgrade: websocket\r\nconnection: keep-alive, Upgrade\r\nsec-websocket-key: abc\r\n\r\n";
    stream.write_all(ask).await.unwrap();
    let answer = head(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.contains("sec-websocket-accept: def"), "{answer}");
    let told = vec![7; 1_000_000];
    let (mut read, mut write) = stream.split();
    let said = async {
        write.write_all(&told).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut heard = Vec::new();
    let both = async { tokio::join!(said, read.read_to_end(&mut heard)) };
    tokio::time::timeout(LIMIT, both).await.unwrap().1.unwrap();
    assert_eq!(&heard[..5], b"first");
    assert!(heard[5..] == told);
    program.await.unwrap();
}

#[tokio::test]
async fn ends_of_directions_and_resets_pass() {
    let world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let _server = edge(&world, "cart/a", &[("/shop/cart", at)]).await;
    let client = edge(&world, "web", &[]).await;
    let callee = client.context.chooser.callee(&name("/shop/cart"));
    let deadline = std::time::Instant::now() + LIMIT;
    let open = || dmsc_edge::outbound::open(&callee, &client.context, deadline);
    // The caller says all first, and hears the answer then.
    let (mut tunnel, _chosen) = open().await.unwrap();
    tunnel.write_all(b"ask").await.unwrap();
    tunnel.shutdown().await.unwrap();
    let mut program = accept(&listener).await;
    let mut asked = String::new();
    program.read_to_string(&mut asked).await.unwrap();
    program.write_all(b"answer").await.unwrap();
    drop(program);
    let mut answer = String::new();
    tunnel.read_to_string(&mut answer).await.unwrap();
    assert_eq!((asked.as_str(), answer.as_str()), ("ask", "answer"));
    // A program that resets.
    let (mut tunnel, _chosen) = open().await.unwrap();
    tunnel.write_all(b"ask").await.unwrap();
    let program = accept(&listener).await;
    program.readable().await.unwrap();
    // Unread bytes make the kernel reset it.
    drop(program);
    let error = tunnel.read_u8().await.unwrap_err();
    assert!(error.to_string().contains("reset"), "{error}");
    assert_eq!(tunnel.fate().code(), Some(dmsc_http::preface::Code::Gone));
    // A caller that breaks off, after it has said all.
    let (mut tunnel, _chosen) = open().await.unwrap();
    tunnel.write_all(b"ask").await.unwrap();
    tunnel.shutdown().await.unwrap();
    let mut program = accept(&listener).await;
    let mut asked = String::new();
    program.read_to_string(&mut asked).await.unwrap();
    drop(tunnel);
    let reset = async {
        while program.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, reset).await.unwrap();
    // A caller that breaks off in the middle.
    let (mut tunnel, _chosen) = open().await.unwrap();
    tunnel.write_all(b"ask").await.unwrap();
    let mut program = accept(&listener).await;
    drop(tunnel);
    let mut asked = String::new();
    let read = program.read_to_string(&mut asked);
    let error = tokio::time::timeout(LIMIT, read).await.unwrap();
    assert!(error.is_err(), "{asked}");
}

#[tokio::test]
async fn websocket_over_http2_reaches_a_program_of_http1() {
    let world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let program = tokio::spawn(async move {
        let mut stream = accept(&listener).await;
        let asked = head(&mut stream).await.to_lowercase();
        assert!(asked.starts_with("get /chat?x=1 http/1.1\r\n"), "{asked}");
        for line in [
            "host: cart.shop.dmsc",
            "upgrade: websocket",
            "connection: upgrade",
            "sec-websocket-version: 13",
            "sec-websocket-protocol: soup",
            "sec-websocket-key: ",
        ] {
            assert!(asked.contains(&format!("\r\n{line}")), "{asked}");
        }
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: def\r\nsec-websocket-protocol: soup\r\n\r\nfirst";
        stream.write_all(answer).await.unwrap();
        let mut told = Vec::new();
        stream.read_to_end(&mut told).await.unwrap();
        stream.write_all(&told).await.unwrap();
        stream.shutdown().await.unwrap();
        // Another one does not know it.
        let mut stream = accept(&listener).await;
        head(&mut stream).await;
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\npage";
        stream.write_all(answer).await.unwrap();
    });
    let _server = edge(&world, "cart/a", &[("/shop/cart", at)]).await;
    let client = edge(&world, "web", &[]).await;
    let mut sender = client.second().await;
    // With its answer, the edge has said that it takes such requests.
    let request = Request::get("http://nobody/").body(Empty::new()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 400);
    let chat = || {
        Request::connect("http://cart.shop.dmsc/chat?x=1")
            .extension(Protocol::from_static("websocket"))
            .header("sec-websocket-protocol", "soup")
            .body(Empty::new())
            .unwrap()
    };
    let answer = sender.send_request(chat()).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["sec-websocket-protocol"], "soup");
    assert!(!answer.headers().contains_key("sec-websocket-accept"));
    let stream = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    let told = vec![7; 1_000_000];
    let (mut read, mut write) = tokio::io::split(stream);
    let said = async {
        write.write_all(&told).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut heard = Vec::new();
    let both = async { tokio::join!(said, read.read_to_end(&mut heard)) };
    tokio::time::timeout(LIMIT, both).await.unwrap().1.unwrap();
    assert_eq!(&heard[..5], b"first");
    assert!(heard[5..] == told);
    let answer = sender.send_request(chat()).await.unwrap();
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.headers()["dmsc-error"], "bad-answer");
    program.await.unwrap();
    let plain = Request::connect("cart.shop.dmsc:80").body(Empty::new());
    let answer = sender.send_request(plain.unwrap()).await.unwrap();
    assert_eq!(answer.status(), 405);
}
