//! Connections that arrive redirected, as the edge takes them: what a program says is in the test, what it hears came from another pod's program.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dmsc_edge::tcp;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::nobody;
use crate::rig::{Edge, LIMIT, edge, edge_with};
use crate::world::{World, name};

/// A program's connection to `/shop/cart`.
async fn connect(client: &Edge) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connecting = TcpStream::connect(listener.local_addr().unwrap());
    let (program, accepted) = tokio::join!(connecting, listener.accept());
    let context = Arc::clone(&client.context);
    tokio::spawn(tcp::serve(accepted.unwrap().0, name("/shop/cart"), context));
    program.unwrap()
}

/// Reads to the end.
async fn rest(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut text = String::new();
    let read = stream.read_to_string(&mut text);
    tokio::time::timeout(LIMIT, read).await.expect("in time")?;
    Ok(text)
}

/// A program that greets first, then echoes, and says at the end that it heard it.
async fn greeter(greeting: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                write.write_all(greeting).await?;
                tokio::io::copy(&mut read, &mut write).await?;
                write.write_all(b" bye").await
            });
        }
    });
    at
}

#[tokio::test]
async fn a_server_that_speaks_first_and_half_closed_connections() {
    let world = World::new().await;
    let at = greeter(b"220 ready\r\n").await;
    let _server = edge(&world, "cart/a", &[("/shop/cart", at)]).await;
    let client = edge(&world, "web", &[]).await;
    let mut program = connect(&client).await;
    let mut greeting = [0; 11];
    program.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"220 ready\r\n");
    program.write_all(b"HELO").await.unwrap();
    program.shutdown().await.unwrap();
    assert_eq!(rest(&mut program).await.unwrap(), "HELO bye");
    let calls = client.context.shared.stats.names();
    assert_eq!(calls.len(), 1);
}

#[tokio::test]
async fn many_bytes_both_ways_at_once() {
    const MANY: usize = 8 << 20;
    let world = World::new().await;
    let at = greeter(b"").await;
    let _server = edge(&world, "cart/a", &[("/shop/cart", at)]).await;
    let client = edge(&world, "web", &[]).await;
    let mut program = connect(&client).await;
    let (mut read, mut write) = program.split();
    let told: Vec<u8> = (0..MANY).map(|at| (at % 251) as u8).collect();
    let saying = async {
        write.write_all(&told).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut heard = Vec::new();
    let both = async { tokio::join!(saying, read.read_to_end(&mut heard)) };
    tokio::time::timeout(LIMIT, both).await.unwrap().1.unwrap();
    assert_eq!(heard.len(), MANY + 4);
    assert!(heard[..MANY] == told);
}

#[tokio::test]
async fn http_is_seen_on_any_connection_and_the_host_means_nothing_there() {
    let world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 2_048];
            let length = stream.read(&mut asked).await.unwrap_or_default();
            let asked = String::from_utf8_lossy(&asked[..length]).to_lowercase();
            // Only HTTP carries a trace on.
            let body = match asked.contains("traceparent: ") {
                true => "traced",
                false => "bare!!",
            };
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n{body}");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let _server = edge(&world, "cart/a", &[("/shop/cart", at)]).await;
    let client = edge(&world, "web", &[]).await;
    let mut program = connect(&client).await;
    let ask = b"GET / HTTP/1.1\r\nhost: anything.example\r\nconnection: close\r\n\r\n";
    program.write_all(ask).await.unwrap();
    let answer = rest(&mut program).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("traced"),
        "{answer}"
    );
}

#[tokio::test]
async fn what_an_instance_was_not_given_goes_to_another() {
    let world = World::new().await;
    let at = greeter(b"").await;
    let _dead = edge(&world, "cart/a", &[("/shop/cart", nobody().await)]).await;
    let _live = edge(&world, "cart/b", &[("/shop/cart", at)]).await;
    let client = edge(&world, "web", &[]).await;
    for _ in 0..10 {
        let mut program = connect(&client).await;
        program.write_all(b"once").await.unwrap();
        program.shutdown().await.unwrap();
        assert_eq!(rest(&mut program).await.unwrap(), "once bye");
    }
}

#[tokio::test]
async fn nobody_serves_and_the_connection_is_reset() {
    let world = World::new().await;
    let client = edge_with(&world, "web", &[], Duration::from_secs(3)).await;
    let mut program = connect(&client).await;
    program.write_all(b"hello").await.unwrap();
    let error = rest(&mut program).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let errors = client.context.shared.stats.errors();
    assert_eq!(errors.len(), 1, "{errors:?}");
}

#[tokio::test]
async fn a_reset_passes_both_ways() {
    let world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let _server = edge(&world, "cart/a", &[("/shop/cart", at)]).await;
    let client = edge(&world, "web", &[]).await;
    // Checks of health connect as well, and say nothing.
    let accept = async || {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut first = [0; 5];
            if stream.read_exact(&mut first).await.is_ok() {
                return stream;
            }
        }
    };
    for ours in [true, false] {
        let mut program = connect(&client).await;
        program.write_all(b"hello").await.unwrap();
        let server = tokio::time::timeout(LIMIT, accept()).await.unwrap();
        let (gone, mut told) = if ours {
            (program, server)
        } else {
            (server, program)
        };
        SockRef::from(&gone)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(gone);
        let error = rest(&mut told).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}
