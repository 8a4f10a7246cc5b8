//! The called end: accepts connections and shows the proofs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dmsc_wire::{Name, NameBuf};
use quinn::Incoming;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tracing::debug;

use crate::connection::{Connection, close, code};
use crate::endpoint::Inner;
use crate::peer::{Peer, Role};
use crate::proof;
use crate::tls::{self, Shown};

/// How long a caller waits for a proof that the gateway has and the pod does not know yet.
const MISSING: Duration = Duration::from_secs(2);

/// Connections that callers make. Dropped, new ones are refused at once, and their callers go elsewhere.
#[derive(Debug)]
pub struct Listener {
    inner: Arc<Inner>,
    ready: Mutex<mpsc::Receiver<Connection>>,
    task: JoinHandle<()>,
}

impl Listener {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        inner.refuse_no_more();
        inner.quic.set_server_config(Some(inner.server_config()));
        let backlog = inner.config.backlog.max(1);
        let (sender, ready) = mpsc::channel(backlog);
        let task = tokio::spawn(run(Arc::clone(&inner), sender));
        Self {
            inner,
            ready: Mutex::new(ready),
            task,
        }
    }

    /// The next connection; `None` when the endpoint is closed.
    pub async fn accept(&self) -> Option<Connection> {
        self.ready.lock().await.recv().await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
        if Handle::try_current().is_ok() {
            self.inner.refuse();
        } else {
            self.inner.quic.set_server_config(None);
        }
    }
}

/// A slow handshake keeps nobody else waiting.
async fn run(inner: Arc<Inner>, sender: mpsc::Sender<Connection>) {
    while let Some(incoming) = inner.quic.accept().await {
        // The place in the queue is taken first: who cannot be accepted is told at once.
        let Ok(place) = sender.clone().try_reserve_owned() else {
            incoming.refuse();
            continue;
        };
        let inner = Arc::clone(&inner);
        tokio::spawn(async move {
            let limit = inner.config.handshake_timeout;
            match tokio::time::timeout(limit, establish(&inner, incoming)).await {
                Ok(Some(connection)) => drop(place.send(connection)),
                Ok(None) => {}
                Err(_) => debug!("a caller took too long over its handshake"),
            }
        });
    }
}

async fn establish(inner: &Arc<Inner>, incoming: Incoming) -> Option<Connection> {
    let Some(peer) = inner.socket.table.get(incoming.remote_address()) else {
        incoming.ignore();
        return None;
    };
    let config = match inner.server_config_for(&peer) {
        Ok(config) => config,
        Err(error) => {
            debug!(%error, "a caller was refused");
            incoming.refuse();
            return None;
        }
    };
    let quic = match incoming.accept_with(config) {
        Ok(connecting) => connecting.await,
        Err(error) => Err(error),
    };
    let quic = quic
        .inspect_err(|error| debug!(%error, "a caller was refused"))
        .ok()?;
    let Some(caller) = caller(inner, &quic, &peer) else {
        close(
            &quic,
            code::NOT_THE_CALLER,
            "the certificate is not the caller's",
        );
        return None;
    };
    let shown = to_show(inner, peer.called().as_name()).await;
    let mut proofs = quic.open_uni().await.ok()?;
    proofs.write_chunk(proof::encode(&shown)).await.ok()?;
    proofs.finish().ok()?;
    let (exhibits, revoked) = (Arc::clone(&inner.exhibits), Arc::clone(&inner.revoked));
    let endpoint = Arc::downgrade(inner);
    let proofs = (exhibits, shown);
    Some(Connection::called(
        quic, peer, caller, revoked, proofs, endpoint,
    ))
}

/// The proofs of a name. When there are none the gateway is asked: a prefix that waited is announced before its pod hears of it.
async fn to_show(inner: &Inner, name: Name<'_>) -> Vec<Bytes> {
    let mut told = inner.exhibits.subscribe();
    let mut shown = inner.exhibits.of(name);
    if shown.is_empty() && inner.exhibits.may_come() {
        inner.pod.refresh();
        let more = async {
            while shown.is_empty() && told.changed().await.is_ok() {
                shown = inner.exhibits.of(name);
            }
        };
        // Without any the caller is told so.
        let _ = tokio::time::timeout(MISSING, more).await;
    }
    shown
}

/// What the caller has shown, if it is the pod that its gateway says the packets come from.
fn caller(inner: &Inner, quic: &quinn::Connection, peer: &Peer) -> Option<Shown> {
    let Role::Caller(caller) = &peer.role else {
        return None;
    };
    let shown = tls::shown(quic, inner.keys.root())?;
    let name = NameBuf::parse(&format!("/id/{}", shown.identity)).ok()?;
    (name == caller.name).then_some(shown)
}
