//! One running scheduling center: the engine, who is connected, what was measured and what is in force.

mod forget;
pub mod hand;
pub mod look;
mod revoked;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dmsc_proto::v1;
use dmsc_scsc::scsc::ConfigError;
use dmsc_scsc::store::Store;
use dmsc_scsc::{
    Epoch, Order, Pair, Policy, PolicyId, Report, RulesTable, Scsc, ScscConfig, SignedPolicy,
};
use dmsc_spa::credentials::{Credentials, SigningKey};
use dmsc_spa::verify::{Certificate, RootKey};
use dmsc_wire::{Domain, NameBuf, NodeId};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tonic::Status;
use tracing::{info, warn};

use super::StartError;
use super::config::CenterConfig;
pub use super::groups::{Entered, FullError, MAX_GROUPS_EACH};
use super::groups::{GroupName, Groups};
use super::metrics::CenterMetrics;
use super::services::Told;
use super::timeline::Timeline;
use super::writer::Writer;
use crate::clock::{wall, wall_ms};
use crate::mistake::FileMistakes;
use crate::root_revocations::RootRevocations;

/// Messages on their way to one gateway; whoever does not read them is let go, and gets what is in force when it comes back.
const WAITING: usize = 1_024;
/// What was measured is forgotten after this long, and so are groups of a gateway that is gone.
const FORGET: Duration = Duration::from_secs(300);
/// A gateway that connects again tells all its groups within this time.
const TOLD_AGAIN: Duration = Duration::from_secs(60);
/// Policies are kept on disk at most this often.
const SAVE: Duration = Duration::from_secs(1);

/// Messages to one gateway.
pub(super) type ToGateway = mpsc::Sender<Result<v1::CenterMessage, Status>>;
/// What a stream sends.
pub(super) type FromCenter = mpsc::Receiver<Result<v1::CenterMessage, Status>>;
/// Ready when a stream is to end.
pub(super) type Gone = oneshot::Receiver<()>;
/// Tenant, prefix, gateway of the callers.
type Scope = (Domain, NameBuf, NodeId);

/// A policy in force.
#[derive(Debug, Clone)]
pub struct InForce {
    /// What.
    pub policy: Policy,
    /// As it was sent.
    pub signed: SignedPolicy,
    /// On the center's clock.
    pub until: Duration,
    /// By node: generation of its tables, or why it was refused.
    pub acks: BTreeMap<NodeId, Result<u64, String>>,
}

/// How many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Connected.
    pub streams: usize,
    /// Pairs known.
    pub pairs: usize,
    /// Service groups.
    pub groups: usize,
    /// Policies in force.
    pub policies: usize,
}

