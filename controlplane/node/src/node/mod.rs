//! One running router: the link-state engine with everything that its driver task owns.

mod dataplane;
mod neighbours;
pub mod policies;
pub mod statements;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use dmsc_linkstate::event::Announcement;
use dmsc_linkstate::{Action, AdjacencyId, Alarm, Engine, EngineConfig, Event, SessionId};
use dmsc_proto::v1;
use dmsc_spa::credentials::{Credentials, CredentialsError};
use dmsc_spa::statement::sha256;
use dmsc_spa::verify::RootKey;
use prost::Message as _;
use tokio::sync::{Notify, watch};
use tracing::{error, info, warn};

use crate::claims::{Claims, Held, Proof};
use crate::clock::{Clock, wall_ms};
use crate::config::{Config, Role};
use crate::lease::LeaseId;
use crate::links::{Link, Sessions};
use crate::pods::Pods;
use crate::rib::{Batch, Rib};
use crate::served::Served;
use crate::store::{Kept, Store, StoreError};
use crate::trust::subject;

/// What may be looked at from other tasks, by [`crate::handle::Handle::query`].
pub struct Node {
    /// The link state.
    pub engine: Engine,
    /// In force.
    pub config: Arc<Config>,
    /// One per adjacency: hellos and session.
    pub links: BTreeMap<AdjacencyId, Link>,
    /// Live streams.
    pub sessions: Sessions,
    /// Leases ([`Pods::leases`]) and the dataplane's agent.
    pub pods: Arc<Pods>,
    /// What pods asked for beyond what they serve (waiting prefixes and why), and own authorisations.
    pub claims: Claims,
    /// What the dataplane is to have, and what it acknowledged.
    pub rib: Rib,
    /// Policies that wait for the dataplane, and when the next is over.
    pub(crate) policies: policies::Policies,
    /// Prefixes that are announced.
    pub served: Served,
    /// Of the dataplane, after the last transaction; 0 before the first.
    pub generation: u64,
    /// Boot of the dataplane that is programmed; 0 = none yet.
    pub boot_nonce: u64,
    /// Why the dataplane is not programmed at the moment, if so.
    pub setback: Option<String>,
    /// Why the configuration file as it is now is not in force, if so.
    pub mistake: Option<String>,
    /// What the root took back.
    pub root_revocations: statements::RootRevocations,
    /// SHA-256 of the root revocations that were seen to.
    noted: HashSet<[u8; 32]>,
    /// Since when this process runs.
    pub started: Instant,
    /// For calls of the engine.
    pub clock: Clock,
    /// For what comes from outside.
    pub root: RootKey,
    pub(crate) store: Store,
    pub(crate) signals: Signals,
    boot_epoch: u32,
    next_session: u64,
    planned: Option<Batch>,
    /// Operations that the dataplane refused since it was last looked at.
    refused: usize,
    /// Authorities are to be asked for everything anew.
    pub(crate) ask_again: bool,
    draining: bool,
    /// Counts orders to drain and undrain.
    drains: u64,
    dataplane_seen: bool,
}

/// What tasks beside the driver wait for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signals {
    /// There is something to program.
    pub work: Arc<Notify>,
    /// Neighbours may be to be dialled.
    pub dial: Arc<Notify>,
    /// Claims, rights or revocations changed.
    pub claimed: Arc<Notify>,
    /// The root took something back: whoever is connected with it is to go.
    pub revoked: Arc<watch::Sender<usize>>,
    /// Status may have changed.
    pub status: Arc<Notify>,
    /// The process is to end.
    pub stop: Arc<Notify>,
}

/// A node that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Certificate or key.
    #[error("credentials: {0}")]
    Credentials(#[from] CredentialsError),
    /// The state directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The root's certificate.
    #[error("credentials: root.pem: {0}")]
    Root(#[from] dmsc_spa::verify::VerifyError),
    /// A certificate for somebody else.
    #[error(
        "credentials: {path}: the certificate is for {certificate}, the configuration is for {expected}; give the credentials of this node, or correct [node] id"
    )]
    OtherIdentity {
        /// Folder.
        path: String,
        /// Who it is for.
        certificate: String,
        /// Who is to start.
        expected: String,
    },
}

