//! What no program should send, and floods.

use std::time::Duration;

use http::Request;
use http_body_util::Empty;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::curl::{MEMORY, curl, resident};
use crate::program::Program;
use crate::rig::{LIMIT, edge};
use crate::world::World;

const CART: &str = "cart.shop.dmsc";

#[tokio::test]
async fn what_is_no_http_is_refused_in_its_own_kind() {
    let world = World::new().await;
    let client = edge(&world, "web", &[]).await;
    for (sent, told, code) in [
        (
            &b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"[..],
            "400",
            "bad-request",
        ),
        (
            b"GET / HTTP/1.1\r\nhost : a.dmsc\r\n\r\n",
            "400",
            "bad-request",
        ),
        (b"GET /\0 HTTP/1.1\r\n\r\n", "400", "bad-request"),
        (b"GET / HTTP/9.1\r\n\r\n", "400", "bad-request"),
        (b"GET / HTTP/1.1\r\n\r\n", "400", "bad-host"),
        (
            b"POST / HTTP/1.1\r\nhost: a.dmsc\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            "400",
            "bad-request",
        ),
        (
            b"CONNECT a.dmsc:80 HTTP/1.1\r\nhost: a.dmsc:80\r\nconnection: close\r\n\r\n",
            "405",
            "connect-refused",
        ),
    ] {
        // Whoever says no more is answered, and the connection is closed.
        let mut stream = client.connect().await;
        stream.write_all(sent).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        tokio::time::timeout(LIMIT, read).await.unwrap().unwrap();
        let status = format!("HTTP/1.1 {told} ");
        assert!(
            answer.starts_with(&status),
            "{:?}: {answer:?}",
            String::from_utf8_lossy(sent)
        );
        assert!(
            answer.contains(&format!("\r\ndmsc-error: {code}\r\n")),
            "{answer}"
        );
        let (_, text) = answer.split_once("\r\n\r\n").unwrap();
        assert!(text.contains("; ") && text.ends_with('\n'), "{answer}");
    }
    let long = format!(
        "GET /{} HTTP/1.1\r\nhost: a.dmsc\r\n\r\n",
        "x".repeat(70_000)
    );
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200));
    let large = format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "x".repeat(70_000));
    for head in [many, large] {
        let answer = client.raw(head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        assert!(answer.contains("dmsc-error: long-head\r\n"), "{answer}");
        assert!(answer.contains("at most 100 fields"), "{answer}");
    }
    let answer = client.raw(long.as_bytes()).await;
    let (target, head) = ("HTTP/1.1 414 ", "HTTP/1.1 431 ");
    assert!(
        answer.starts_with(target) || answer.starts_with(head),
        "{answer}"
    );
    assert!(answer.contains("dmsc-error: long-"), "{answer}");
}

#[tokio::test]
async fn a_long_head_is_told_after_good_ones_and_over_http2_too() {
    let world = World::new().await;
    let program = Program::start("cart").await;
    let _server = edge(&world, "cart/a", &[("/shop/cart", program.at)]).await;
    let client = edge(&world, "web", &[]).await;
    // One that is read only when the answer to the first is written.
    let good = format!("GET /page HTTP/1.1\r\nhost: {CART}\r\n\r\n");
    let all = format!("{good}{good}nonsense\r\n\r\n");
    let answer = client.raw(all.as_bytes()).await;
    assert_eq!(answer.matches("cart GET /page").count(), 2, "{answer}");
    assert!(answer.contains("dmsc-error: bad-request\r\n"), "{answer}");
    // A program's own 400 is its own.
    let page = curl(&client, CART, &["-i"], "/400").await;
    assert!(page.starts_with("HTTP/1.1 400 "), "{page}");
    assert!(page.ends_with("cart GET /400"), "{page}");
    let mut second = client.second().await;
    for (length, code) in [(10_000, None), (90_000, Some("long-head")), (200_000, None)] {
        let request = Request::get(format!("http://{CART}/page"))
            .header("x-long", "x".repeat(length))
            .body(Empty::new());
        let answer = second.send_request(request.unwrap()).await.unwrap();
        let expected = if length == 10_000 { 200 } else { 431 };
        assert_eq!(answer.status(), expected, "{length}");
        let told = answer.headers().get("dmsc-error");
        assert_eq!(told.map(|told| told.to_str().unwrap()), code, "{length}");
    }
}

