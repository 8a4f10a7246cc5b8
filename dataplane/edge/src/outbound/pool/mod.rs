//! HTTP connections to an instance's program, each over one stream.
//!
//! HTTP/1.1: one call at a time; those that are idle wait for the next call. HTTP/2: calls share a few.

mod call;
mod one;
mod shared;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dmsc_http::repeat::is_not_processed;
use http::{Request, Response};

use self::one::One;
use self::shared::{Place, Shared};
use super::incoming::Incoming;
use super::tunnel::Fate;
use super::upload::Upload;
use crate::choose::{Callee, Chosen};
use crate::pod::Context;
use crate::stats::QuicConnection;

/// Idle HTTP/1.1 connections of one instance.
const MAX_IDLE: usize = 256;
/// Programs close idle connections after five seconds at the earliest, as a rule; a call must not meet that.
const IDLE: Duration = Duration::from_secs(4);
/// HTTP/2 connections of one instance.
const MAX_SHARED: usize = 4;
const BUFFER: usize = 128 << 10;

/// Those of one instance.
#[derive(Debug, Default)]
pub struct Pool {
    /// Youngest last.
    idle: Mutex<VecDeque<One>>,
    shared: Mutex<Vec<Shared>>,
    /// Whoever dials holds it: why the last dial of HTTP/2 failed, if it did.
    dial: tokio::sync::Mutex<Option<Arc<DialError>>>,
    /// Dials of HTTP/2 that are over.
    dialled: AtomicU64,
}

#[derive(Debug)]
enum Held {
    One(One),
    Shared(Shared, #[allow(dead_code)] Place),
}

/// A connection for one call.
#[derive(Debug)]
pub struct Lent {
    held: Held,
    chosen: Chosen,
    /// Nothing was said on its stream before.
    pub fresh: bool,
}

/// A call without an answer.
#[derive(Debug)]
pub struct SendError {
    /// Why.
    pub why: Broken,
    /// The request, if nothing of it was sent.
    pub back: Option<Request<Upload>>,
}

/// Why an answer cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// It is not HTTP/1.1.
    NoHttp,
    /// What comes on the connection is not HTTP/2.
    NoHttp2,
    /// Its head is too long, or has too many fields.
    Long,
    /// One of both.
    LongOrNoHttp,
}

/// What a connection broke of, under a call.
#[derive(Debug)]
pub enum Broken {
    /// HTTP/1.1.
    First(hyper::Error),
    /// HTTP/2.
    Second(h2::Error),
}

impl Broken {
    /// Whether the program promises that it did nothing with the call.
    #[must_use]
    pub fn is_not_processed(&self) -> bool {
        match self {
            Self::First(error) => is_not_processed(error),
            Self::Second(error) => is_not_processed(error),
        }
    }

    /// Why what came cannot be read, if that is why.
    fn unreadable(&self) -> Option<Unreadable> {
        match self {
            Self::First(error) if error.is_parse_too_large() => Some(Unreadable::Long),
            Self::First(error) if error.is_parse() => Some(Unreadable::NoHttp),
            // What is wrong with one answer alone: it does not say whether that is the length of its head.
            Self::Second(error) if error.is_library() && error.is_reset() => {
                Some(Unreadable::LongOrNoHttp)
            }
            Self::Second(error) if error.is_library() => Some(Unreadable::NoHttp2),
            _ => None,
        }
    }

