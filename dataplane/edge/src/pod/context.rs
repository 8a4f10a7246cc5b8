//! What all tasks of a pod share.

use std::sync::Arc;
use std::time::Duration;

use dmsc_quic::{Connector, Endpoint};
use dmsc_wire::NameBuf;
use tokio::sync::{Semaphore, watch};

use super::{Served, Shared};
use crate::choose::Chooser;
use crate::log::AccessLog;

/// Connections that programs of a pod may have open.
const MAX_CONNECTIONS: usize = 10_000;
/// And, apart from them, calls of others under way to its programs; further ones are told that it is overloaded.
pub const MAX_CALLED: usize = 10_000;
/// Connections of programs that are not used stay open for so long after no new ones are taken: what they were about to say is answered.
pub const LINGER: Duration = Duration::from_secs(1);

/// How far a pod's life is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Takes calls.
    Running,
    /// Takes no new ones.
    Draining,
    /// All that goes on is broken off.
    Ended,
}

/// What all tasks of a pod share.
#[derive(Debug)]
pub struct Context {
    /// Configuration, counters, prefixes, synthetic addresses.
    pub shared: Arc<Shared>,
    /// Its end of QUIC; [`Endpoint::pod`] is the registration.
    pub endpoint: Arc<Endpoint>,
    /// Of `endpoint`.
    pub connector: Connector,
    /// Which instance a call goes to.
    pub chooser: Chooser,
    /// Connections that programs may have open, beside those that they have.
    pub callers: Arc<Semaphore>,
    /// Streams that callers may have open, beside those that they have.
    pub called: Arc<Semaphore>,
    /// Calls that are over.
    pub log: AccessLog,
    /// What is to be done next.
    pub phase: watch::Receiver<Phase>,
}

impl Context {
    /// Of a pod that is registered.
    #[must_use]
    pub fn new(
        shared: Arc<Shared>,
        endpoint: Endpoint,
        log: AccessLog,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        let endpoint = Arc::new(endpoint);
        Self {
            connector: endpoint.connector(),
            chooser: Chooser::new(Arc::clone(&endpoint), Arc::clone(&shared.stats)),
            shared,
            endpoint,
            callers: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            called: Arc::new(Semaphore::new(MAX_CALLED)),
            log,
            phase,
        }
    }

    /// Who the pod is.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.shared.config.identity
    }

    /// The longest prefix served here that covers `name`.
    #[must_use]
    pub fn serving(&self, name: &NameBuf) -> Option<&Arc<Served>> {
        let covers = |one: &&Arc<Served>| one.serve.prefix.as_name().is_prefix_of(name.as_name());
        let served = self.shared.served.iter().filter(covers);
        served.max_by_key(|one| one.serve.prefix.as_bytes().len())
    }

    /// Until a connection that nobody uses may be closed, because no new ones are taken.
    pub async fn until_quiet(&self) {
        self.until(Phase::Draining).await;
        tokio::time::sleep(LINGER).await;
    }

    /// Until the phase is at least this.
    pub async fn until(&self, phase: Phase) {
        let mut phases = self.phase.clone();
        // Whoever says it is gone: that is the end as well.
        let _ = phases.wait_for(|now| *now >= phase).await;
    }
}
