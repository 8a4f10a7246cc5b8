//! HTTP/1.1 and plain TCP.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{Ended, Target, case, connect, spawn};
use crate::http::answer::{self, AnswerError};

/// A body that no program here takes, and that no edge should keep.
const LARGE: usize = 64 << 20;
/// Between two bytes of a slow sender.
const SLOW: Duration = Duration::from_millis(500);
/// Connections that say nothing.
const SILENT: usize = 500;

pub(super) fn spawn_all(all: &mut JoinSet<Ended>, target: &Target) {
    let (http, host) = (target.http, target.host.clone());
    let get = |head: &str| format!("GET /echo/1 HTTP/1.1\r\n{head}\r\n").into_bytes();
    let named = |head: &str| get(&format!("Host: {host}\r\n{head}"));
    let post = |head: &str, body: &str| {
        format!("POST /echo/1 HTTP/1.1\r\nHost: {host}\r\n{head}\r\n{body}").into_bytes()
    };
    let bad = &["status 400"];
    let large = &["status 431"];
    for (case, bytes) in [
        (
            case("garbage", bad),
            b"\x16\x03\x01 no request\r\n\r\n".to_vec(),
        ),
        (case("no-host", bad), get("")),
        (case("host-that-is-no-name", bad), get("Host: ..;\r\n")),
        (case("two-hosts", bad), named("Host: other.dmsc\r\n")),
        (
            case("two-lengths", bad),
            post("Content-Length: 1\r\nContent-Length: 2\r\n", "ab"),
        ),
        (case("no-length", bad), post("Content-Length: many\r\n", "")),
        (
            case(
                "chunk-without-size",
                &["status 400", "status 502", "closed"],
            ),
            post("Transfer-Encoding: chunked\r\n", "zz\r\nabc\r\n"),
        ),
        (
            case("blank-in-header-name", bad),
            named("Bad Header: 1\r\n"),
        ),
        (
            case("head-of-80-kib", large),
            named(&format!("Long: {}\r\n", "x".repeat(80 << 10))),
        ),
        (
            case("200-headers", large),
            named(&"Many: 1\r\n".repeat(200)),
        ),
        (
            case("target-of-80-kib", &["status 414", "status 431"]),
            format!(
                "GET /{} HTTP/1.1\r\nHost: {host}\r\n\r\n",
                "x".repeat(80 << 10)
            )
            .into_bytes(),
        ),
        (
            case("connect", &["status 400", "status 405", "status 501"]),
            b"CONNECT web.shop.dmsc:443 HTTP/1.1\r\nHost: web.shop.dmsc:443\r\n\r\n".to_vec(),
        ),
    ] {
        spawn(all, case, ask(http, bytes));
    }
    let slow = named("")[..30].to_vec();
    spawn(
        all,
        case("slow-head", &["status 408", "closed"]),
        trickle(http, slow),
    );
    let half = named("Connection: close\r\n");
    spawn(
        all,
        case("half-closed", &["status 200"]),
        half_closed(http, half),
    );
    spawn(
        all,
        case("half-closed-at-once", &["closed"]),
        half_closed(http, Vec::new()),
    );
    let head = post(&format!("Content-Length: {LARGE}\r\n"), "");
    let body = vec![b'x'; 1 << 16];
    spawn(
        all,
        case("body-of-64-mib", &["status 413"]),
        endless(http, head, body, LARGE),
    );
    let head = post("Transfer-Encoding: chunked\r\n", "");
    let chunk = [b"10000\r\n".to_vec(), vec![b'x'; 1 << 16], b"\r\n".to_vec()].concat();
    spawn(
        all,
        case("chunks-without-end", &["status 413", "status 200"]),
        endless(http, head, chunk, LARGE),
    );
    spawn(
        all,
        case("silent-connections", &["closed", "held"]),
        silent(http),
    );
    let part = post("Content-Length: 1000\r\n", "only some");
    spawn(all, case("gone-in-the-middle", &["gone"]), gone(http, part));
    spawn(
        all,
        case("tcp-half-closed", &["220 … 221 0 lines"]),
        banner(target.tcp),
    );
}

