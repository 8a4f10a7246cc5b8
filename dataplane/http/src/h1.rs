//! HTTP/1.1 connections to a name: one call at a time on each, kept for later calls.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dmsc_pod::Pin;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::runtime::Handle;
use tracing::debug;

use crate::io::Io;
use crate::lane::Under;
use crate::replay::Replay;

/// A call that must not be made twice takes no connection that was idle for longer: its server may be closing it just now.
const FRESH: Duration = Duration::from_secs(1);
/// Until a connection whose answer was read is ready for the next call.
const READY: Duration = Duration::from_secs(1);
/// Of the head of an answer.
const MAX_HEADERS: usize = 100;
const MAX_HEAD: usize = 64 << 10;

/// A connection.
#[derive(Debug)]
pub(crate) struct Lane {
    pub sender: SendRequest<Replay>,
    pub under: Under,
    /// The instance that was asked for, if any.
    key: Option<Pin>,
    idle_since: Instant,
}

impl Lane {
    pub async fn start(io: Io, key: Option<Pin>) -> Result<Self, (Under, hyper::Error)> {
        let under = Under::of(&io);
        let handshake = Builder::new()
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD)
            .handshake(TokioIo::new(io))
            .await;
        let (sender, connection) = match handshake {
            Ok(both) => both,
            Err(error) => return Err((under, error)),
        };
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                debug!(%error, "an HTTP/1.1 connection ended");
            }
        });
        Ok(Self {
            sender,
            under,
            key,
            idle_since: Instant::now(),
        })
    }
}

/// Connections that wait for calls.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    idle: Arc<Mutex<VecDeque<Lane>>>,
    limit: usize,
    keep: Duration,
}

impl Pool {
    pub fn new(limit: usize, keep: Duration) -> Self {
        Self {
            idle: Arc::default(),
            limit,
            keep,
        }
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<Lane>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that was used last.
    pub fn take(&self, key: Option<Pin>, idempotent: bool) -> Option<Lane> {
        let mut idle = self.idle();
        idle.retain(Self::is_fit);
        let at = idle.iter().rposition(|lane| {
            lane.key == key && (idempotent || lane.idle_since.elapsed() < FRESH)
        })?;
        idle.remove(at)
    }

    fn is_fit(lane: &Lane) -> bool {
        lane.sender.is_ready() && lane.under.is_open()
    }

    /// Back, when its answer was read to the end.
    pub fn put(&self, mut lane: Lane) {
        if lane.sender.is_closed() {
            return;
        }
        if lane.sender.is_ready() {
            self.keep(lane);
            return;
        }
        // An answer may be dropped anywhere.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let pool = self.clone();
        runtime.spawn(async move {
            if let Ok(Ok(())) = tokio::time::timeout(READY, lane.sender.ready()).await {
                pool.keep(lane);
            }
        });
    }

    fn keep(&self, mut lane: Lane) {
        let mut idle = self.idle();
        while idle.len() >= self.limit.max(1) {
            idle.pop_front();
        }
        lane.idle_since = Instant::now();
        idle.push_back(lane);
    }

    /// Lets go of what nobody has used for long.
    pub fn sweep(&self) {
        let keep = self.keep;
        self.idle()
            .retain(|lane| Self::is_fit(lane) && lane.idle_since.elapsed() < keep);
    }
}
