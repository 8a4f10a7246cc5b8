//! HTTP connections to an instance's program, each over one stream.
//!
//! HTTP/1.1: one call at a time; those that are idle wait for the next call. HTTP/2: calls share a few.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tracing::debug;

use super::tunnel::{Fate, Tunnel};
use super::upload::Upload;
use crate::choose::{Callee, Chosen, Instance};
use crate::pod::Context;
use crate::stats::QuicConnection;

/// Idle HTTP/1.1 connections of one instance.
const MAX_IDLE: usize = 256;
/// Programs close idle connections after five seconds at the earliest, as a rule; a call must not meet that.
const IDLE: Duration = Duration::from_secs(4);
/// HTTP/2 connections of one instance.
const MAX_SHARED: usize = 4;
/// Calls on one of them, if the program takes so many.
const MAX_STREAMS: usize = 256;
const WINDOW: u32 = 512 << 10;
const CONNECTION_WINDOW: u32 = 2 << 20;
const BUFFER: usize = 128 << 10;
const MAX_HEAD: u32 = 64 << 10;

/// Those of one instance.
#[derive(Debug, Default)]
pub struct Pool {
    /// Youngest last.
    idle: Mutex<VecDeque<One>>,
    shared: Mutex<Vec<Shared>>,
    dial: tokio::sync::Mutex<()>,
}

/// An HTTP/1.1 connection.
#[derive(Debug)]
struct One {
    sender: http1::SendRequest<Upload>,
    fate: Arc<Fate>,
    quic: Arc<QuicConnection>,
    since: Instant,
}

/// An HTTP/2 connection.
#[derive(Debug, Clone)]
struct Shared {
    sender: http2::SendRequest<Upload>,
    fate: Arc<Fate>,
    quic: Arc<QuicConnection>,
    load: Arc<Load>,
}

#[derive(Debug)]
struct Load {
    calls: AtomicU32,
    /// What the program takes at a time.
    limit: AtomicUsize,
}

impl Shared {
    fn is_good(&self) -> bool {
        !self.sender.is_closed() && self.quic.connection.is_open()
    }

    fn room(&self) -> usize {
        let limit = self.load.limit.load(Relaxed).min(MAX_STREAMS);
        limit.saturating_sub(self.load.calls.load(Relaxed) as usize)
    }
}

#[derive(Debug)]
enum Held {
    One(One),
    Shared(Shared, #[allow(dead_code)] Place),
}

/// A place on a connection that is shared, until it is dropped.
#[derive(Debug)]
struct Place(Arc<Load>);

impl Place {
    fn on(shared: &Shared) -> Self {
        shared.load.calls.fetch_add(1, Relaxed);
        Self(Arc::clone(&shared.load))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Relaxed);
    }
}

/// A connection for one call.
#[derive(Debug)]
pub struct Lent {
    held: Held,
    chosen: Chosen,
    /// Nothing was said on its stream before.
    pub fresh: bool,
}

type SendError = hyper::client::conn::TrySendError<http::Request<Upload>>;
type Incoming = hyper::body::Incoming;

impl Lent {
    /// What becomes of its stream.
    #[must_use]
    pub const fn fate(&self) -> &Arc<Fate> {
        match &self.held {
            Held::One(one) => &one.fate,
            Held::Shared(shared, _) => &shared.fate,
        }
    }

    /// Its QUIC connection.
    #[must_use]
    pub const fn quic(&self) -> &Arc<QuicConnection> {
        match &self.held {
            Held::One(one) => &one.quic,
            Held::Shared(shared, _) => &shared.quic,
        }
    }

    /// Sends a request; the answer's head.
    ///
    /// # Errors
    /// With the request, if nothing of it was sent.
    pub async fn send(
        &mut self,
        request: http::Request<Upload>,
    ) -> Result<http::Response<Incoming>, Box<SendError>> {
        let sent = match &mut self.held {
            Held::One(one) => one.sender.try_send_request(request).await,
            Held::Shared(shared, _) => shared.sender.try_send_request(request).await,
        };
        sent.map_err(Box::new)
    }

    /// The instance, without the connection.
    #[must_use]
    pub fn into_chosen(self) -> Chosen {
        self.chosen
    }