async fn judged(stream: &mut TcpStream) -> String {
    match answer::read(stream).await {
        Ok(answer) => format!("status {}", answer.status),
        Err(AnswerError::Closed | AnswerError::Broken(_)) => "closed".into(),
        Err(error) => error.to_string(),
    }
}

/// Sends it all and reads the answer.
async fn ask(address: SocketAddr, bytes: Vec<u8>) -> Result<String, String> {
    let mut stream = connect(address).await?;
    // The server may answer before it has read everything.
    let (mut from, mut to) = stream.split();
    let write = async {
        let _ = to.write_all(&bytes).await;
        std::future::pending::<()>().await;
    };
    let read = async {
        match answer::read(&mut from).await {
            Ok(answer) => format!("status {}", answer.status),
            Err(AnswerError::Closed | AnswerError::Broken(_)) => "closed".into(),
            Err(error) => error.to_string(),
        }
    };
    tokio::select! {
        how = read => Ok(how),
        () = write => unreachable!("it never ends"),
    }
}

/// Sends a head byte by byte, and never its end.
async fn trickle(address: SocketAddr, bytes: Vec<u8>) -> Result<String, String> {
    let mut stream = connect(address).await?;
    let (mut from, mut to) = stream.split();
    let write = async {
        for byte in bytes {
            if to.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(SLOW).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answer = answer::read(&mut from) => Ok(match answer {
            Ok(answer) => format!("status {}", answer.status),
            Err(_) => "closed".into(),
        }),
        () = write => unreachable!("it never ends"),
    }
}

/// Sends it, says that nothing follows, and reads the answer.
async fn half_closed(address: SocketAddr, bytes: Vec<u8>) -> Result<String, String> {
    let mut stream = connect(address).await?;
    let _ = stream.write_all(&bytes).await;
    let _ = stream.shutdown().await;
    Ok(judged(&mut stream).await)
}

/// Sends `part` again and again after `head`, `most` bytes of it, until somebody answers.
async fn endless(
    address: SocketAddr,
    head: Vec<u8>,
    part: Vec<u8>,
    most: usize,
) -> Result<String, String> {
    let mut stream = connect(address).await?;
    let (mut from, mut to) = stream.split();
    let write = async {
        let mut sent = to.write_all(&head).await.map(|()| 0);
        while let Ok(bytes) = sent
            && bytes < most
        {
            sent = to.write_all(&part).await.map(|()| bytes + part.len());
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answer = answer::read(&mut from) => Ok(match answer {
            Ok(answer) => format!("status {}", answer.status),
            Err(error) => error.to_string(),
        }),
        () = write => unreachable!("it never ends"),
    }
}

/// Many connections that say nothing, and one more that is answered meanwhile.
async fn silent(address: SocketAddr) -> Result<String, String> {
    let mut all = Vec::new();
    for _ in 0..SILENT {
        all.push(connect(address).await?);
    }
    let Some(mut first) = all.pop() else {
        return Ok("none".into());
    };
    let mut byte = [0];
    match first.read(&mut byte).await {
        Ok(0) | Err(_) => Ok("closed".into()),
        Ok(_) => Ok("answered".into()),
    }
}

/// Sends some of a request and resets the connection.
async fn gone(address: SocketAddr, part: Vec<u8>) -> Result<String, String> {
    for _ in 0..200 {
        let mut stream = connect(address).await?;
        let _ = stream.write_all(&part).await;
        // No time to linger: the kernel sends a reset.
        let _ = stream.set_zero_linger();
    }
    Ok("gone".into())
}

/// A program that speaks first hears at once that nothing will follow, and says its last word.
async fn banner(address: SocketAddr) -> Result<String, String> {
    let mut stream = connect(address).await?;
    let _ = stream.shutdown().await;
    let mut text = String::new();
    let read = stream.read_to_string(&mut text).await;
    read.map_err(|error| format!("{}", error.kind()))?;
    if text.starts_with("220 ") && text.trim_end().ends_with("221 0 lines") {
        return Ok("220 … 221 0 lines".into());
    }
    Ok(format!("{text:?}"))
}
