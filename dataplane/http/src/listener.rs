//! The called end: streams as connections, for `axum::serve` and for `tonic::transport::Server::serve_with_incoming`.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use dmsc_quic::{Connection, Endpoint, Stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tracing::debug;

use crate::io::Io;
use crate::peer::Peer;
use crate::preface::{self, Code, PrefaceError};

/// Streams that may be open at the same time; more are refused as overloaded.
const STREAMS: usize = 10_000;
/// Streams that wait to be accepted.
const BACKLOG: usize = 256;
/// How long a stream may take until its preface is there.
const PREFACE: Duration = Duration::from_secs(10);

/// Accepts streams under the names that the endpoint's pod serves.
///
/// Dropped (which is what servers do when they shut down gracefully), it takes no new connections, tells callers to make new calls elsewhere, and answers
/// streams that come nevertheless with [`Code::Draining`]; what is under way goes on.
#[derive(Debug)]
pub struct Listener {
    ready: mpsc::Receiver<Io>,
    own: Peer,
    acceptor: AbortHandle,
}

impl Listener {
    /// Listens from now on. One listener per endpoint. Must be called in a tokio runtime.
    #[must_use]
    pub fn new(endpoint: &Endpoint) -> Self {
        Self::with_limit(endpoint, STREAMS)
    }

    /// As [`Listener::new`], with another limit than 10,000 streams that may be open at the same time.
    #[must_use]
    pub fn with_limit(endpoint: &Endpoint, streams: usize) -> Self {
        let registered = endpoint.pod().registered();
        let name = registered.source_name.clone();
        let identity = name.to_string();
        let own = Peer {
            identity: identity.strip_prefix("/id/").unwrap_or(&identity).into(),
            name,
            instance: Some(dmsc_pod::Pin {
                gateway: registered.gateway,
                attachment: registered.attachment,
            }),
        };
        let (sender, ready) = mpsc::channel(BACKLOG);
        let places = Arc::new(Semaphore::new(streams));
        let acceptor = tokio::spawn(connections(endpoint.listen(), sender, places));
        Self {
            ready,
            own,
            acceptor: acceptor.abort_handle(),
        }
    }

    /// The next stream; `None` when the endpoint is closed.
    pub async fn next(&mut self) -> Option<Io> {
        self.ready.recv().await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

async fn connections(
    listener: dmsc_quic::Listener,
    ready: mpsc::Sender<Io>,
    places: Arc<Semaphore>,
) {
    while let Some(connection) = listener.accept().await {
        tokio::spawn(streams(connection, ready.clone(), Arc::clone(&places)));
    }
}

/// Until the connection is over.
async fn streams(connection: Connection, ready: mpsc::Sender<Io>, places: Arc<Semaphore>) {
    let draining = async {
        ready.closed().await;
        // Who does not hear it is answered with the code.
        let _ = connection.drain().await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = draining => {}
        () = accept(&connection, &ready, &places) => {}
    }
}

async fn accept(connection: &Connection, ready: &mpsc::Sender<Io>, places: &Arc<Semaphore>) {
    while let Ok(mut stream) = connection.accept_bi().await {
        if ready.is_closed() {
            Code::Draining.break_off(&mut stream);
            continue;
        }
        match Arc::clone(places).try_acquire_owned() {
            Ok(place) => drop(tokio::spawn(begin(stream, place, ready.clone()))),
            Err(_) => Code::Overloaded.break_off(&mut stream),
        }
    }
}

/// A stream whose preface is slow keeps no other waiting.
async fn begin(mut stream: Stream, place: OwnedSemaphorePermit, ready: mpsc::Sender<Io>) {
    let why = match tokio::time::timeout(PREFACE, preface::read(&mut stream)).await {
        Ok(Ok(preface::Kind::Bytes)) => {
            if let Err(mpsc::error::SendError(io)) = ready.send(Io::new(stream, Some(place))).await
            {
                io.break_off(Code::Draining);
            }
            return;
        }
        Ok(Err(error)) => error,
        Err(_) => PrefaceError::Read(io::ErrorKind::TimedOut.into()),
    };
    debug!(caller = stream.connection().peer_identity(), error = %why, "a stream was refused");
    Code::BadPreface.break_off(&mut stream);
}

/// For `tonic::transport::Server::serve_with_incoming`.
impl tokio_stream::Stream for Listener {
    type Item = io::Result<Io>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Io>>> {
        self.get_mut().ready.poll_recv(context).map(|io| io.map(Ok))
    }
}

/// For `axum::serve`.
impl axum::serve::Listener for Listener {
    type Io = Io;
    type Addr = Peer;

    async fn accept(&mut self) -> (Io, Peer) {
        match self.next().await {
            Some(io) => {
                let peer = io.peer().clone();
                (io, peer)
            }
            // The endpoint is closed: nothing will come.
            None => std::future::pending().await,
        }
    }

    /// This pod itself.
    fn local_addr(&self) -> io::Result<Peer> {
        Ok(self.own.clone())
    }
}

/// `app.into_make_service_with_connect_info::<Peer>()`.
impl Connected<IncomingStream<'_, Listener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Self {
        stream.remote_addr().clone()
    }
}