/// What [`crate::handle::Handle::apply_config`] is to do first.
#[derive(Debug)]
pub(crate) struct Plan {
    pub first: Vec<v1::Op>,
    pub diff: Vec<String>,
}

impl Node {
    /// A node that knows nobody yet. Its boot epoch is on disk when this returns.
    ///
    /// # Errors
    /// When credentials or state directory are of no use.
    pub fn new(
        config: Config,
        credentials: &Credentials,
        pods: Arc<Pods>,
    ) -> Result<Self, StartError> {
        let id = config.node.id;
        let expected = dmsc_spa::identity::Identity::Node {
            id,
            gateway: config.role == Role::Gateway,
        };
        if credentials.identity != expected {
            return Err(StartError::OtherIdentity {
                path: config.node.credentials.display().to_string(),
                certificate: credentials.identity.to_string(),
                expected: expected.to_string(),
            });
        }
        let root = credentials.root_key()?;
        let store = Store::open(&config.node.state_dir)?;
        let epoch = store.next_epoch()?;
        let draining = store.drained();
        let signer = crate::trust::NodeSigner {
            key: credentials.signing_key()?,
            certificate: credentials.certificate_der.clone(),
        };
        let trust = crate::trust::NodeTrust::new(root.clone());
        let clock = Clock::new();
        let engine = Engine::new(
            engine_config(&config, epoch),
            Box::new(signer),
            Box::new(trust),
            clock.now(),
        );
        let mut node = Self {
            engine,
            links: BTreeMap::new(),
            sessions: Sessions::new(),
            pods,
            claims: Claims::new(id),
            rib: Rib::new(id, config.node.area),
            policies: policies::Policies::default(),
            served: Served::default(),
            generation: 0,
            boot_nonce: 0,
            mistake: None,
            root_revocations: statements::RootRevocations::default(),
            noted: HashSet::new(),
            setback: Some("the dataplane has not answered yet".into()),
            started: Instant::now(),
            clock,
            root,
            store,
            signals: Signals::default(),
            boot_epoch: epoch,
            next_session: 0,
            planned: None,
            refused: 0,
            ask_again: false,
            draining,
            drains: 0,
            dataplane_seen: false,
            config: Arc::new(config),
        };
        node.configure_rib();
        Ok(node)
    }