#[tokio::test]
async fn a_head_that_does_not_end_is_not_waited_for() {
    let world = World::new().await;
    let client = edge(&world, "web", &[]).await;
    let mut stream = client.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let drip = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if stream.write_all(b"a: b\r\n").await.is_err() {
                break;
            }
            let mut answer = [0; 1_000];
            if let Ok(read) = stream.try_read(&mut answer) {
                return String::from_utf8_lossy(&answer[..read]).into_owned();
            }
        }
        String::new()
    };
    let answer = tokio::time::timeout(LIMIT, drip).await.unwrap();
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 408 "),
        "{answer}"
    );
    assert!(
        answer.is_empty() || answer.contains("did not come to its end; send"),
        "{answer}"
    );
    assert_eq!(client.context.shared.stats.errors(), [("slow-head", 1)]);
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
/// ENHANCE_YOUR_CALM.
const CALM: u32 = 11;

/// What a flooder says, by its number.
type Make = fn(u32) -> Vec<u8>;

/// Whether a flooder reads what it is sent while it floods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reads {
    All,
    Nothing,
}

/// Sends until the other end closes, `most` frames if it does not; the code of the GOAWAY that came, and how many frames before it.
async fn flood(mut stream: TcpStream, reads: Reads, make: Make, most: u32) -> (Option<u32>, usize) {
    stream.write_all(PREFACE).await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    let (mut read, mut write) = stream.split();
    let said = async {
        for number in 0..most {
            if write.write_all(&make(number)).await.is_err() {
                return;
            }
        }
        let _ = write.shutdown().await;
    };
    let mut bytes = Vec::new();
    let both = async {
        // A reset is an end as well.
        match reads {
            Reads::All => {
                let _ = tokio::join!(said, read.read_to_end(&mut bytes));
            }
            Reads::Nothing => {
                said.await;
                let _ = read.read_to_end(&mut bytes).await;
            }
        }
    };
    let ended = tokio::time::timeout(LIMIT, both).await;
    ended.expect("the flood ends");
    let (mut frames, mut at) = (0, 0);
    while let Some(head) = bytes.get(at..at + 9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        if head[3] == GOAWAY {
            let code = bytes[at + 13..at + 17].try_into().unwrap();
            return (Some(u32::from_be_bytes(code)), frames);
        }
        (frames, at) = (frames + 1, at + 9 + length);
    }
    (None, frames)
}

/// `GET http://a/` in HPACK's static table, authority literal.
const REQUEST: &[u8] = b"\x82\x86\x84\x41\x0ecart.shop.dmsc";

fn rapid_reset(number: u32) -> Vec<u8> {
    let stream = number * 2 + 1;
    let mut out = frame(HEADERS, 0b101, stream, REQUEST);
    out.extend(frame(RESET, 0, stream, &8_u32.to_be_bytes()));
    out
}

fn head_without_end(number: u32, more: &[u8]) -> Vec<u8> {
    match number {
        0 => frame(HEADERS, 0b001, 1, REQUEST),
        _ => frame(CONTINUATION, 0, 1, more),
    }
}

fn continuation(number: u32) -> Vec<u8> {
    let field = [b"\x40\x01a\x7f\x80\x01".as_slice(), &[b'b'; 255]].concat();
    head_without_end(number, &field)
}

fn empty_continuation(number: u32) -> Vec<u8> {
    head_without_end(number, &[])
}

fn empty_data(number: u32) -> Vec<u8> {
    match number {
        0 => frame(HEADERS, 0b100, 1, REQUEST),
        _ => frame(DATA, 0, 1, &[]),
    }
}

