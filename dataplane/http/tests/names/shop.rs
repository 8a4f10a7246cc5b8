//! An axum service to call.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{self, ConnectInfo, State};
use axum::http::{HeaderMap, Method, Request, Response};
use axum::routing::{any, get};
use dmsc_http::{Answer, Client, Listener, Peer};
use dmsc_quic::Endpoint;
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;

use crate::hall::{URI, serving};
use crate::world::World;

/// Sends a request again until an instance takes it: news of a new one may still be under way to the client.
pub async fn taken(
    client: &Client,
    request: impl Fn() -> Request<Full<Bytes>>,
) -> Response<Answer> {
    let send = async {
        loop {
            match client.send(URI, request()).await {
                Ok(answer) => return answer,
                Err(error) => assert!(error.is_safe_to_repeat(), "{error}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), send)
        .await
        .unwrap()
}

/// An instance of it.
pub struct Shop {
    _endpoint: Arc<Endpoint>,
    /// Calls that it got.
    pub seen: watch::Sender<u32>,
    speaks: watch::Sender<bool>,
    leave: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Counter {
    identity: &'static str,
    seen: watch::Sender<u32>,
    speaks: watch::Sender<bool>,
}

impl Shop {
    pub async fn open(world: &World, identity: &'static str) -> Self {
        Self::open_for(world, identity, 1_000).await
    }

    /// With room for so many streams.
    pub async fn open_for(world: &World, identity: &'static str, streams: usize) -> Self {
        let endpoint = serving(world, identity).await;
        let counter = Counter {
            identity,
            seen: watch::Sender::new(0),
            speaks: watch::Sender::new(false),
        };
        let (seen, speaks) = (counter.seen.clone(), counter.speaks.clone());
        let app = Router::new()
            .route("/echo", any(echo))
            .route("/silence", any(silence))
            .route("/who", get(who))
            .route("/half", get(half))
            .route("/upgrade", get(upgrade))
            .with_state(counter)
            .into_make_service_with_connect_info::<Peer>();
        let listener = Listener::with_limit(&endpoint, streams);
        let (leave, left) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let server = axum::serve(listener, app).with_graceful_shutdown(async {
                let _ = left.await;
            });
            server.await.unwrap();
        });
        Self {
            _endpoint: endpoint,
            seen,
            speaks,
            leave: Some(leave),
            task,
        }
    }

    /// Ends the silence.
    pub fn speak(&self) {
        self.speaks.send_replace(true);
    }

    /// Takes nothing new.
    pub fn leave(&mut self) {
        self.leave.take();
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn echo(State(shop): State<Counter>, method: Method, body: Bytes) -> String {
    shop.seen.send_modify(|count| *count += 1);
    let body = String::from_utf8_lossy(&body);
    format!("{method} {body} at {}", shop.identity)
}

async fn silence(State(shop): State<Counter>, method: Method, body: Bytes) -> String {
    shop.seen.send_modify(|count| *count += 1);
    let mut speaks = shop.speaks.subscribe();
    speaks.wait_for(|speaks| *speaks).await.unwrap();
    let body = String::from_utf8_lossy(&body);
    format!("{method} {body} at {}", shop.identity)
}

async fn who(ConnectInfo(peer): ConnectInfo<Peer>, headers: HeaderMap) -> String {
    let host = headers["host"].to_str().unwrap();
    format!("{} called {} as {host}", peer.identity, peer.name)
}

async fn half() -> Body {
    let beginning = tokio_stream::once(Ok::<_, std::io::Error>("half"));
    Body::from_stream(beginning.chain(tokio_stream::pending()))
}

async fn upgrade(request: extract::Request) -> Response<Body> {
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let mut stream = TokioIo::new(upgrade.await.unwrap());
        let mut told = [0; 5];
        stream.read_exact(&mut told).await.unwrap();
        stream.write_all(&told).await.unwrap();
        stream.shutdown().await.unwrap();
    });
    Response::builder()
        .status(101)
        .header("connection", "upgrade")
        .header("upgrade", "echo")
        .body(Body::empty())
        .unwrap()
}
