//! One running router: the link-state engine with everything that its driver task owns.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use dmsc_linkstate::event::{Announcement, Known};
use dmsc_linkstate::{Action, AdjacencyId, Alarm, Engine, EngineConfig, Event, Message, SessionId};
use dmsc_proto::v1;
use dmsc_spa::credentials::{Credentials, CredentialsError};
use dmsc_spa::verify::RootKey;
use dmsc_wire::NodeId;
use tokio::sync::{Notify, watch};
use tracing::{error, info, warn};

use crate::claims::{Claims, Held};
use crate::clock::{Clock, wall};
use crate::config::{Config, Role};
use crate::handle::ApplyError;
use crate::links::{Link, LinkSession, Sessions, Stream};
use crate::pods::Pods;
use crate::program::{Keys, difference_at};
use crate::rib::{Batch, Rib};
use crate::routes::Tables;
use crate::served::Served;
use crate::store::{Kept, Store, StoreError};

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
    /// Prefixes that are announced.
    pub served: Served,
    /// Of the dataplane, after the last transaction; 0 before the first.
    pub generation: u64,
    /// Boot of the dataplane that is programmed; 0 = none yet.
    pub boot_nonce: u64,
    /// Why the dataplane is not programmed at the moment, if so.
    pub setback: Option<String>,
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
    /// Authorities are to be asked for everything anew.
    pub(crate) ask_again: bool,
    draining: bool,
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
    /// Status may have changed.
    pub status: Arc<Notify>,
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
        let root = RootKey::from_certificate(&credentials.root_der)?;
        let store = Store::open(&config.node.state_dir)?;
        let epoch = store.next_epoch()?;
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
            rib: Rib::new(id),
            served: Served::default(),
            generation: 0,
            boot_nonce: 0,
            setback: Some("the dataplane has not answered yet".into()),
            started: Instant::now(),
            clock,
            root,
            store,
            signals: Signals::default(),
            boot_epoch: epoch,
            next_session: 0,
            planned: None,
            ask_again: false,
            draining: false,
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

    /// Sessions whose neighbour does not have everything yet.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        let synced = |one: &&dmsc_linkstate::engine::SessionInfo| !one.synced;
        self.engine.sessions().iter().filter(synced).count()
    }

    /// For people: "connecting", "syncing", "synced", "lost: …".
    #[must_use]
    pub fn session_text(&self, link: AdjacencyId) -> String {
        match self.links.get(&link).map(|link| &link.session) {
            None | Some(LinkSession::Connecting) => "connecting".into(),
            Some(LinkSession::Lost(why)) => format!("lost: {why}"),
            Some(LinkSession::Up(session)) => {
                let sessions = self.engine.sessions();
                let synced = sessions
                    .iter()
                    .any(|one| one.session == *session && one.synced);
                if synced { "synced" } else { "syncing" }.into()
            }
        }
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
                self.rib.take(delta);
                self.signals.work.notify_one();
                self.pods.change();
            }
            Action::KeepRevocation(body) => {
                self.store.keep(Kept::Revocations, &body);
                self.signals.claimed.notify_one();
            }
            Action::KeepNodeRevocation(body) => self.store.keep(Kept::NodeRevocations, &body),
            Action::Alarm(alarm) => error!("{}", alarm_text(alarm)),
            Action::AlarmOver(alarm) => info!("over: {}", alarm_text(alarm)),
        }
    }

    /// The dataplane was found, or found again, with these tables. The first time it is also told to the engine, before any session. Returns
    /// what to apply.
    pub(crate) fn dataplane_found(&mut self, dump: &v1::DumpReply) -> Vec<v1::Op> {
        let tables = Tables::from_dump(dump);
        if !self.dataplane_seen {
            self.start(&tables);
            self.dataplane_seen = true;
        }
        self.rib.found(tables);
        // Without an acknowledgement it is forgotten: the next attempt begins with another dump.
        self.planned = self.rib.next();
        self.planned
            .as_ref()
            .map_or_else(Vec::new, |batch| batch.ops.clone())
    }

    fn start(&mut self, tables: &Tables) {
        for body in self.store.load(Kept::NodeRevocations) {
            self.event(Event::NodeRevocation(body));
        }
        let known = !tables.gateways.is_empty() || !tables.prefixes.is_empty();
        if known {
            let gateways: BTreeSet<NodeId> =
                tables.gateways.keys().map(|(_, id)| NodeId(*id)).collect();
            let prefixes: Vec<Known> = tables
                .prefixes
                .iter()
                .filter_map(|(key, group)| Some((key, tables.groups.get(group)?)))
                .flat_map(|((domain, name), group)| {
                    group.members.iter().map(|member| Known {
                        domain: *domain,
                        name: name.clone(),
                        gateway: NodeId(member.gateway),
                    })
                })
                .collect();
            info!(
                gateways = gateways.len(),
                prefixes = prefixes.len(),
                "the dataplane forwards already; it is not touched until all is known again"
            );
            self.event(Event::Restarted {
                gateways: gateways.into_iter().collect(),
                prefixes,
                hold: self.config.linkstate.restart_hold,
            });
        }
        for body in self.store.load(Kept::Revocations) {
            self.event(Event::Revocation(body));
        }
        let bodies = self.store.load(Kept::Authorisations);
        self.add_authorisations(bodies);
        for adjacency in self.config.adjacencies.clone().into_values() {
            self.put_link(adjacency);
        }
    }

    /// The dataplane took what [`Node::dataplane_found`] said.
    pub(crate) fn dataplane_ready(
        &mut self,
        boot_nonce: u64,
        generation: u64,
        dump: &v1::DumpReply,
    ) {
        self.boot_nonce = boot_nonce;
        self.generation = generation;
        self.setback = None;
        if let Some(batch) = self.planned.take() {
            self.programmed(&batch, None);
        }
        let up: HashSet<u32> = dump
            .adjacencies
            .iter()
            .filter(|one| one.state == "up")
            .map(|one| one.id)
            .collect();
        for id in self.links.keys().copied().collect::<Vec<_>>() {
            self.hello(id, up.contains(&u32::from(id.0)));
        }
        self.signals.dial.notify_one();
        self.signals.work.notify_one();
        self.signals.claimed.notify_one();
        self.signals.status.notify_one();
    }

    /// The next operations for the dataplane.
    pub(crate) fn batch(&mut self) -> Option<Batch> {
        self.rib.next()
    }

    /// The dataplane took a batch.
    pub(crate) fn programmed(&mut self, batch: &Batch, generation: Option<u64>) {
        self.generation = generation.unwrap_or(self.generation);
        let before = self.rib.acknowledged();
        self.rib.done(batch);
        if self.rib.acknowledged() != before {
            self.event(Event::Programmed {
                version: self.rib.acknowledged(),
            });
            self.signals.status.notify_one();
        }
    }

    /// The dataplane's hellos say that an adjacency is up or down.
    pub(crate) fn hello(&mut self, id: AdjacencyId, up: bool) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        if link.hello == up {
            return;
        }
        link.hello = up;
        let session = match link.session {
            LinkSession::Up(session) => Some(session),
            _ => None,
        };
        info!(adjacency = id.0, peer = %link.adjacency.settings.peer, up, "hello");
        self.event(Event::LinkHello { id, up });
        // A stream over a dead link would come back only after many retransmissions; a new one is faster.
        if let Some(session) = session.filter(|_| !up) {
            self.end_session(session, "hellos of the dataplane stopped");
        }
        self.signals.dial.notify_one();
    }

    fn put_link(&mut self, adjacency: crate::config::Adjacency) {
        let settings = adjacency.settings;
        match self.links.get_mut(&settings.id) {
            Some(link) => link.adjacency = adjacency,
            None => drop(self.links.insert(settings.id, Link::new(adjacency))),
        }
        self.event(Event::LinkConfigured(settings));
        self.signals.dial.notify_one();
    }

    fn configure_rib(&mut self) {
        let adjacencies = self.config.adjacencies.values();
        let adjacencies = adjacencies
            .map(|one| (one.programmed.id, one.programmed.clone()))
            .collect();
        self.rib
            .configure(adjacencies, self.config.access_rules.clone());
    }

    /// What another configuration would change; refuses what only a restart can.
    pub(crate) fn plan_config(&self, new: &Config) -> Result<Plan, ApplyError> {
        let fixed = self.config.needs_restart(new);
        if !fixed.is_empty() {
            return Err(ApplyError::NeedsRestart(fixed));
        }
        // Only what is put: the dataplane may refuse it. What is gone is deleted later, when no route needs it any more.
        let want = Tables {
            adjacencies: new
                .adjacencies
                .values()
                .map(|one| (one.programmed.id, one.programmed.clone()))
                .collect(),
            access_rules: new.access_rules.clone(),
            ..Tables::default()
        };
        let keys = Keys {
            adjacencies: want.adjacencies.keys().copied().collect(),
            access_rules: want.access_rules.keys().copied().collect(),
            ..Keys::default()
        };
        Ok(Plan {
            first: difference_at(&keys, self.rib.have(), &want, Some(self.rib.programmed())),
            diff: self.config.diff(new),
        })
    }

    /// Puts a configuration in force whose `first` operations the dataplane took, if it is there.
    pub(crate) fn put_config(&mut self, new: Arc<Config>, first: &[v1::Op]) {
        self.rib.took(first);
        let old = std::mem::replace(&mut self.config, new);
        self.configure_rib();
        if self.dataplane_seen {
            for (id, adjacency) in &old.adjacencies {
                let moved = self.config.adjacencies.get(id).is_none_or(|new| {
                    new.settings.peer != adjacency.settings.peer || new.session != adjacency.session
                });
                if moved {
                    self.remove_link(*id);
                }
            }
            for adjacency in self.config.adjacencies.clone().into_values() {
                if old.adjacencies.get(&adjacency.settings.id) != Some(&adjacency) {
                    self.put_link(adjacency);
                }
            }
        }
        self.signals.work.notify_one();
        self.signals.claimed.notify_one();
    }

    fn remove_link(&mut self, id: AdjacencyId) {
        if let Some(link) = self.links.remove(&id)
            && let LinkSession::Up(session) = link.session
        {
            self.end_session(session, "the adjacency is configured no more");
        }
        self.event(Event::LinkRemoved(id));
    }

    /// A stream is there, both ends have greeted. `None`: the adjacency is gone or somebody else's.
    pub(crate) fn session_up(
        &mut self,
        link: AdjacencyId,
        peer: NodeId,
        peer_link: AdjacencyId,
    ) -> Option<(SessionId, Arc<Notify>, watch::Receiver<Option<String>>)> {
        let old = self
            .links
            .get(&link)
            .filter(|link| link.adjacency.settings.peer == peer)?;
        // The neighbour restarted, and the old stream has not noticed.
        if let LinkSession::Up(old) = old.session {
            self.end_session(old, "replaced by a new stream");
        }
        self.next_session += 1;
        let session = SessionId(self.next_session);
        self.links.get_mut(&link)?.session = LinkSession::Up(session);
        let wake = Arc::new(Notify::new());
        let (end, ended) = watch::channel(None);
        self.sessions.insert(
            session,
            Stream {
                link,
                peer,
                peer_link,
                wake: Arc::clone(&wake),
                end,
            },
        );
        info!(adjacency = link.0, %peer, "session");
        self.event(Event::SessionUp {
            session,
            link,
            peer,
            peer_link,
        });
        Some((session, wake, ended))
    }

    /// The stream ended.
    pub(crate) fn end_session(&mut self, session: SessionId, why: &str) {
        let Some(stream) = self.sessions.remove(&session) else {
            return;
        };
        info!(adjacency = stream.link.0, peer = %stream.peer, why, "session lost");
        if let Some(link) = self.links.get_mut(&stream.link) {
            link.session = LinkSession::Lost(why.to_owned());
        }
        // Its task may have ended already.
        let _ = stream.end.send(Some(why.to_owned()));
        self.event(Event::SessionDown(session));
        self.signals.dial.notify_one();
    }

    /// A message came.
    pub(crate) fn received(&mut self, session: SessionId, message: Message) {
        let Some(stream) = self.sessions.get(&session) else {
            return;
        };
        if let Some(link) = self.links.get_mut(&stream.link) {
            link.received += 1;
        }
        self.event(Event::Received { session, message });
    }

    /// What to send next.
    pub(crate) fn next_message(&mut self, session: SessionId) -> Option<Message> {
        let stream = self.sessions.get(&session)?;
        let message = self.engine.next_message(self.clock.now(), session)?;
        if let Some(link) = self.links.get_mut(&stream.link) {
            link.sent += 1;
        }
        Some(message)
    }

    /// Takes own authorisations, from an authority or from disk: verified, kept, told to the engine. Those that are not for this gateway or not
    /// believed are left out.
    pub(crate) fn add_authorisations(&mut self, bodies: Vec<Bytes>) {
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
        let new = self.claims.add(held);
        for body in &new {
            self.store.keep(Kept::Authorisations, body);
        }
        let dropped = self.claims.prune(wall().as_secs());
        for body in &dropped {
            self.store.forget(Kept::Authorisations, body);
        }
        if !new.is_empty() || !dropped.is_empty() {
            let all = self
                .claims
                .held()
                .iter()
                .map(|held| held.body.clone())
                .collect();
            self.event(Event::Authorisations(all));
            self.signals.claimed.notify_one();
        }
    }

    /// Announces what reachable pods serve, and withdraws what none does any more. `at_ms`: when that was asked for.
    pub(crate) fn sync_leases(&mut self, at_ms: u64) {
        let reachable = {
            let leases = self.pods.leases();
            self.claims
                .by_lease
                .retain(|id, _| leases.iter().any(|lease| lease.id == *id));
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

    /// Out of service, or back.
    pub(crate) fn drain(&mut self, drain: bool) {
        if self.draining != drain {
            self.draining = drain;
            info!(drain, "drain");
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
    }
}
