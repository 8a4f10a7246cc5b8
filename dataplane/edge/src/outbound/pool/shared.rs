//! HTTP/2 to an instance's program: calls share a connection.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::task::{Context as Task, Poll, Waker};

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use tracing::debug;

use super::super::tunnel::{Fate, Tunnel};
use super::{BUFFER, DialError};
use crate::choose::{Callee, Instance};
use crate::pod::Context;
use crate::stats::QuicConnection;

/// Calls on one connection, if the program takes so many.
const MAX_STREAMS: usize = 256;
const WINDOW: u32 = 512 << 10;
const CONNECTION_WINDOW: u32 = 2 << 20;
const MAX_HEAD: u32 = 64 << 10;
/// Bytes of one call that wait for their turn.
const WAITING: usize = BUFFER;

/// An HTTP/2 connection.
#[derive(Debug, Clone)]
pub struct Shared {
    pub sender: SendRequest<Bytes>,
    pub fate: Arc<Fate>,
    pub quic: Arc<QuicConnection>,
    load: Arc<Load>,
}

#[derive(Debug)]
pub struct Load {
    calls: AtomicU32,
    /// What the program takes at a time.
    limit: AtomicUsize,
    /// An answer has come: it speaks HTTP/2.
    answered: AtomicBool,
    ended: AtomicBool,
}

impl Shared {
    pub fn is_good(&self) -> bool {
        !self.load.ended.load(Relaxed) && self.quic.connection.is_open()
    }

    /// The head of an answer came.
    pub fn answers(&self) {
        if !self.load.answered.load(Relaxed) {
            self.load.answered.store(true, Relaxed);
        }
    }

    /// Whether any has come so far.
    pub fn has_answered(&self) -> bool {
        self.load.answered.load(Relaxed)
    }

    /// Another handle for one call. `None`: the program takes no more calls on this connection.
    pub fn ready(&self) -> Option<Self> {
        let mut handle = self.clone();
        let mut nobody = Task::from_waker(Waker::noop());
        // A handle that has not been used waits for nothing.
        match handle.sender.poll_ready(&mut nobody) {
            Poll::Ready(Err(_)) => {
                self.load.ended.store(true, Relaxed);
                None
            }
            _ => Some(handle),
        }
    }

    pub fn room(&self) -> usize {
        let limit = self.load.limit.load(Relaxed).min(MAX_STREAMS);
        limit.saturating_sub(self.load.calls.load(Relaxed) as usize)
    }
}

/// A place on a connection that is shared, until it is dropped.
#[derive(Debug)]
pub struct Place(Arc<Load>);

impl Place {
    pub fn on(shared: &Shared) -> Self {
        shared.load.calls.fetch_add(1, Relaxed);
        Self(Arc::clone(&shared.load))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Relaxed);
    }
}

/// A new one.
pub async fn dial(
    instance: &Instance,
    callee: &Callee,
    context: &Context,
) -> Result<Shared, DialError> {
    let tunnel = callee.dial(instance, context).await?;
    let (fate, quic) = (Arc::clone(tunnel.fate()), Arc::clone(tunnel.quic()));
    let (sender, connection) = Builder::new()
        .enable_push(false)
        .initial_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEAD)
        .max_send_buffer_size(WAITING)
        .handshake(tunnel)
        .await?;
    let load = Arc::new(Load {
        calls: AtomicU32::new(0),
        limit: AtomicUsize::new(connection.max_concurrent_send_streams()),
        answered: AtomicBool::new(false),
        ended: AtomicBool::new(false),
    });
    tokio::spawn(drive(connection, Arc::clone(&load)));
    Ok(Shared {
        sender,
        fate,
        quic,
        load,
    })
}

/// Runs a connection; what the program takes at a time it may say later.
async fn drive(mut connection: Connection<Tunnel>, load: Arc<Load>) {
    let ended = poll_fn(|context| {
        let polled = Pin::new(&mut connection).poll(context);
        let limit = connection.max_concurrent_send_streams();
        load.limit.store(limit, Relaxed);
        polled
    });
    if let Err(error) = ended.await {
        debug!(%error, "an HTTP/2 connection to an instance ended");
    }
    load.ended.store(true, Relaxed);
}