fn settings(_: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])
}

fn ping(_: u32) -> Vec<u8> {
    frame(PING, 0, 0, &[7; 8])
}

/// While a call goes on, which nobody answers.
fn ping_beside_a_call(number: u32) -> Vec<u8> {
    match number {
        0 => frame(
            HEADERS,
            0b101,
            1,
            b"\x82\x86\x44\x08/silence\x41\x0ecart.shop.dmsc",
        ),
        _ => ping(number),
    }
}

fn pong(_: u32) -> Vec<u8> {
    frame(PING, 1, 0, &[7; 8])
}

#[tokio::test]
async fn floods_end_their_connection_and_harm_nobody_else() {
    let world = World::new().await;
    let program = Program::start("cart").await;
    let _server = edge(&world, "cart/a", &[("/shop/cart", program.at)]).await;
    let client = edge(&world, "web", &[]).await;
    let mut other = client.second().await;
    // Each is under way on the other connection while a flood ends.
    let mut call = || {
        let request = Request::get(format!("http://{CART}/page")).body(Empty::new());
        other.send_request(request.unwrap())
    };
    assert_eq!(call().await.unwrap().status(), 200);
    let _alone = MEMORY.lock().await;
    let before = resident();
    // A flooder that reads nothing would be sent more than there is room for in the kernel.
    let floods: [(&str, Reads, Make, u32); 10] = [
        ("resets", Reads::All, rapid_reset, 100_000),
        ("heads", Reads::All, continuation, 100_000),
        ("empty heads", Reads::All, empty_continuation, 100_000),
        ("empty data", Reads::All, empty_data, 100_000),
        ("settings", Reads::All, settings, 1_000_000),
        ("settings", Reads::Nothing, settings, 4_000_000),
        ("pings", Reads::All, ping, 1_000_000),
        ("pings", Reads::Nothing, ping, 4_000_000),
        ("pings beside", Reads::All, ping_beside_a_call, 1_000_000),
        ("pongs", Reads::All, pong, 1_000_000),
    ];
    for (what, reads, make, most) in floods {
        let flooded = flood(client.connect().await, reads, make, most);
        let ((code, frames), page) = tokio::join!(flooded, call());
        assert_eq!(code, Some(CALM), "{what} {reads:?}: {frames} frames");
        // What was read already is acknowledged, and nothing more.
        assert!(frames < 5_000, "{what} {reads:?}: {frames} frames");
        assert_eq!(page.unwrap().status(), 200, "{what}");
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 50 << 20, "{} MiB more", grown >> 20);
    let page = curl(&client, CART, &[], "/page").await;
    assert_eq!(page, "cart GET /page");
    let stats = &client.context.shared.stats;
    assert_eq!(stats.in_flight(), 0);
    let counted = stats
        .errors()
        .into_iter()
        .find(|(word, _)| *word == "flood");
    assert_eq!(counted, Some(("flood", 10)));
}

#[tokio::test]
async fn a_ping_for_each_answer_is_no_flood() {
    let world = World::new().await;
    let program = Program::start("cart").await;
    let _server = edge(&world, "cart/a", &[("/shop/cart", program.at)]).await;
    let client = edge(&world, "web", &[]).await;
    let stream = client.connect().await;
    let (mut sender, mut connection) = h2::client::handshake(stream).await.unwrap();
    let mut pings = connection.ping_pong().unwrap();
    tokio::spawn(connection);
    let calls = async {
        for _ in 0..250 {
            let request = Request::get(format!("http://{CART}/page")).body(());
            let (answer, _) = sender.send_request(request.unwrap(), true).unwrap();
            let mut body = answer.await.unwrap().into_body();
            while let Some(piece) = body.data().await {
                piece.unwrap();
            }
            pings.ping(h2::Ping::opaque()).await.unwrap();
        }
    };
    tokio::time::timeout(LIMIT, calls).await.unwrap();
    assert!(client.context.shared.stats.errors().is_empty());
}
