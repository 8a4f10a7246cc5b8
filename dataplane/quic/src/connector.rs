//! The calling end: one proven connection per name, shared, and calls on it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use dmsc_pod::Pin;
use dmsc_wire::{AttachmentId, FlowLabel, NameBuf, NodeId};
use tokio::io::AsyncWriteExt;
use tokio::sync::{Mutex as AsyncMutex, watch};

use crate::connection::{Connection, Stream, close, code};
use crate::endpoint::{Inner, now_s};
use crate::error::{NotProven, QuicError, Unproven};
use crate::judge::Judge;
use crate::life::{Life, State};
use crate::peer::Peer;
use crate::tls::{self, NO_NAME};

/// Attempts of a call that has not been sent, or may be sent again.
const ATTEMPTS: usize = 3;

/// A name, and the instance if the caller chose it.
type Key = (NameBuf, Option<(NodeId, AttachmentId)>);
type Place = Arc<Flight>;

/// Where a name's connection is. Whoever dials holds the lock; the others wait, and share what comes of it.
#[derive(Debug, Default)]
struct Flight {
    slot: AsyncMutex<Slot>,
    /// Dials that are over.
    over: AtomicU64,
}

#[derive(Debug, Default)]
struct Slot {
    kept: Option<Connection>,
    /// Why the last dial failed, if it did.
    failed: Option<QuicError>,
    /// Who answered last, if the caller had not chosen an instance: the connection is kept as one to that.
    answered: Option<Pin>,
}

impl Slot {
    /// Until it retires.
    fn keep(&mut self, place: &Place, connection: &Connection) {
        self.kept = Some(connection.clone());
        let (state, id) = (connection.retirement(), connection.id());
        tokio::spawn(leave(Arc::downgrade(place), state, id));
    }
}

/// Calls names. Clones share connections.
#[derive(Debug, Clone)]
pub struct Connector {
    inner: Arc<Inner>,
    places: Arc<Mutex<HashMap<Key, Place>>>,
}