/// A reload that was refused; everything stays as it was.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// Of the file.
    #[error(transparent)]
    Config(#[from] FileMistakes),
    /// Fields that cannot change.
    #[error("[scsc] {}: can only be changed by a restart", .0.join(", "))]
    NeedsRestart(Vec<&'static str>),
    /// Of the engine.
    #[error(transparent)]
    Engine(#[from] ConfigError),
}

/// What its streams share.
pub struct Center {
    /// Verifies callers.
    pub root: RootKey,
    /// Counted since the start.
    pub metrics: CenterMetrics,
    /// What changed and why.
    pub timeline: Timeline,
    name: String,
    key: SigningKey,
    certificate: Bytes,
    area: u32,
    replica: u32,
    epoch: Epoch,
    started: Instant,
    taken_back: RootRevocations,
    /// Told when the root took something back.
    revoked: watch::Sender<usize>,
    writer: Writer,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Stream {
    number: u64,
    sender: ToGateway,
    opened: Duration,
    certificate: Certificate,
    /// Dropped: the stream ends.
    _stay: oneshot::Sender<()>,
}

struct Inner {
    config: CenterConfig,
    table: RulesTable,
    engine: Scsc,
    streams: HashMap<NodeId, Stream>,
    opened: u64,
    /// Not judged yet; seconds that come together, as after a reconnection, count as one report.
    pending: HashMap<Pair, Report>,
    quality: HashMap<Pair, (Duration, Report)>,
    groups: Groups,
    /// When a gateway with groups told something last.
    heard: HashMap<NodeId, Duration>,
    in_force: BTreeMap<Scope, InForce>,
    next: u64,
    unsaved: bool,
    saved: Duration,
    tidied: Duration,
}

impl Center {
    /// Takes up what the last start left in force.
    ///
    /// # Errors
    /// When state or credentials are of no use.
    pub fn new(config: CenterConfig, credentials: &Credentials) -> Result<Self, StartError> {
        let store = Store::open(&config.state_dir)?;
        let taken_back = RootRevocations::open(&config.state_dir)?;
        let root = credentials.root_key()?;
        taken_back.load(&root);
        let epoch = store.next_epoch(wall().as_secs())?;
        let key = credentials.signing_key()?;
        let engine = Scsc::new(ScscConfig {
            epoch,
            ..config.engine
        })?;
        let mut in_force = BTreeMap::new();
        let kept = store.policies().unwrap_or_else(|error| {
            warn!(%error, "policies of before are not known");
            Vec::new()
        });
        for signed in kept {
            match signed.verify(&key.public_key()) {
                Ok(policy) if policy.rank.replica == config.engine.replica => {
                    let scope = scope(&policy);
                    let one = InForce {
                        // Perhaps less; a gateway that comes says how much.
                        until: policy.ttl,
                        policy,
                        signed,
                        acks: BTreeMap::new(),
                    };
                    in_force.insert(scope, one);
                }
                Ok(_) => {}
                Err(error) => warn!(%error, "a policy on disk is not taken up"),
            }
        }
        let store = Arc::new(store);
        Ok(Self {
            root,
            metrics: CenterMetrics::default(),
            timeline: Timeline::load(&store),
            name: config.name.clone(),
            key,
            certificate: credentials.certificate_der.clone(),
            area: config.engine.area,
            replica: config.engine.replica.0,
            epoch,
            started: Instant::now(),
            taken_back,
            revoked: watch::Sender::new(0),
            writer: Writer::start(store)?,
            inner: Mutex::new(Inner {
                table: config.table(),
                config,
                engine,
                streams: HashMap::new(),
                opened: 0,
                pending: HashMap::new(),
                quality: HashMap::new(),
                groups: Groups::default(),
                heard: HashMap::new(),
                in_force,
                next: 1,
                unsaved: false,
                saved: Duration::ZERO,
                tidied: Duration::ZERO,
            }),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never zero: the engine takes that for "not yet".
    fn now(&self) -> Duration {
        self.started.elapsed() + Duration::from_millis(1)
    }

    /// Of routers.
    #[must_use]
    pub fn area(&self) -> u32 {
        self.area
    }

    /// Which of the area's centers.
    #[must_use]
    pub fn replica(&self) -> u32 {
        self.replica
    }

    /// The certificate's.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Since when it runs.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// This start.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// How many there are.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let inner = self.inner();
        Counts {
            streams: inner.streams.len(),
            pairs: inner.quality.len(),
            groups: inner.groups.len(),
            policies: inner.in_force.len(),
        }
    }

    /// Policies in force, with the time that is left of each.
    #[must_use]
    pub fn policies(&self) -> Vec<(InForce, Duration)> {
        let now = self.now();
        let inner = self.inner();
        let all = inner.in_force.values();
        all.map(|one| (one.clone(), one.until.saturating_sub(now)))
            .collect()
    }

    /// A gateway or router opened a stream, which takes the place of one that it has. `held`: hash of what it holds, and how long that lasts. Gives
    /// the number of the stream and what is to be sent, to begin with what is in force and not held.
    pub(super) fn open(
        &self,
        node: NodeId,
        certificate: Certificate,
        held: &HashMap<[u8; 32], Duration>,
    ) -> (u64, ToGateway, FromCenter, Gone) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let (stay, gone) = oneshot::channel();
        let now = self.now();
        let mut inner = self.inner();
        inner.opened += 1;
        let number = inner.opened;
        for one in inner.in_force.values_mut() {
            if one.policy.gateway.is_some() && one.policy.gateway != node {
                continue;
            }
            match held.get(&dmsc_spa::statement::sha256(&one.signed.statement)) {
                Some(left) => one.until = one.until.min(now + *left),
                None => _ = sender.try_send(Ok(message(&one.signed))),
            }
        }
        let stream = Stream {
            number,
            sender: sender.clone(),
            opened: now,
            certificate,
            _stay: stay,
        };
        if let Some(old) = inner.streams.insert(node, stream) {
            let sentence = "this node opened another stream; that one goes on";
            let _ = old.sender.try_send(Err(Status::aborted(sentence)));
        }
        (number, sender, receiver, gone)
    }

    /// A stream ended.
    pub(super) fn left(&self, node: NodeId, number: u64) {
        let mut inner = self.inner();
        if inner
            .streams
            .get(&node)
            .is_some_and(|own| own.number == number)
        {
            inner.streams.remove(&node);
        }
    }

    /// All streams end.
    pub(super) fn close(&self) {
        self.inner().streams.clear();
    }

    /// Takes what a gateway measured and tells of its groups.
    ///
    /// # Errors
    /// When there is no room for some of the groups; all else was taken.
    pub fn take(
        &self,
        gateway: NodeId,
        reports: Vec<(Pair, Report)>,
        entered: Vec<Entered>,
    ) -> Result<(), FullError> {
        let now = self.now();
        let mut inner = self.inner();
        let taken = inner.enter(now, gateway, entered);
        self.metrics.reports.inc_by(reports.len() as u64);
        for (pair, report) in reports {
            match inner.pending.entry(pair) {
                std::collections::hash_map::Entry::Occupied(mut before) => {
                    before.get_mut().merge(&report);
                }
                std::collections::hash_map::Entry::Vacant(place) => _ = place.insert(report),
            }
        }
        taken
    }

    /// Takes what a gateway tells of the services that live with it; of those that nobody calls it is ignored.
    pub(super) fn serves(&self, gateway: NodeId, services: &[Told]) {
        let now = self.now();
        let mut inner = self.inner();
        let Inner { groups, engine, .. } = &mut *inner;
        for one in services {
            if let Some(id) = groups.id(&(one.domain, one.prefix.clone())) {
                engine.service(now, id, gateway, &one.state);
            }
        }
    }

    /// A gateway or router tells what became of a policy.
    pub fn acknowledged(&self, node: NodeId, ack: v1::PolicyAck) {
        let mut refused = None;
        let mut inner = self.inner();
        let same = |one: &&mut InForce| {
            let rank = one.policy.rank;
            (rank.id.0, rank.epoch.0, rank.replica.0) == (ack.id, ack.epoch, ack.replica)
                && (one.policy.gateway == node || !one.policy.gateway.is_some())
        };
        if let Some(one) = inner.in_force.values_mut().find(same) {
            let outcome = match ack.generation {
                0 => Err(ack.refused.chars().take(256).collect()),
                generation => Ok(generation),
            };
            refused = outcome.as_ref().err().cloned();
            one.acks.insert(node, outcome);
        }
        drop(inner);
        if let Some(why) = refused {
            self.metrics.refused_policies.inc();
            warn!(%node, policy = ack.id, why, "policy refused");
        }
    }

    /// Judges what came since the last time, and sends what follows.
    pub fn tick(&self) {
        let now = self.now();
        let mut inner = self.inner();
        let Inner {
            pending,
            engine,
            quality,
            ..
        } = &mut *inner;
        for (pair, report) in pending.drain() {
            engine.report(now, pair, &report);
            quality.insert(pair, (now, report));
        }
        self.take_up(&mut inner, now);
        for order in inner.engine.step(now) {
            self.put(&mut inner, now, order);
        }
        let before = inner.in_force.len();
        inner.in_force.retain(|_, one| one.until > now);
        inner.unsaved |= inner.in_force.len() != before;
        if now.saturating_sub(inner.tidied) > FORGET / 4 {
            inner.tidied = now;
            inner.tidy(now);
        }
        if inner.unsaved && now.saturating_sub(inner.saved) >= SAVE {
            (inner.unsaved, inner.saved) = (false, now);
            self.writer.policies(inner.signed());
        }
    }

    /// Keeps what is in force, at the end of the process: on disk when this returns.
    pub fn save_now(&self) {
        let policies = self.inner().signed();
        self.writer.policies(policies);
        self.writer.flush();
    }

    fn put(&self, inner: &mut Inner, now: Duration, order: Order) {
        let mut policy = order.policy;
        policy.rank.id = PolicyId(inner.next);
        inner.next += 1;
        if policy.reason.is_empty() {
            policy.reason = inner.reason_before(&policy);
        }
        let signed = policy.sign(&self.key, self.certificate.clone());
        self.metrics.policies.inc();
        if let Some(decision) = order.decision {
            self.decided(&decision.to_string());
        }
        let gateway = policy.gateway;
        if let Some(stream) = inner.streams.get(&gateway)
            && stream.sender.try_send(Ok(message(&signed))).is_err()
        {
            // Its queue is full, or it is just going.
            self.metrics.slow_streams.inc();
            warn!(%gateway, "does not read its policies; its stream ends");
            inner.streams.remove(&gateway);
        }
        inner.unsaved = true;
        let scope = scope(&policy);
        if policy.ttl.is_zero() {
            inner.in_force.remove(&scope);
            return;
        }
        let until = now + policy.ttl;
        let one = InForce {
            policy,
            signed,
            until,
            acks: BTreeMap::new(),
        };
        inner.in_force.insert(scope, one);
    }

    /// Writes down what changed and why.
    fn decided(&self, text: &str) {
        info!("{text}");
        self.metrics.decisions.inc();
        let at_ms = wall_ms();
        self.timeline.add(at_ms, text);
        if !self.writer.decision(at_ms, text.to_owned()) {
            self.metrics.unwritten_decisions.inc();
        }
    }

    /// Decides by another configuration from now on.
    ///
    /// # Errors
    /// When it is none, or needs a restart; nothing changes then.
    pub fn reload(&self, new: Result<CenterConfig, FileMistakes>) -> Result<(), ReloadError> {
        let new = new?;
        // One may have been put into the folder by hand.
        if self.taken_back.load(&self.root) {
            self.let_go();
        }
        let mut inner = self.inner();
        let fields = inner.config.needs_restart(&new);
        if !fields.is_empty() {
            return Err(ReloadError::NeedsRestart(fields));
        }
        let table = new.table();
        inner.engine.reconfigure(new.engine, |domain, prefix| {
            table.of(domain, prefix.as_name())
        })?;
        inner.table = table;
        inner.config = new;
        Ok(())
    }
}

impl Inner {
    fn signed(&self) -> Vec<SignedPolicy> {
        let all = self.in_force.values();
        all.map(|one| one.signed.clone()).collect()
    }
}

fn scope(policy: &Policy) -> Scope {
    (policy.domain, policy.prefix.clone(), policy.gateway)
}

fn message(signed: &SignedPolicy) -> v1::CenterMessage {
    v1::CenterMessage {
        message: Some(v1::center_message::Message::Policy(v1::SignedPolicy {
            statement: signed.statement.to_vec(),
            signature: signed.signature.to_vec(),
            certificate: signed.certificate.to_vec(),
        })),
    }
}
