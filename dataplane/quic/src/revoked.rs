//! What authorities and the root took back, as the pod's gateway tells it. Each statement is believed by its own signature: a gateway can keep one back, and make none up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use dmsc_pod::Revocations;
use dmsc_spa::verify::{Authorisation, Certificate, Revocation, RootKey};
use dmsc_wire::Name;
use tokio::sync::watch;
use tracing::{debug, info};

/// Those by authorities, by their bytes; `None`: it is not believed.
type Read = HashMap<Bytes, Option<Revocation>>;

/// What is known.
#[derive(Debug)]
pub(crate) struct Revoked {
    root: RootKey,
    read: Mutex<Read>,
    by_authorities: watch::Sender<Arc<[Revocation]>>,
}

impl Revoked {
    /// Nothing; what the root took back is known to all clones of `root`.
    pub fn new(root: RootKey) -> Self {
        Self {
            root,
            read: Mutex::default(),
            by_authorities: watch::Sender::default(),
        }
    }

    /// Told when there is more, by authorities or by the root.
    pub fn subscribe(&self) -> watch::Receiver<Arc<[Revocation]>> {
        self.by_authorities.subscribe()
    }

    /// Whether a certificate that was believed, or its key, was taken back.
    pub fn has_certificate(&self, certificate: &Certificate) -> bool {
        self.root.has_revoked(certificate)
    }

    /// Whether an authorisation proves a name no more.
    pub fn ends(&self, one: &Authorisation, name: Name<'_>) -> bool {
        let by_authorities = self.by_authorities.borrow();
        let mut by_authorities = by_authorities.iter();
        self.root.has_revoked_authority_of(one)
            || by_authorities.any(|revocation| revocation.ends(one, name))
    }

    /// Takes the place of what authorities said before; what the root said stays.
    pub fn learn(&self, told: &Revocations) {
        for body in &told.by_root {
            match self.root.root_revocation(body) {
                Ok(one) if self.root.revoke(&one) => {
                    info!(reason = one.reason, "the root took something back");
                }
                Ok(_) => {}
                Err(error) => debug!(%error, "a root revocation that nobody would believe"),
            }
        }
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *read);
        for body in &told.by_authorities {
            let one = before.remove(body).unwrap_or_else(|| {
                let one = self.root.revocation(body);
                one.inspect_err(|error| debug!(%error, "a revocation that nobody would believe"))
                    .ok()
            });
            read.insert(body.clone(), one);
        }
        let all = read.values().flatten().cloned().collect();
        drop(read);
        self.by_authorities.send_replace(all);
    }

    /// Learns what comes, until the pod ends.
    pub async fn follow(self: Arc<Self>, mut told: watch::Receiver<Arc<Revocations>>) {
        while told.changed().await.is_ok() {
            let now = Arc::clone(&told.borrow_and_update());
            self.learn(&now);
        }
    }
}
