//! One running authority: what its services share.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use dmsc_linkstate::engine::body_id;
use dmsc_proto::v1;
use dmsc_spa::authority::{Answer, Authority, AuthorityError, Request};
use dmsc_spa::credentials::Credentials;
use dmsc_spa::policy::{Policy, PolicyError};
use dmsc_spa::verify::{Revocation, RootKey};
use dmsc_wire::{Domain, NameBuf, NodeId};
use thiserror::Error;
use tokio::sync::watch;
use tracing::{error, warn};

use super::StartError;
use super::config::SpaConfig;
use super::metrics::SpaMetrics;
use super::store::{Store, StoreError};
use crate::clock::wall;
use crate::mistake::FileMistakes;
use crate::node::statements::said;
use crate::operator::gate::Gate;
use crate::root_revocations::{GiveError, RootRevocations};

/// What its services share.
pub struct Spa {
    /// In force since the start of the process.
    pub config: SpaConfig,
    /// Verifies callers.
    pub root: RootKey,
    /// Counted since the start.
    pub metrics: SpaMetrics,
    /// Roles and audit.
    pub gate: Gate,
    /// Of the process.
    pub started: Instant,
    taken_back: RootRevocations,
    inner: Mutex<Inner>,
    /// Told when there is another revocation.
    revoked: watch::Sender<usize>,
}

struct Inner {
    authority: Authority,
    store: Store,
    /// Revocations signed by this process, for streams that run.
    signed: Vec<Bytes>,
}

/// A request that this authority cannot answer.
#[derive(Debug, Error)]
pub enum AuthoriseError {
    /// By the authority.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// What was signed cannot be remembered.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A revocation that was not made.
#[derive(Debug, Error)]
pub enum RevokeError {
    /// The authority may not speak for it, or an argument is wrong.
    #[error(transparent)]
    Refused(#[from] AuthorityError),
    /// It is in force, but a restart of this process forgets it.
    #[error("in force and told to all gateways, but not kept here: {0}")]
    NotKept(StoreError),
}

/// A reload that was refused; everything stays as it was.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// Of `[spa]`.
    #[error(transparent)]
    Config(#[from] FileMistakes),
    /// A file of a gateway or a router.
    #[error(
        "[node]: this is the file of a gateway (sg) or a router (sr); a prefix authority takes its policy, or its own file, which has [spa]"
    )]
    OtherDaemon,
    /// Of the policy file.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Fields of `[spa]`.
    #[error("{} can only be changed by a restart: systemctl restart dmsc-spa", .0.join(", "))]
    NeedsRestart(Vec<String>),
}