    /// "starting", "restarting", "running", "draining", "drained".
    #[must_use]
    pub fn state(&self) -> &'static str {
        if self.draining {
            if self.unsynced() == 0 {
                "drained"
            } else {
                "draining"
            }
        } else if self.engine.restarting() {
            "restarting"
        } else if self.engine.starting() || !self.dataplane_seen {
            "starting"
        } else {
            "running"
        }
    }

    /// Of the engine.
    #[must_use]
    pub fn boot_epoch(&self) -> u32 {
        self.boot_epoch
    }

    /// Whether new pods are turned away.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.draining
    }

    /// Wall clock, s since 1970, as far as it is believed: after a jump the engine's goes on as before.
    #[must_use]
    pub fn now_s(&self) -> u64 {
        self.engine.believed_wall(self.clock.now().mono).as_secs()
    }

    /// Something happened: the engine is told, and what it wants is done.
    pub fn event(&mut self, event: Event) {
        let actions = self.engine.handle(self.clock.now(), event);
        for action in actions {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Wake(session) => {
                if let Some(stream) = self.sessions.get(&session) {
                    stream.wake.notify_one();
                }
            }
            Action::Close { session, why } => self.end_session(session, why),
            Action::Routes(delta) => {
                if delta.complete {
                    info!(
                        version = delta.version,
                        gateways = delta.gateways.len(),
                        prefixes = delta.prefixes.len(),
                        "routes are complete"
                    );
                }
                self.rib.at(self.clock.now().mono);
                self.rib.take(delta);
                self.signals.work.notify_one();
                self.pods.change();
            }
            Action::KeepRevocation(body) => {
                self.store.keep(Kept::Revocations, &body);
                self.signals.claimed.notify_one();
            }
            Action::KeepRootRevocation(body) => {
                self.store.keep(Kept::RootRevocations, &body);
                self.root_revocations.note(&body, self.now_s());
                self.note_root_revocation(&body);
            }
            Action::Alarm(alarm) => error!("{}", alarm_text(alarm)),
            Action::AlarmOver(alarm) => {
                info!("over: {}", alarm_text(alarm));
                if alarm == Alarm::ClockJump {
                    // What is to be renewed, and when, may be different now.
                    self.signals.claimed.notify_one();
                }
            }
        }
    }

    /// Own authorisations that were on disk; those that are not believed are forgotten.
    pub(crate) fn load_authorisations(&mut self, bodies: Vec<Bytes>) {
        let mut held = Vec::new();
        for body in bodies {
            match self.root.authorisation(&body) {
                Ok(authorisation) => held.push(Held {
                    body,
                    authorisation,
                }),
                Err(error) => {
                    warn!(%error, "an authorisation is not believed");
                    self.store.forget(Kept::Authorisations, &body);
                }
            }
        }
        self.add_authorisations(held);
    }

    /// Takes own authorisations: kept, told to the engine. Those that are not for this gateway are left out.
    pub(crate) fn add_authorisations(&mut self, mut held: Vec<Held>) {
        held.retain(|held| !self.root.has_revoked_authority_of(&held.authorisation));
        let new = self.claims.add(held);
        for body in &new {
            self.store.keep(Kept::Authorisations, body);
        }
        // Nothing is over because a clock jumped.
        let dropped = if self.engine.clock_frozen() {
            Vec::new()
        } else {
            self.claims.prune(self.now_s())
        };
        for body in &dropped {
            self.store.forget(Kept::Authorisations, body);
        }
        if !new.is_empty() || !dropped.is_empty() {
            self.tell_authorisations();
            self.signals.claimed.notify_one();
        }
    }

    fn tell_authorisations(&mut self) {
        let held = self.claims.held().iter();
        let all = held.map(|held| held.body.clone()).collect();
        self.event(Event::Authorisations(all));
    }

    /// Announces what reachable pods serve, and withdraws what none does any more. `at_ms`: when that was asked for.
    pub(crate) fn sync_leases(&mut self, at_ms: u64) {
        let reachable = {
            let leases = self.pods.leases();
            self.claims
                .by_lease
                .retain(|id, _| leases.get(*id).is_some());
            leases
                .iter()
                .filter(|lease| lease.reachable && lease.answers)
                .map(|lease| (lease.id, lease.domain, Arc::clone(&lease.serves)))
                .collect()
        };
        let news = self.served.sync(reachable);
        if !news.announce.is_empty() {
            let announcements = news
                .announce
                .into_iter()
                .map(|(domain, name)| Announcement {
                    domain,
                    name,
                    metric: 0,
                    weight: 1,
                    announced_at_ms: at_ms,
                })
                .collect();
            self.event(Event::Announce(announcements));
        }
        if !news.withdraw.is_empty() {
            self.event(Event::Withdraw(news.withdraw));
        }
    }

    /// Ends leases that were registered with a key which the root took back; tells whether there were any. Of a lease that was found after a restart the
    /// key is not known: its pod is refused when it calls, and the lease ends in time.
    pub(crate) fn end_revoked_leases(&mut self) -> bool {
        let revoked = |proof: &Proof| self.root.has_revoked_key(&proof.public_key);
        let claims = self.claims.by_lease.iter();
        let ended: Vec<LeaseId> = claims
            .filter(|(_, claim)| claim.proof.as_ref().is_some_and(revoked))
            .map(|(id, _)| *id)
            .collect();
        if !ended.is_empty() {
            self.pods.end(&ended);
        }
        !ended.is_empty()
    }

    /// Node revocations on disk: of before, or put there by hand.
    pub(crate) fn load_root_revocations(&mut self) {
        let until = |body: &Bytes| {
            let signed = v1::SignedRootRevocation::decode(body.clone()).ok()?;
            let statement = signed.statement.as_slice();
            Some(v1::RootRevocation::decode(statement).ok()?.until_s)
        };
        let kept = self
            .store
            .load_current(Kept::RootRevocations, self.now_s(), until);
        for body in kept {
            self.note_root_revocation(&body);
            self.event(Event::RootRevocation(body));
        }
    }

    fn note_root_revocation(&mut self, body: &[u8]) {
        match self.root.root_revocation(body) {
            Err(error) => warn!(%error, "a root revocation is not believed"),
            Ok(one) => {
                // The engine's trust may have heard of it first.
                self.root.revoke(&one);
                if !self.noted.insert(sha256(body)) {
                    return;
                }
                warn!(
                    what = subject(&one.subject),
                    reason = one.reason,
                    "the root took it back"
                );
                // With a newer certificate it comes back.
                let sessions: Vec<SessionId> = self
                    .sessions
                    .iter()
                    .filter(|(_, stream)| self.root.has_revoked(&stream.certificate))
                    .map(|(id, _)| *id)
                    .collect();
                for session in sessions {
                    self.end_session(session, "the neighbour's certificate was revoked");
                }
                self.drop_revoked_policies();
                if self.end_revoked_leases() {
                    self.sync_leases(wall_ms());
                }
                self.signals.revoked.send_modify(|count| *count += 1);
                let root = &self.root;
                let gone = self
                    .claims
                    .drop_if(|one| root.has_revoked_authority_of(one));
                let any = !gone.is_empty();
                for body in gone {
                    self.store.forget(Kept::Authorisations, &body);
                }
                if any {
                    self.tell_authorisations();
                }
                // Another authority, or the same with another key, may say the same.
                self.ask_again = true;
                self.signals.claimed.notify_one();
            }
        }
    }

    /// Out of service, also after a restart. An order that is under way ends with the next; returns the number of this one.
    pub(crate) fn drain(&mut self) -> u64 {
        self.set_draining(true);
        self.drains
    }

    /// Back into service.
    pub(crate) fn undrain(&mut self) {
        self.set_draining(false);
    }

    /// Of the last order to drain or undrain.
    pub(crate) fn drains(&self) -> u64 {
        self.drains
    }

    fn set_draining(&mut self, drain: bool) {
        self.drains += 1;
        if self.draining != drain {
            self.draining = drain;
            info!(drain, "drain");
            self.store.keep_drained(drain);
            self.event(Event::Drain(drain));
            self.signals.status.notify_one();
        }
    }
}

