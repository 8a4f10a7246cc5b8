//! What the main thread, too, may look at of a pod.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::watch;

use super::Context;
use crate::config::{PodConfig, Serve};
use crate::dns;
use crate::sockets::Sockets;
use crate::stats::{Direction, NameStats, Stats};

/// A prefix that is served, and whether its program is well.
#[derive(Debug)]
pub struct Served {
    /// As configured.
    pub serve: Serve,
    /// Its counters.
    pub stats: Arc<NameStats>,
    healthy: watch::Sender<bool>,
}

impl Served {
    /// Whether its program is well; it is taken to be until a check says otherwise.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        *self.healthy.borrow()
    }

    /// What a check says.
    pub fn set_healthy(&self, healthy: bool) {
        self.healthy.send_replace(healthy);
    }

    /// Returns when its program is not well any more. While it is ill already: when it falls ill again.
    pub async fn falls_ill(&self) {
        let mut healthy = self.healthy.subscribe();
        // The sender lives as long as this does.
        let _ = healthy.wait_for(|well| *well).await;
        let _ = healthy.wait_for(|well| !*well).await;
    }
}

/// What the main thread, too, may look at.
#[derive(Debug)]
pub struct Shared {
    /// As configured.
    pub config: PodConfig,
    /// What is counted.
    pub stats: Arc<Stats>,
    /// In the order of the file.
    pub served: Vec<Arc<Served>>,
    /// Synthetic addresses; `None`: the pod calls nobody.
    pub names: Option<Arc<dns::Table>>,
    /// The listening sockets while they are open.
    sockets: Mutex<Option<Arc<Sockets>>>,
    /// Its tasks' own, once it is registered.
    pub context: OnceLock<Arc<Context>>,
}

impl Shared {
    /// Of a pod that is not started.
    #[must_use]
    pub fn new(config: PodConfig) -> Self {
        let stats = Arc::new(Stats::new(&config.identity));
        let served = |serve: &Serve| {
            Arc::new(Served {
                serve: serve.clone(),
                stats: stats.of(Direction::In, Some(&serve.prefix)),
                healthy: watch::Sender::new(true),
            })
        };
        Self {
            served: config.serves.iter().map(served).collect(),
            names: config
                .outbound
                .as_ref()
                .map(|one| Arc::new(dns::Table::new(one))),
            stats,
            config,
            sockets: Mutex::default(),
            context: OnceLock::new(),
        }
    }

    /// The listening sockets while they are open.
    #[must_use]
    pub fn listening(&self) -> Option<Arc<Sockets>> {
        self.sockets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Keeps sockets that are open, for who takes them over.
    pub fn listen_on(&self, sockets: Sockets) {
        let kept = Some(Arc::new(sockets));
        *self.sockets.lock().unwrap_or_else(PoisonError::into_inner) = kept;
    }

    /// Closes them, so that nobody waits there in vain; a process that took them over still has them.
    pub fn close(&self) {
        let closed = self
            .sockets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(closed);
    }
}
