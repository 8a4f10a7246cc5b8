//! The program replaced while its callers leave it no pause: connections that are kept, HTTP/1.1 and HTTP/2, the next request as soon as the last is answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Instant;

use bytes::Bytes;
use http::{Method, Request, Version};
use http_body_util::{BodyExt, Collected, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::program::Program;
use crate::takeover::{PATIENCE, Processes, free, world};

/// Connections of HTTP/1.1, each with one request at a time.
const FIRST: u32 = 64;
/// Connections of HTTP/2, and requests at a time on each.
const SECOND: u32 = 8;
const STREAMS: u32 = 8;
/// Takeovers under load.
const TIMES: u32 = 3;
/// Answers between two takeovers.
const BETWEEN: u32 = 3_000;

/// What became of requests.
#[derive(Default)]
struct Tally {
    first: AtomicU32,
    second: AtomicU32,
    failed: AtomicU32,
    /// Requests that the edge had not looked at, and said so.
    not_processed: AtomicU32,
    /// Connections that were opened.
    opened: AtomicU32,
}

impl Tally {
    fn answered(&self) -> u32 {
        self.first.load(Relaxed) + self.second.load(Relaxed)
    }

    fn fail(&self, why: &str) {
        eprintln!("failed: {why}");
        self.failed.fetch_add(1, Relaxed);
    }
}

/// Every second call may not be made twice.
fn method(number: u32) -> Method {
    match number % 2 {
        0 => Method::GET,
        _ => Method::POST,
    }
}

/// A caller of HTTP/1.1 on one connection after the other, each until the edge says that it is the last answer.
async fn first(at: SocketAddr, tally: Arc<Tally>, stop: watch::Receiver<bool>) {
    let mut number = 0;
    while !*stop.borrow() {
        let Ok(stream) = TcpStream::connect(at).await else {
            tally.fail("HTTP/1.1: no connection");
            continue;
        };
        tally.opened.fetch_add(1, Relaxed);
        let mut stream = BufReader::new(stream);
        while !*stop.borrow() {
            number += 1;
            let answered = ask(&mut stream, &method(number)).await;
            match answered {
                Ok(is_last) => {
                    tally.first.fetch_add(1, Relaxed);
                    if is_last {
                        break;
                    }
                }
                Err(error) => {
                    tally.fail(&format!("HTTP/1.1: {error}"));
                    break;
                }
            }
        }
    }
}

/// One request; whether its answer is the last of the connection.
async fn ask(stream: &mut BufReader<TcpStream>, method: &Method) -> std::io::Result<bool> {
    let request =
        format!("{method} /page HTTP/1.1\r\nhost: cart.shop.dmsc\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while head.last().is_none_or(|line: &String| !line.is_empty()) {
        head.push(line(stream).await?);
    }
    let is_last = head.iter().any(|line| line == "connection: close");
    let mut body = Vec::new();
    // This program's answers come in chunks; those of the edge itself do not, and are failures.
    while head.iter().any(|line| line == "transfer-encoding: chunked") {
        let length = usize::from_str_radix(&line(stream).await?, 16);
        let mut chunk = vec![0; length.map_err(std::io::Error::other)?];
        stream.read_exact(&mut chunk).await?;
        line(stream).await?;
        if chunk.is_empty() {
            break;
        }
        body.extend(chunk);
    }
    let said = format!("cart {method} /page");
    match head[0].starts_with("http/1.1 200 ") && body == said.as_bytes() {
        true => Ok(is_last),
        false => Err(std::io::Error::other(head.join("; "))),
    }
}

async fn line(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut line = String::new();
    match stream.read_line(&mut line).await? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(line.trim_end().to_lowercase()),
    }
}

type Sender = http2::SendRequest<Empty<Bytes>>;