impl Spa {
    /// Brings policy, state and credentials together.
    ///
    /// # Errors
    /// When one of them is of no use.
    pub fn new(
        config: SpaConfig,
        policy: Policy,
        credentials: &Credentials,
        gate: Gate,
    ) -> Result<Self, StartError> {
        let root = credentials.root_key()?;
        let mut store = Store::open(&config.state_dir)?;
        let mut revocations = Vec::new();
        for (serial, body) in store.revocations() {
            match root.revocation(&body) {
                Ok(_) => revocations.push(body),
                Err(error) => warn!(serial, %error, "a revocation on disk is not believed"),
            }
        }
        let taken_back = RootRevocations::open(&config.state_dir)?;
        taken_back.load(&root);
        let mut authority = Authority::new(credentials, policy, store.spent(), revocations)?;
        authority.remember_end(store.end_s());
        store.spend(authority.serial())?;
        if authority.is_revoked() {
            error!("{}", AuthorityError::Revoked(config.name.clone()));
        }
        Ok(Self {
            config,
            root,
            metrics: SpaMetrics::default(),
            gate,
            started: Instant::now(),
            taken_back,
            inner: Mutex::new(Inner {
                authority,
                store,
                signed: Vec::new(),
            }),
            revoked: watch::Sender::new(0),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a gateway. Many prefixes take a while: not to be called on a thread that has other things to do.
    ///
    /// # Errors
    /// When the proof is not believed, or the disk does not take the serial.
    pub fn authorise(&self, request: &Request) -> Result<Answer, AuthoriseError> {
        let mut inner = self.inner();
        let answer = inner.authority.authorise(request, wall().as_secs())?;
        let (serial, end_s) = (inner.authority.serial(), inner.authority.end_s());
        inner.store.spend(serial)?;
        inner.store.lasts_until(end_s)?;
        Ok(answer)
    }

    /// Takes what the root took back (SignedRootRevocation): kept on disk, and from now on pods and gateways with such a certificate or key are
    /// refused. If it is this authority's own, it signs nothing more. Returns what it is about, and whether it was known.
    ///
    /// # Errors
    /// When it is not the root's, or cannot be kept; nothing changes then.
    pub fn give_root_revocation(&self, body: &[u8]) -> Result<(String, bool), GiveError> {
        let inner = self.inner();
        let (what, known) = self.taken_back.give(&self.root, body)?;
        if known {
            return Ok((what, known));
        }
        if inner.authority.is_revoked() {
            error!("{}", AuthorityError::Revoked(self.config.name.clone()));
        }
        drop(inner);
        // Streams of gateways look whether they may stay.
        self.revoked.send_modify(|_| ());
        Ok((what, known))
    }

    /// Whether the root took back what this authority signs with: it answers nobody.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.inner().authority.is_revoked()
    }

    /// Ends authorisations, and tells all gateways. Returns the serial.
    ///
    /// # Errors
    /// When the authority may not, or the disk does not take it.
    pub fn revoke(
        &self,
        domain: Domain,
        name: Option<NameBuf>,
        gateway: Option<NodeId>,
        identity: Option<String>,
        reason: &str,
    ) -> Result<u64, RevokeError> {
        let mut inner = self.inner();
        let now_s = wall().as_secs();
        let body = inner
            .authority
            .revoke(domain, name, gateway, identity, reason, now_s)?;
        let serial = inner.authority.serial();
        let kept = inner
            .store
            .spend(serial)
            .and_then(|()| inner.store.keep(serial, &body));
        inner.signed.push(body);
        let count = inner.signed.len();
        drop(inner);
        self.metrics.revocations.inc();
        self.revoked.send_replace(count);
        kept.map(|()| serial).map_err(RevokeError::NotKept)
    }

    /// Revocations in force, how many this process has signed, and what tells of more.
    #[must_use]
    pub fn watch(&self) -> (Vec<Bytes>, usize, watch::Receiver<usize>) {
        let inner = self.inner();
        let known = inner.authority.revocations(wall().as_secs());
        (known, inner.signed.len(), self.revoked.subscribe())
    }

    /// Revocations signed by this process, after the first `seen`.
    #[must_use]
    pub fn signed_after(&self, seen: usize) -> Vec<Bytes> {
        self.inner()
            .signed
            .get(seen..)
            .map_or_else(Vec::new, <[Bytes]>::to_vec)
    }

    /// Revocations in force, decoded.
    #[must_use]
    pub fn in_force(&self) -> Vec<Revocation> {
        let bodies = self.inner().authority.revocations(wall().as_secs());
        bodies
            .iter()
            .filter_map(|body| self.root.revocation(body).ok())
            .collect()
    }

    /// What the root took back, with the ids of the statements.
    #[must_use]
    pub fn root_revocations(&self) -> Vec<(u64, v1::RootRevocation)> {
        let kept = self.taken_back.kept();
        kept.iter()
            .filter(|(_, body)| self.root.root_revocation(body).is_ok())
            .filter_map(|(_, body)| Some((body_id(body), said(body)?)))
            .collect()
    }

    /// Removes revocations from disk that are over.
    pub fn tidy(&self) {
        let inner = self.inner();
        let now_s = wall().as_secs();
        for (serial, body) in inner.store.revocations() {
            // What is not believed stays, for somebody to look at.
            if self
                .root
                .revocation(&body)
                .is_ok_and(|one| one.until_s < now_s)
            {
                inner.store.forget(serial);
            }
        }
    }

    /// The policy in force, as a file.
    #[must_use]
    pub fn policy_text(&self) -> String {
        self.inner().authority.policy().dump()
    }

    /// What a text would change: a policy, or the file of the process itself, recognised by its `[spa]`.
    ///
    /// # Errors
    /// All mistakes.
    pub fn judge(&self, text: &str) -> Result<Candidate, ReloadError> {
        let table = text.parse::<toml::Table>().unwrap_or_default();
        if table.contains_key("spa") {
            let new = SpaConfig::parse(text, &self.config.file)?;
            return Ok(Candidate {
                diff: self.config.diff(&new),
                policy: None,
            });
        }
        if table.contains_key("node") {
            return Err(ReloadError::OtherDaemon);
        }
        let folder = self.config.policy.parent().unwrap_or(Path::new(""));
        self.candidate(Policy::parse(text, folder)?)
    }

    fn candidate(&self, policy: Policy) -> Result<Candidate, ReloadError> {
        let inner = self.inner();
        inner.authority.check_policy(&policy)?;
        Ok(Candidate {
            diff: inner.authority.policy().diff(&policy),
            policy: Some(policy),
        })
    }

    /// Puts it in force; returns the difference.
    ///
    /// # Errors
    /// When only a restart can.
    pub fn apply(&self, candidate: Candidate) -> Result<Vec<String>, ReloadError> {
        match candidate.policy {
            Some(policy) => self.inner().authority.set_policy(policy),
            None if candidate.diff.is_empty() => {}
            None => {
                let fields = candidate.diff.iter();
                let fields = fields.filter_map(|line| Some(line.split_once(": ")?.0.to_owned()));
                return Err(ReloadError::NeedsRestart(fields.collect()));
            }
        }
        Ok(candidate.diff)
    }

    /// Reads both files again.
    ///
    /// # Errors
    /// A mistake in one of them, or a change that needs a restart; nothing is changed then.
    pub fn reload(&self) -> Result<Vec<String>, ReloadError> {
        let new = SpaConfig::load(&self.config.file)?;
        let diff = self.config.diff(&new);
        if !diff.is_empty() {
            return self.apply(Candidate { diff, policy: None });
        }
        let candidate = self.candidate(Policy::load(&self.config.policy)?)?;
        self.apply(candidate)
    }
}

/// A checked text, and what it would change.
pub struct Candidate {
    /// One line per field.
    pub diff: Vec<String>,
    policy: Option<Policy>,
}