impl Connector {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self {
            inner,
            places: Arc::default(),
        }
    }

    fn place(&self, name: &NameBuf, pin: Option<Pin>) -> Result<Place, QuicError> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (name.clone(), pin.map(|pin| (pin.gateway, pin.attachment)));
        if let Some(place) = places.get(&key) {
            return Ok(Arc::clone(place));
        }
        if places.len() >= self.inner.config.names {
            // Connections that nobody has at the moment make room.
            places.retain(|_, place| {
                Arc::strong_count(place) > 1
                    || place.slot.try_lock().is_ok_and(|slot| {
                        slot.kept
                            .as_ref()
                            .is_some_and(|kept| kept.is_open() && kept.is_shared())
                    })
            });
        }
        if places.len() >= self.inner.config.names {
            return Err(QuicError::Full);
        }
        Ok(Arc::clone(places.entry(key).or_default()))
    }

    /// The connection to an instance of `name`: the one there is, or a new one to whichever instance answers.
    ///
    /// # Errors
    /// Nobody answers, or not with a proof of the name.
    pub async fn connect(&self, name: &NameBuf) -> Result<Connection, QuicError> {
        self.connect_at(name, None).await
    }

    /// The connection to one instance of `name`, for example one that [`dmsc_pod::Pod::resolve`] told.
    ///
    /// # Errors
    /// That one does not answer, or not with a proof of the name.
    pub async fn connect_to(&self, name: &NameBuf, pin: Pin) -> Result<Connection, QuicError> {
        self.connect_at(name, Some(pin)).await
    }

    async fn connect_at(&self, name: &NameBuf, pin: Option<Pin>) -> Result<Connection, QuicError> {
        let place = self.place(name, pin)?;
        let before = place.over.load(Relaxed);
        let mut slot = place.slot.lock().await;
        if let Some(connection) = slot.kept.as_ref().filter(|kept| kept.is_open()) {
            return Ok(connection.clone());
        }
        if let Some(connection) = slot.answered.and_then(|pin| self.kept(name, pin)) {
            return Ok(connection);
        }
        // It was over while this call waited: asking the same once more for each of them would keep the last one waiting for all.
        if place.over.load(Relaxed) != before
            && let Some(failed) = slot.failed.as_ref().and_then(QuicError::shared)
        {
            return Err(failed);
        }
        // Before the new one: its address may be needed.
        *slot = Slot::default();
        let limit = self.inner.config.handshake_timeout;
        let dialled = tokio::time::timeout(limit, self.dial(name, pin)).await;
        let dialled = dialled.unwrap_or_else(|_| Err(QuicError::Timeout(name.clone())));
        place.over.fetch_add(1, Relaxed);
        slot.failed = dialled.as_ref().err().and_then(QuicError::shared);
        let connection = dialled?;
        let answered = connection.instance();
        if answered.is_some_and(|answered| pin != Some(answered)) {
            slot.answered = answered;
            if let Some(connection) = self.keep_as(&connection, answered) {
                return Ok(connection);
            }
        }
        slot.keep(&place, &connection);
        Ok(connection)
    }

    /// The connection to an instance, if there is one that takes calls and nobody is at it.
    fn kept(&self, name: &NameBuf, pin: Pin) -> Option<Connection> {
        let place = {
            let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (name.clone(), Some((pin.gateway, pin.attachment)));
            Arc::clone(places.get(&key)?)
        };
        let slot = place.slot.try_lock().ok()?;
        slot.kept.clone().filter(Connection::is_open)
    }

    /// Keeps a connection as one to the instance that answered, which may be chosen later. The one to use: where there is one already, that, and the new one ends.
    /// `None`: it is dialled at the moment, or there is no room.
    fn keep_as(&self, connection: &Connection, answered: Option<Pin>) -> Option<Connection> {
        let place = self.place(connection.name(), answered).ok()?;
        let mut slot = place.slot.try_lock().ok()?;
        if let Some(kept) = slot.kept.as_ref().filter(|kept| kept.is_open()) {
            return Some(kept.clone());
        }
        slot.keep(&place, connection);
        Some(connection.clone())
    }

    async fn dial(&self, name: &NameBuf, pin: Option<Pin>) -> Result<Connection, QuicError> {
        let inner = &*self.inner;
        let (address, peer) = inner
            .socket
            .table
            .call(name.clone(), pin, FlowLabel(first_flow()))
            .ok_or(QuicError::Full)?;
        let tls = inner.keys.current();
        let config = inner.client_config(&tls, &peer)?;
        let connecting = inner
            .quic
            .connect_with(config, address, NO_NAME)
            .map_err(|error| match error {
                quinn::ConnectError::EndpointStopping => QuicError::Closed,
                other => QuicError::Tls(other.to_string()),
            })?;
        let failed = |source| QuicError::Connect {
            name: name.clone(),
            source,
        };
        let proven = async {
            let quic = connecting.await.map_err(failed)?;
            let mut proofs = quic.accept_uni().await.map_err(failed)?;
            let judged = self.judge(&quic, &peer, tls.until_s, &mut proofs).await;
            judged.map_err(|error| {
                // A server that refused the certificate ends the connection instead of showing anything.
                if matches!(error.why, Unproven::Unreadable(_))
                    && let Some(source) = quic.close_reason()
                {
                    return failed(source);
                }
                close(&quic, code::NOT_PROVEN, "the name is not proven");
                error.into()
            })
        };
        tokio::select! {
            proven = proven => proven,
            () = peer.unreachable() => Err(QuicError::NoRoute(name.clone())),
        }
    }

    async fn judge(
        &self,
        quic: &quinn::Connection,
        peer: &Arc<Peer>,
        own_s: u64,
        proofs: &mut quinn::RecvStream,
    ) -> Result<Connection, NotProven> {
        let root = self.inner.keys.root();
        // The handshake believed a pod's.
        let shown = tls::shown(quic, root).unwrap_or_default();
        let judge = Judge {
            root: root.clone(),
            revoked: Arc::clone(&self.inner.revoked),
            identity: shown.identity.clone(),
            peer: Arc::clone(peer),
            domain: self.inner.pod.registered().domain,
        };
        match judge.read(proofs).await {
            Ok(proofs) => {
                let life = Life::calling(shown, proofs, own_s);
                Ok(Connection::calling(
                    quic.clone(),
                    judge,
                    life,
                    &self.inner.heard,
                    Arc::downgrade(&self.inner),
                ))
            }
            Err(why) => Err(NotProven {
                name: peer.called().clone(),
                identity: shown.identity,
                why,
            }),
        }
    }

    /// A stream to an instance of `name`. When the instance of the shared connection is gone, to another: nothing was sent yet.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub async fn open(&self, name: &NameBuf) -> Result<Stream, QuicError> {
        let mut attempt = 1;
        loop {
            let connection = self.connect(name).await?;
            match connection.open_bi().await {
                Ok(stream) => return Ok(stream),
                Err(_) if attempt < ATTEMPTS => attempt += 1,
                Err(source) => {
                    let name = name.clone();
                    return Err(QuicError::NotSent { name, source });
                }
            }
        }
    }

    /// One request, one answer. Sent again only if it was not sent, or is `idempotent`.
    ///
    /// # Errors
    /// [`QuicError::Lost`]: whether it was executed is not known. Others: it was not.
    pub async fn call(
        &self,
        name: &NameBuf,
        request: &[u8],
        idempotent: bool,
    ) -> Result<Vec<u8>, QuicError> {
        let max = self.inner.config.max_answer;
        let mut attempt = 1;
        loop {
            let mut stream = self.open(name).await?;
            let broken = match exchange(&mut stream, request, max).await {
                Ok(answer) => return Ok(answer),
                Err(Broken::TooLong) => {
                    let name = name.clone();
                    return Err(QuicError::TooLong { name, max });
                }
                Err(Broken::Lost(why)) => why,
            };
            // Why this end ended it says more than that it did.
            let why = stream
                .connection()
                .ended()
                .map_or(broken, |ended| ended.to_string());
            if !idempotent || attempt == ATTEMPTS {
                return Err(QuicError::Lost {
                    name: name.clone(),
                    instance: stream.connection().instance(),
                    why,
                });
            }
            attempt += 1;
        }
    }
}

/// Takes a connection that retires out of its place, so that it ends with its last call.
async fn leave(place: Weak<Flight>, mut state: watch::Receiver<State>, id: usize) {
    if state.wait_for(|state| state.retired).await.is_ok()
        && let Some(place) = place.upgrade()
    {
        let mut slot = place.slot.lock().await;
        slot.kept.take_if(|kept| kept.id() == id);
    }
}

enum Broken {
    TooLong,
    Lost(String),
}

async fn exchange(stream: &mut Stream, request: &[u8], max: usize) -> Result<Vec<u8>, Broken> {
    let lost = |error: std::io::Error| Broken::Lost(error.to_string());
    stream.write_all(request).await.map_err(lost)?;
    stream.shutdown().await.map_err(lost)?;
    stream.read_to_end(max).await.map_err(|error| match error {
        quinn::ReadToEndError::TooLong => Broken::TooLong,
        quinn::ReadToEndError::Read(error) => Broken::Lost(error.to_string()),
    })
}

/// A label that no earlier run of this pod is likely to have used.
fn first_flow() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(now_s()) as u32
}
