//! The called end: accepts connections and shows the proofs.

use std::sync::Arc;

use dmsc_wire::NameBuf;
use quinn::Incoming;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tracing::debug;

use crate::connection::{Connection, close, code};
use crate::endpoint::Inner;
use crate::peer::{Peer, Role};
use crate::tls;

/// Connections that callers make. Dropping it refuses new ones.
#[derive(Debug)]
pub struct Listener {
    inner: Arc<Inner>,
    ready: Mutex<mpsc::Receiver<Connection>>,
    task: JoinHandle<()>,
}

impl Listener {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
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
        self.inner.quic.set_server_config(None);
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

async fn establish(inner: &Inner, incoming: Incoming) -> Option<Connection> {
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
    if !is_caller(inner, &quic, &peer) {
        close(
            &quic,
            code::NOT_THE_CALLER,
            "the certificate is not the caller's",
        );
        return None;
    }
    let mut proofs = quic.open_uni().await.ok()?;
    proofs.write_chunk(inner.proofs.clone()).await.ok()?;
    proofs.finish().ok()?;
    inner.identified(quic, peer).ok()
}

/// Whether the pod of the certificate is the one that its gateway says the packets come from.
fn is_caller(inner: &Inner, quic: &quinn::Connection, peer: &Peer) -> bool {
    let Role::Caller(caller) = &peer.role else {
        return false;
    };
    tls::identity(quic, &inner.root)
        .and_then(|identity| NameBuf::parse(&format!("/id/{identity}")).ok())
        .is_some_and(|name| name == caller.name)
}