fn engine_config(config: &Config, boot_epoch: u32) -> EngineConfig {
    let given = &config.linkstate;
    EngineConfig {
        area: config.node.area,
        name: config.node.name.clone(),
        role: config.role.as_str(),
        software: concat!("dmsc-controlplane ", env!("CARGO_PKG_VERSION")).into(),
        lifetime_s: given.lifetime_s,
        spf_initial: given.spf_initial,
        spf_short: given.spf_short,
        spf_long: given.spf_long,
        originate_delay: given.originate_delay,
        min_arrival: given.min_arrival,
        digest_interval: given.digest_interval,
        session_timeout: given.session_timeout,
        restart_time: given.restart_time,
        objects_per_origin: given.objects_per_origin as usize,
        objects: given.objects as usize,
        objects_per_second: given.objects_per_second,
        ..EngineConfig::new(config.node.id, boot_epoch)
    }
}

/// What an alarm means, and what to do.
#[must_use]
pub fn alarm_text(alarm: Alarm) -> &'static str {
    match alarm {
        Alarm::DuplicateNodeId => {
            "another node speaks with this node's id and key: find it, and give one of the two an id and credentials of its own"
        }
        Alarm::ClockJump => {
            "the wall clock jumped: authorisations do not expire meanwhile; look at time synchronisation"
        }
        Alarm::StalePrefixes => {
            "prefixes are forwarded whose authorisation expired: look at the prefix authorities"
        }
        Alarm::DatabaseFull => {
            "the link-state database is full, more is refused: look for a node that floods too much, or raise [linkstate] objects"
        }
        Alarm::RevocationsFull => {
            "a prefix authority took back more than is kept of one, what came last is not applied: if its key was stolen, let the root take it back"
        }
    }
}
