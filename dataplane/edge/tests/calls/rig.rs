//! Edges of several pods in this process, on one model gateway.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dmsc_edge::config::{HealthCheck, Outbound, PodConfig, Range, Serve};
use dmsc_edge::log::AccessLog;
use dmsc_edge::pod::{self, Context, Phase, Shared};
use dmsc_edge::sockets::Sockets;
use dmsc_wire::Domain;
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::world::{World, name};

/// No test waits longer.
pub const LIMIT: Duration = Duration::from_secs(30);

/// One pod's edge.
pub struct Edge {
    pub context: Arc<Context>,
    pub phase: watch::Sender<Phase>,
    pub http: SocketAddr,
}

/// An edge for a pod that calls, and serves prefixes by programs.
pub async fn edge(world: &World, identity: &str, serves: &[(&str, SocketAddr)]) -> Edge {
    edge_with(world, identity, serves, Duration::from_secs(15)).await
}

pub async fn edge_with(
    world: &World,
    identity: &str,
    serves: &[(&str, SocketAddr)],
    timeout: Duration,
) -> Edge {
    let check = HealthCheck {
        // Programs are looked at once, at the beginning.
        every: Duration::from_secs(3_600),
        ..HealthCheck::default()
    };
    let serves: Vec<_> = serves
        .iter()
        .map(|(prefix, to)| (*prefix, *to, check.clone()))
        .collect();
    edge_that_checks(world, identity, &serves, timeout).await
}

/// An edge that checks each program in its way.
pub async fn edge_that_checks(
    world: &World,
    identity: &str,
    serves: &[(&str, SocketAddr, HealthCheck)],
    timeout: Duration,
) -> Edge {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let outbound = Outbound {
        http: Some(any),
        dns: None,
        suffix: "dmsc".into(),
        range: Range {
            network: [198, 18, 0, 0].into(),
            length: 16,
        },
        tcp: None,
        timeout,
        class: dmsc_wire::Class(0),
    };
    let serve = |(prefix, to, health): &(&str, SocketAddr, HealthCheck)| Serve {
        prefix: name(prefix),
        to: *to,
        health: health.clone(),
    };
    let config = PodConfig {
        identity: identity.into(),
        credentials: world.credentials(identity),
        gateway: world.gateway.registrar().into(),
        netns: None,
        domain: Domain(0),
        shared: None,
        outbound: Some(outbound),
        redirects: Vec::new(),
        serves: serves.iter().map(serve).collect(),
    };
    let sockets = Sockets::default()
        .complete(config.outbound.as_ref())
        .unwrap();
    let http = sockets.http.as_ref().unwrap().local_addr().unwrap();
    let shared = Arc::new(Shared::new(config));
    shared.listen_on(sockets);
    let prefixes: Vec<&str> = serves.iter().map(|(prefix, ..)| *prefix).collect();
    let proofs = prefixes
        .iter()
        .map(|prefix| world.proof(identity, prefix, |_| {}))
        .collect();
    let endpoint = world
        .endpoint((identity, identity), &prefixes, proofs)
        .await;
    let (phase, phases) = watch::channel(Phase::Running);
    let context = Arc::new(Context::new(shared, endpoint, AccessLog::default(), phases));
    pod::start(&context).unwrap();
    Edge {
        context,
        phase,
        http,
    }
}

/// The next connection on which something is said; health checks say nothing.
pub async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        if stream.peek(&mut [0]).await.is_ok_and(|read| read > 0) {
            return stream;
        }
    }
}

impl Edge {
    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.http).await.unwrap()
    }

    /// HTTP/2 by prior knowledge.
    pub async fn second(&self) -> http2::SendRequest<Empty<Bytes>> {
        let io = TokioIo::new(self.connect().await);
        let builder = http2::Builder::new(TokioExecutor::new());
        let (sender, connection) = builder.handshake(io).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// What is answered to these bytes, until the connection is closed.
    pub async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // It may be refused before it is read.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(LIMIT, read)
            .await
            .expect("closed in time");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.phase.send_replace(Phase::Ended);
    }
}
