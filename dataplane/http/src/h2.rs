//! HTTP/2 connections to a name: one per instance, shared by all calls.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dmsc_pod::Pin;
use dmsc_quic::Connector;
use dmsc_wire::{AttachmentId, NameBuf, NodeId};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::Mutex as AsyncMutex;
use tracing::debug;

use crate::error::HttpError;
use crate::lane::{Under, open};
use crate::replay::Replay;

/// Bytes under way on one call, and on all of a connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Of the head of an answer.
const MAX_HEAD: u32 = 64 << 10;
/// Instances that connections are kept to before those that are over are looked for.
const TIDY: usize = 64;

type Key = Option<(NodeId, AttachmentId)>;
/// Whoever connects holds the lock; the others wait and share.
type Slot = Arc<AsyncMutex<Option<Lane>>>;

/// A connection.
#[derive(Debug, Clone)]
pub(crate) struct Lane {
    pub sender: SendRequest<Replay>,
    pub under: Under,
    /// When it was last taken.
    used: Arc<Mutex<Instant>>,
    /// Calls that have it.
    calls: Arc<()>,
}

impl Lane {
    fn is_fit(&self) -> bool {
        !self.sender.is_closed() && self.under.is_open()
    }

    fn is_idle(&self, keep: Duration) -> bool {
        let used = *self.used.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::strong_count(&self.calls) == 1 && used.elapsed() >= keep
    }

    fn taken(&self) -> Self {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.clone()
    }
}

/// The connections.
#[derive(Debug)]
pub(crate) struct Shared {
    slots: Mutex<HashMap<Key, Slot>>,
    keep: Duration,
}

impl Shared {
    pub fn new(keep: Duration) -> Self {
        Self {
            slots: Mutex::default(),
            keep,
        }
    }

    fn slot(&self, key: Key) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= TIDY && !slots.contains_key(&key) {
            tidy(&mut slots, self.keep);
        }
        Arc::clone(slots.entry(key).or_default())
    }

    /// The connection to an instance: the one there is, or a new one.
    ///
    /// # Errors
    /// There is none to be had: nothing was sent.
    pub async fn take(
        &self,
        connector: &Connector,
        name: &NameBuf,
        place: Option<Pin>,
    ) -> Result<Lane, HttpError> {
        let slot = self.slot(place.map(|pin| (pin.gateway, pin.attachment)));
        let mut kept = slot.lock().await;
        if let Some(lane) = kept.as_ref().filter(|lane| lane.is_fit()) {
            return Ok(lane.taken());
        }
        *kept = None;
        let lane = start(connector, name, place).await?;
        *kept = Some(lane.clone());
        Ok(lane)
    }

    /// Lets go of what is over, and of what nobody has used for long.
    pub fn sweep(&self) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        tidy(&mut slots, self.keep);
    }
}

fn tidy(slots: &mut HashMap<Key, Slot>, keep: Duration) {
    slots.retain(|_, slot| {
        Arc::strong_count(slot) > 1
            || slot.try_lock().is_ok_and(|kept| {
                kept.as_ref()
                    .is_some_and(|lane| lane.is_fit() && !lane.is_idle(keep))
            })
    });
}

async fn start(
    connector: &Connector,
    name: &NameBuf,
    place: Option<Pin>,
) -> Result<Lane, HttpError> {
    let io = open(connector, name, place).await?;
    let under = Under::of(&io);
    let handshake = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEAD)
        .handshake(TokioIo::new(io))
        .await;
    let (sender, connection) = handshake.map_err(|source| under.failure(name, true, source))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            debug!(%error, "an HTTP/2 connection ended");
        }
    });
    Ok(Lane {
        sender,
        under,
        used: Arc::new(Mutex::new(Instant::now())),
        calls: Arc::default(),
    })
}
