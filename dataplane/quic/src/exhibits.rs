//! What a server shows to prove the name that was called: what its gateway told its pod, and what it was configured with.

use std::cmp::Reverse;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use dmsc_pod::Proofs;
use dmsc_spa::verify::{Authorisation, RootKey};
use dmsc_wire::Name;
use tokio::sync::watch;
use tracing::debug;

use crate::endpoint::now_s;
use crate::proof::{self, MAX_PROOFS};
use crate::revoked::Revoked;

/// An authorisation, and the bytes to show.
#[derive(Debug)]
struct Exhibit {
    authorisation: Authorisation,
    body: Bytes,
}

/// What the pod was told, as it was read last.
type Read = (Arc<Proofs>, Arc<[Exhibit]>);

/// What can be shown.
#[derive(Debug)]
pub(crate) struct Exhibits {
    root: RootKey,
    fixed: Vec<Bytes>,
    told: watch::Receiver<Arc<Proofs>>,
    read: Mutex<Option<Read>>,
}

impl Exhibits {
    pub fn new(root: RootKey, fixed: Vec<Bytes>, told: watch::Receiver<Arc<Proofs>>) -> Self {
        Self {
            root,
            fixed,
            told,
            read: Mutex::default(),
        }
    }

    /// Told when there are others.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Proofs>> {
        self.told.clone()
    }

    /// Whether the gateway may have some that it has not told yet.
    pub fn may_come(&self) -> bool {
        self.told.borrow().version != 0
    }

    /// Those to show to a caller of `name`: no more than it needs, those that last longest first.
    pub fn of(&self, name: Name<'_>) -> Vec<Bytes> {
        let (all, now_s) = (self.all(), now_s());
        let mut told: Vec<&Exhibit> = all
            .iter()
            .filter(|one| {
                proof::end_s(&one.authorisation) >= now_s && proof::grants(&one.authorisation, name)
            })
            .collect();
        told.sort_by_key(|one| Reverse(proof::end_s(&one.authorisation)));
        let told = told.into_iter().map(|one| one.body.clone());
        self.fixed
            .iter()
            .cloned()
            .chain(told)
            .take(MAX_PROOFS)
            .collect()
    }

    /// Whether none of these, which were shown to a caller of `name`, proves it any more, and none that could be shown instead: all that do are `revoked`.
    pub fn are_void(&self, shown: &[Bytes], name: Name<'_>, revoked: &Revoked) -> bool {
        let now = self.of(name);
        let all = shown.iter().chain(&now);
        let read = all.filter_map(|body| self.root.authorisation(body).ok());
        let mut good = read.filter(|one| proof::grants(one, name)).peekable();
        good.peek().is_some() && good.all(|one| revoked.ends(&one, name))
    }

    /// Read once, not for every connection.
    fn all(&self) -> Arc<[Exhibit]> {
        let now = Arc::clone(&self.told.borrow());
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, all)) = read.as_ref()
            && Arc::ptr_eq(of, &now)
        {
            return Arc::clone(all);
        }
        let exhibit = |body: &Bytes| match self.root.authorisation(body) {
            Ok(authorisation) => Some(Exhibit {
                authorisation,
                body: body.clone(),
            }),
            Err(error) => {
                debug!(%error, "an authorisation that nobody would believe is not shown");
                None
            }
        };
        let all: Arc<[Exhibit]> = now.authorisations.iter().filter_map(exhibit).collect();
        *read = Some((now, Arc::clone(&all)));
        all
    }
}