async fn dial(at: SocketAddr) -> anyhow::Result<Sender> {
    let stream = TcpStream::connect(at).await?;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Whether the edge said in its last GOAWAY that it has not looked at the request, so that the client sends it again (RFC 9113, 6.8). That may happen to one
/// that waited in the client for a free stream, and left after the client had acknowledged the PING behind the first GOAWAY.
fn was_not_processed(error: &hyper::Error) -> bool {
    use std::error::Error as _;
    let said = error.source().and_then(|e| e.downcast_ref::<h2::Error>());
    said.is_some_and(|said| {
        said.is_go_away() && said.is_remote() && said.reason() == Some(h2::Reason::NO_ERROR)
    })
}

/// Callers of HTTP/2 that share one connection after the other, each until the edge sends GOAWAY.
/// What an edge did not look at is asked again on the next one.
async fn second(at: SocketAddr, tally: Arc<Tally>, stop: watch::Receiver<bool>) {
    let mut again = Vec::new();
    while !*stop.borrow() || !again.is_empty() {
        let Ok(sender) = dial(at).await else {
            tally.fail("HTTP/2: no connection");
            continue;
        };
        tally.opened.fetch_add(1, Relaxed);
        let mut callers = tokio::task::JoinSet::new();
        for number in 0..STREAMS {
            callers.spawn(share(
                sender.clone(),
                Arc::clone(&tally),
                stop.clone(),
                number,
                again.pop(),
            ));
        }
        again = callers.join_all().await.into_iter().flatten().collect();
    }
}

/// Asks until the edge says that it goes; what is to be asked again, first `again`.
async fn share(
    mut sender: Sender,
    tally: Arc<Tally>,
    stop: watch::Receiver<bool>,
    mut number: u32,
    mut again: Option<Method>,
) -> Option<Method> {
    while again.is_some() || !*stop.borrow() {
        // Told to go: the next connection.
        if sender.ready().await.is_err() {
            return again;
        }
        let method = again.take().unwrap_or_else(|| {
            number += 1;
            method(number)
        });
        let request = Request::builder()
            .method(method.clone())
            .version(Version::HTTP_2)
            .uri("http://cart.shop.dmsc/page")
            .body(Empty::new())
            .unwrap();
        let response = match sender.try_send_request(request).await {
            Ok(response) => response,
            // Not sent, for the same reason.
            Err(error) if error.message().is_some() => return Some(method),
            Err(error) if was_not_processed(error.error()) => {
                tally.not_processed.fetch_add(1, Relaxed);
                return Some(method);
            }
            Err(error) => {
                tally.fail(&format!("HTTP/2: {:?}", error.error()));
                return None;
            }
        };
        let status = response.status();
        let body = response.into_body().collect().await;
        match body.map(Collected::to_bytes) {
            Ok(body) if body == format!("cart {method} /page") => {
                tally.second.fetch_add(1, Relaxed);
            }
            Ok(_) => tally.fail(&format!("HTTP/2: {status}")),
            Err(error) => {
                tally.fail(&format!("HTTP/2: {status}, then {error:?}"));
                return None;
            }
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_a_process_with_full_load_is_replaced() {
    let world = world().await;
    let (http, dns) = (free(), free());
    let program = Program::start("cart").await;
    let processes = Processes::new(&world, http, dns, program.at);
    let mut old = processes.start(&[]).await;
    let tally = Arc::<Tally>::default();
    let (stop, stops) = watch::channel(false);
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..FIRST {
        callers.spawn(first(http, Arc::clone(&tally), stops.clone()));
    }
    for _ in 0..SECOND {
        callers.spawn(second(http, Arc::clone(&tally), stops.clone()));
    }
    let began = Instant::now();
    more(&tally).await;
    for _ in 0..TIMES {
        let new = processes.start(&["--takeover"]).await;
        let ended = tokio::time::timeout(PATIENCE, old.wait()).await;
        assert!(ended.expect("it ends").unwrap().success());
        more(&tally).await;
        old = new;
    }
    stop.send_replace(true);
    let ended = tokio::time::timeout(PATIENCE, callers.join_all()).await;
    assert!(ended.is_ok(), "every request has ended");
    let (first, second) = (tally.first.load(Relaxed), tally.second.load(Relaxed));
    let rate = f64::from(first + second) / began.elapsed().as_secs_f64();
    let (failed, opened) = (tally.failed.load(Relaxed), tally.opened.load(Relaxed));
    let not_processed = tally.not_processed.load(Relaxed);
    eprintln!(
        "answered {first} by HTTP/1.1 and {second} by HTTP/2 ({rate:.0}/s), failed {failed}, not processed {not_processed}, connections {opened}"
    );
    assert_eq!(failed, 0);
    // Those that were on their way at that moment, and not all that were under way.
    assert!(
        not_processed <= TIMES * SECOND * STREAMS / 4,
        "{not_processed}"
    );
    assert!(first > 0 && second > 0 && opened >= (FIRST + SECOND) * (TIMES + 1));
}

/// Until so many more have been answered.
async fn more(tally: &Tally) {
    let enough = tally.answered() + BETWEEN;
    let wait = async {
        while tally.answered() < enough {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("answers");
}
