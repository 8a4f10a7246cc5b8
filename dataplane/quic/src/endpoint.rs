//! One end of QUIC over names: a pod with its certificate, which calls and is called.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use dmsc_pod::Pod;
use dmsc_wire::NameBuf;
use quinn::{ClientConfig, EndpointConfig, ServerConfig, TokioRuntime, TransportConfig, VarInt};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::colleagues::Colleagues;
use crate::config::Config;
use crate::connection::code;
use crate::connector::Connector;
use crate::error::QuicError;
use crate::exhibits::Exhibits;
use crate::keys::Keys;
use crate::listener::Listener;
use crate::peer::{Peer, Role};
use crate::proof;
use crate::replicas::{Heard, Replicas};
use crate::revoked::Revoked;
use crate::socket::Socket;
use crate::table::Table;
use crate::tls::Tls;
use crate::transport;

/// Smallest datagram that QUIC can live with (RFC 9000, 14).
pub(crate) const MIN_DATAGRAM: usize = 1_200;
/// Largest that it can say it takes.
const MAX_DATAGRAM: usize = 65_527;

/// Streams on which a server may show proofs or say other things at the same time; callers have none.
const NOTICES: u32 = 4;

/// An endpoint. Dropping its last part ends the connections.
#[derive(Debug)]
pub struct Endpoint {
    inner: Arc<Inner>,
    connector: Connector,
}

pub(crate) struct Inner {
    pub pod: Pod,
    pub config: Config,
    pub quic: quinn::Endpoint,
    pub socket: Arc<Socket>,
    pub exhibits: Arc<Exhibits>,
    pub keys: Keys,
    pub revoked: Arc<Revoked>,
    /// What servers tell of others like them.
    pub heard: Arc<Heard>,
    /// What this end tells its callers of others like it.
    pub colleagues: Colleagues,
    /// Answers callers when nobody listens any more.
    pub refusing: Mutex<JoinSet<()>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner")
            .field("pod", &self.pod)
            .field("identity", &self.keys.identity())
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Takes the pod's datagrams over. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// Credentials that are of no use, or datagrams that somebody else has.
    pub fn new(pod: Pod, config: Config) -> Result<Self, QuicError> {
        let keys = Keys::load(&config.credentials, config.credentials_interval)?;
        if !proof::fit(&config.proofs) {
            return Err(QuicError::Proofs);
        }
        let datagrams = pod.datagrams().ok_or(QuicError::Taken)?;
        // Of the better way, if there is another: what a peer is told once holds as long as the connection.
        let largest = pod.largest_packet();
        let largest = largest.clamp(MIN_DATAGRAM, MAX_DATAGRAM);
        let table = Table::new(config.peers, config.per_caller);
        let patience = config.unreachable_after;
        let socket = Arc::new(Socket::new(
            datagrams,
            table,
            patience,
            config.class,
            largest,
        ));
        let mut limits = EndpointConfig::default();
        let largest = largest as u16;
        limits
            .max_udp_payload_size(largest)
            .map_err(|error| QuicError::Tls(error.to_string()))?;
        // Without a listener nobody is answered.
        let quic = quinn::Endpoint::new_with_abstract_socket(
            limits,
            None,
            Arc::clone(&socket) as Arc<dyn quinn::AsyncUdpSocket>,
            Arc::new(TokioRuntime),
        )
        .map_err(|error| QuicError::Tls(error.to_string()))?;
        let exhibits = Exhibits::new(keys.root().clone(), config.proofs.clone(), pod.proofs());
        let revoked = Arc::new(Revoked::new(keys.root().clone()));
        let mut told = pod.revocations();
        revoked.learn(&told.borrow_and_update());
        tokio::spawn(Arc::clone(&revoked).follow(told));
        let inner = Arc::new(Inner {
            revoked,
            heard: Arc::default(),
            colleagues: Colleagues::default(),
            exhibits: Arc::new(exhibits),
            pod,
            config,
            quic,
            socket,
            keys,
            refusing: Mutex::default(),
        });
        Ok(Self {
            connector: Connector::new(Arc::clone(&inner)),
            inner,
        })
    }

    /// Calls names; all clones share connections.
    #[must_use]
    pub fn connector(&self) -> Connector {
        self.connector.clone()
    }

    /// Is called from now on, under the names that the pod serves, until the listener is dropped. One at a time.
    #[must_use]
    pub fn listen(&self) -> Listener {
        Listener::new(Arc::clone(&self.inner))
    }

    /// The pod underneath.
    #[must_use]
    pub fn pod(&self) -> &Pod {
        &self.inner.pod
    }

    /// Who serves a name at gateways that do not tell their pods one by one, as far as servers that are connected tell it.
    #[must_use]
    pub fn replicas(&self, name: &NameBuf) -> watch::Receiver<Replicas> {
        self.inner.heard.follow(name)
    }

    /// Connections in both directions that are not over.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.inner.quic.open_connections()
    }

    /// Ends all connections, and waits until the other ends know.
    pub async fn close(&self) {
        self.inner
            .quic
            .close(VarInt::from_u32(code::DONE), b"closed");
        self.inner.quic.wait_idle().await;
    }
}

impl Inner {
    /// QUIC's parameters towards a peer: what fits the pod's links between these names. Discovery finds what fits the one in use.
    fn transport(&self, peer: &Peer) -> Result<Arc<TransportConfig>, QuicError> {
        let datagrams = &self.socket.datagrams;
        let now = datagrams.max_payload(peer.towards());
        if now < MIN_DATAGRAM {
            return Err(QuicError::TooSmall(now));
        }
        let largest = datagrams.largest_payload(peer.towards());
        let widens = largest > now;
        let largest = largest.min(MAX_DATAGRAM) as u16;
        let notices = match peer.role {
            Role::Instance { .. } => NOTICES,
            Role::Caller(_) => 0,
        };
        let parameters = transport::parameters(&self.config, (largest, widens), notices);
        Ok(Arc::new(parameters))
    }

    pub fn client_config(&self, tls: &Tls, peer: &Peer) -> Result<ClientConfig, QuicError> {
        let mut config = ClientConfig::new(Arc::clone(&tls.client) as _);
        config.transport_config(self.transport(peer)?);
        Ok(config)
    }

    /// Whoever calls is refused at once until somebody listens: without an answer, callers would wait as long as they have patience. Must be called in a tokio
    /// runtime.
    pub fn refuse(&self) {
        // No part of this, or it would hold itself.
        let quic = self.quic.clone();
        self.refusing().spawn(async move {
            while let Some(incoming) = quic.accept().await {
                incoming.refuse();
            }
        });
    }

    /// The opposite of [`Inner::refuse`].
    pub fn refuse_no_more(&self) {
        *self.refusing() = JoinSet::new();
    }

    fn refusing(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.refusing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of connections in general; the limits of one are set when its caller is known.
    pub fn server_config(&self) -> ServerConfig {
        let mut config = ServerConfig::with_crypto(Arc::clone(&self.keys.current().server) as _);
        config
            // A caller that moves is another caller.
            .migration(false)
            .max_incoming(self.config.backlog);
        config
    }

    pub fn server_config_for(&self, peer: &Peer) -> Result<Arc<ServerConfig>, QuicError> {
        let mut config = self.server_config();
        config.transport_config(self.transport(peer)?);
        Ok(Arc::new(config))
    }
}

/// Wall clock, s since 1970.
pub(crate) fn now_s() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}