    /// Whether it may have broken for other calls' sake, which share it.
    #[must_use]
    pub fn is_of_all(&self) -> bool {
        matches!(self, Self::Second(error) if !error.is_reset())
    }
}

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

    /// Why what came under a call that `why` ended cannot be read, if that is why. A connection that has brought answers speaks HTTP/2: the answer
    /// that ended it may be that of another call, which nobody can tell.
    #[must_use]
    pub fn unreadable(&self, why: &Broken) -> Option<Unreadable> {
        why.unreadable().filter(|unreadable| match &self.held {
            Held::Shared(shared, _) => *unreadable != Unreadable::NoHttp2 || !shared.has_answered(),
            Held::One(_) => true,
        })
    }

    /// Sends a request; the answer's head.
    ///
    /// # Errors
    /// With the request, if nothing of it was sent.
    pub async fn send(
        &mut self,
        request: Request<Upload>,
    ) -> Result<Response<Incoming>, Box<SendError>> {
        match &mut self.held {
            Held::One(one) => {
                let answer = Box::pin(one.sender.try_send_request(request)).await;
                let answer = answer.map_err(|mut error| {
                    let back = error.take_message();
                    let why = Broken::First(error.into_error());
                    Box::new(SendError { why, back })
                })?;
                Ok(answer.map(Incoming::First))
            }
            Held::Shared(shared, _) => {
                let failed = |call::Unanswered { error, back }| {
                    let why = Broken::Second(error);
                    let back = back.map(|request| *request);
                    Box::new(SendError { why, back })
                };
                let sent = call::send(&mut shared.sender, request).map_err(failed)?;
                let answer = sent.answer().await.map_err(failed)?;
                shared.answers();
                Ok(answer)
            }
        }
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
        loop {
            let (at, best) = all.iter().enumerate().max_by_key(|(_, one)| one.room())?;
            if best.room() == 0 && all.len() < MAX_SHARED {
                return None;
            }
            if let Some(best) = best.ready() {
                let place = Place::on(&best);
                return Some((best, place));
            }
            all.swap_remove(at);
        }
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
    /// As before.
    #[error("the stream broke: {0}")]
    Http2(#[from] h2::Error),
}

/// A connection for one call of HTTP/1.1.
///
/// # Errors
/// There is no way to the instance.
pub async fn one(
    chosen: Chosen,
    callee: &Callee,
    context: &Context,
) -> Result<Lent, (Chosen, Arc<DialError>)> {
    if let Some(one) = chosen.kept.pool.take() {
        return Ok(Lent {
            held: Held::One(one),
            chosen,
            fresh: false,
        });
    }
    // What is seldom needed is no part of every call: a call is moved and kept as a whole.
    match Box::pin(one::dial(&chosen, callee, context)).await {
        Ok(one) => Ok(Lent {
            held: Held::One(one),
            chosen,
            fresh: true,
        }),
        Err(error) => Err((chosen, Arc::new(error))),
    }
}

/// A place on a connection of HTTP/2.
///
/// # Errors
/// There is no way to the instance.
pub async fn shared(
    chosen: Chosen,
    callee: &Callee,
    context: &Context,
) -> Result<Lent, (Chosen, Arc<DialError>)> {
    if let Some(found) = chosen.kept.pool.share() {
        return Ok(lent(found, chosen));
    }
    Box::pin(dialled(chosen, callee, context)).await
}

async fn dialled(
    chosen: Chosen,
    callee: &Callee,
    context: &Context,
) -> Result<Lent, (Chosen, Arc<DialError>)> {
    let before = chosen.kept.pool.dialled.load(Relaxed);
    // One dials; the others wait and share what comes of it.
    let mut dialling = chosen.kept.pool.dial.lock().await;
    if let Some(found) = chosen.kept.pool.share() {
        drop(dialling);
        return Ok(lent(found, chosen));
    }
    if chosen.kept.pool.dialled.load(Relaxed) != before
        && let Some(failed) = dialling.clone()
    {
        drop(dialling);
        return Err((chosen, failed));
    }
    *dialling = None;
    let dialled = shared::dial(&chosen, callee, context).await;
    chosen.kept.pool.dialled.fetch_add(1, Relaxed);
    match dialled {
        Ok(found) => {
            lock(&chosen.kept.pool.shared).push(found.clone());
            drop(dialling);
            let place = Place::on(&found);
            Ok(lent((found, place), chosen))
        }
        Err(error) => {
            let failed = Arc::new(error);
            *dialling = Some(Arc::clone(&failed));
            drop(dialling);
            Err((chosen, failed))
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