    /// The answer has ended: the next call may have it.
    pub fn give_back(self) {
        if let Held::One(mut one) = self.held {
            one.since = Instant::now();
            self.chosen.kept.pool.put(one);
        }
    }
}

impl Pool {
    fn put(&self, one: One) {
        let mut idle = lock(&self.idle);
        if idle.len() >= MAX_IDLE {
            idle.pop_front();
        }
        idle.push_back(one);
    }

    fn take(&self) -> Option<One> {
        let now = Instant::now();
        let mut idle = lock(&self.idle);
        while let Some(one) = idle.pop_back() {
            let old = now.saturating_duration_since(one.since) > IDLE;
            if !old && one.sender.is_ready() && one.quic.connection.is_open() {
                return Some(one);
            }
        }
        None
    }

    /// Closes what has been idle for too long, or is of no use any more.
    pub fn sweep(&self) {
        let now = Instant::now();
        lock(&self.idle).retain(|one| {
            now.saturating_duration_since(one.since) <= IDLE
                && !one.sender.is_closed()
                && one.quic.connection.is_open()
        });
        // Calls that go on have their own handles.
        lock(&self.shared).retain(Shared::is_good);
    }

    /// The one with most room, if it has any, or if there may not be more of them.
    fn share(&self) -> Option<(Shared, Place)> {
        let mut all = lock(&self.shared);
        all.retain(Shared::is_good);
        let best = all.iter().max_by_key(|one| one.room())?;
        let fits = best.room() > 0 || all.len() >= MAX_SHARED;
        fits.then(|| (best.clone(), Place::on(best)))
    }
}

/// Why there is no connection: nothing was given to a program.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No stream.
    #[error(transparent)]
    Quic(#[from] dmsc_quic::QuicError),
    /// The stream broke at once.
    #[error("the stream broke: {0}")]
    Http(#[from] hyper::Error),
}

/// A connection for one call of HTTP/1.1.
///
/// # Errors
/// There is no way to the instance.
pub async fn one(
    chosen: Chosen,
    callee: &Callee,
    context: &Context,
) -> Result<Lent, (Chosen, DialError)> {
    if let Some(one) = chosen.kept.pool.take() {
        return Ok(Lent {
            held: Held::One(one),
            chosen,
            fresh: false,
        });
    }
    match dial_one(&chosen, callee, context).await {
        Ok(one) => Ok(Lent {
            held: Held::One(one),
            chosen,
            fresh: true,
        }),
        Err(error) => Err((chosen, error)),
    }
}

async fn dial_one(
    instance: &Instance,
    callee: &Callee,
    context: &Context,
) -> Result<One, DialError> {
    let tunnel = callee.dial(instance, context).await?;
    let (fate, quic) = (Arc::clone(tunnel.fate()), Arc::clone(tunnel.quic()));
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(BUFFER)
        .handshake(TokioIo::new(tunnel))
        .await?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            debug!(%error, "an HTTP/1.1 connection to an instance ended");
        }
    });
    Ok(One {
        sender,
        fate,
        quic,
        since: Instant::now(),
    })
}

/// A place on a connection of HTTP/2.
///
/// # Errors
/// There is no way to the instance.
pub async fn shared(
    chosen: Chosen,
    callee: &Callee,
    context: &Context,
) -> Result<Lent, (Chosen, DialError)> {
    if let Some(found) = chosen.kept.pool.share() {
        return Ok(lent(found, chosen));
    }
    // One dials; the others wait and share.
    let dialling = chosen.kept.pool.dial.lock().await;
    if let Some(found) = chosen.kept.pool.share() {
        drop(dialling);
        return Ok(lent(found, chosen));
    }
    match dial_shared(&chosen, callee, context).await {
        Ok(found) => {
            lock(&chosen.kept.pool.shared).push(found.clone());
            drop(dialling);
            let place = Place::on(&found);
            Ok(lent((found, place), chosen))
        }
        Err(error) => {
            drop(dialling);
            Err((chosen, error))
        }
    }
}

fn lent((found, place): (Shared, Place), chosen: Chosen) -> Lent {
    Lent {
        fresh: found.fate.received() == 0,
        held: Held::Shared(found, place),
        chosen,
    }
}

async fn dial_shared(
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
