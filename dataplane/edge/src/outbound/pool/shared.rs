//! HTTP/2 to an instance's program: calls share a connection.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tracing::debug;

use super::super::tunnel::{Fate, Tunnel};
use super::super::upload::Upload;
use super::{BUFFER, DialError};
use crate::choose::{Callee, Instance};
use crate::pod::Context;
use crate::stats::QuicConnection;

/// Calls on one connection, if the program takes so many.
const MAX_STREAMS: usize = 256;
const WINDOW: u32 = 512 << 10;
const CONNECTION_WINDOW: u32 = 2 << 20;
const MAX_HEAD: u32 = 64 << 10;

/// An HTTP/2 connection.
#[derive(Debug, Clone)]
pub struct Shared {
    pub sender: http2::SendRequest<Upload>,
    pub fate: Arc<Fate>,
    pub quic: Arc<QuicConnection>,
    load: Arc<Load>,
}

#[derive(Debug)]
pub struct Load {
    calls: AtomicU32,
    /// What the program takes at a time.
    limit: AtomicUsize,
}

impl Shared {
    pub fn is_good(&self) -> bool {
        !self.sender.is_closed() && self.quic.connection.is_open()
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
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEAD)
        .max_send_buf_size(BUFFER)
        .handshake(TokioIo::new(tunnel))
        .await?;
    let load = Arc::new(Load {
        calls: AtomicU32::new(0),
        limit: AtomicUsize::new(connection.current_max_send_streams()),
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
async fn drive(
    mut connection: http2::Connection<TokioIo<Tunnel>, Upload, TokioExecutor>,
    load: Arc<Load>,
) {
    let ended = poll_fn(|context| {
        let polled = Pin::new(&mut connection).poll(context);
        load.limit
            .store(connection.current_max_send_streams(), Relaxed);
        polled
    });
    if let Err(error) = ended.await {
        debug!(%error, "an HTTP/2 connection to an instance ended");
    }
}
