//! Metrics of `sg` and `sr`: a picture of the node, taken for each reader.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dmsc_linkstate::action::Topology;
use dmsc_linkstate::engine::{SessionInfo, Sizes};
use dmsc_linkstate::{Alarm, SessionId};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::classes;
use crate::handle::Handle;
use crate::node::Node;
use crate::operator::convergence::Convergence;

type One = [(&'static str, String); 1];
pub(super) type Two = [(&'static str, String); 2];
type Gauges<L> = Family<L, Gauge<i64, AtomicI64>>;
pub(super) type Counters<L> = Family<L, Counter<u64, AtomicU64>>;

const ALARMS: [(Alarm, &str); 5] = [
    (Alarm::DuplicateNodeId, "duplicate-node-id"),
    (Alarm::ClockJump, "clock-jump"),
    (Alarm::StalePrefixes, "stale-prefixes"),
    (Alarm::DatabaseFull, "database-full"),
    (Alarm::RevocationsFull, "revocations-full"),
];
const STATES: [&str; 5] = ["starting", "restarting", "running", "draining", "drained"];

/// What outlives a reader.
pub struct NodeMetrics {
    handle: Handle,
    convergence: Arc<Convergence>,
    refused: Counter,
    /// Refused objects of each live session at the last look.
    seen: Mutex<HashMap<SessionId, u64>>,
}

/// The node at one moment.
struct Picture {
    name: String,
    node: u32,
    role: &'static str,
    state: &'static str,
    uptime: Duration,
    alarms: Vec<Alarm>,
    programmed: bool,
    generation: u64,
    sessions: Vec<SessionInfo>,
    /// Adjacency, peer, hello, sent, received.
    links: Vec<(u16, u32, bool, u64, u64)>,
    sizes: Sizes,
    routes: [usize; 2],
    versions: (u64, u64),
    authorisations: Vec<(i64, bool)>,
    revocations: usize,
    pods: usize,
    unreachable: usize,
    waiting: usize,
}

impl Picture {
    fn of(node: &Node) -> Self {
        let leases = node.pods.leases();
        let routes = node.engine.gateway_routes();
        let of = |topology| routes.iter().filter(|route| route.0 == topology).count();
        let links = node.links.iter().map(|(id, link)| {
            let peer = link.adjacency.settings.peer.0;
            (id.0, peer, link.hello, link.sent, link.received)
        });
        let authorisations = node.engine.authorisations(node.clock.now()).into_iter();
        Self {
            name: node.config.node.name.clone(),
            node: node.config.node.id.0,
            role: node.config.role.as_str(),
            state: node.state(),
            uptime: node.started.elapsed(),
            alarms: node.engine.alarms(),
            programmed: node.setback.is_none(),
            generation: node.generation,
            sessions: node.engine.sessions(),
            links: links.collect(),
            sizes: node.engine.sizes(),
            routes: [of(Topology::Metric), of(Topology::Delay)],
            versions: (node.engine.version(), node.rib.acknowledged()),
            authorisations: authorisations
                .map(|(_, left_s, revoked)| (left_s, revoked))
                .collect(),
            revocations: node.engine.revocations().len(),
            pods: leases.len(),
            unreachable: leases
                .iter()
                .filter(|lease| !(lease.reachable && lease.answers))
                .count(),
            waiting: node
                .claims
                .by_lease
                .values()
                .map(|claim| claim.waiting.len())
                .sum(),
        }
    }
}

impl NodeMetrics {
    /// Of the node behind `handle`.
    #[must_use]
    pub fn new(handle: Handle, convergence: Arc<Convergence>) -> Self {
        Self {
            handle,
            convergence,
            refused: Counter::default(),
            seen: Mutex::default(),
        }
    }

    /// Takes observations from the engine, again and again, so that none is lost between readers.
    pub async fn collect(self: Arc<Self>, every: Duration) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let taken = self
                .handle
                .query(|node| (node.engine.take_stage_times(), node.engine.sessions()));
            let Some((times, sessions)) = taken.await else {
                return;
            };
            self.convergence.add(times);
            self.count_refused(&sessions);
        }
    }

    /// Counters of sessions end with them; the sum goes on.
    fn count_refused(&self, sessions: &[SessionInfo]) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *seen);
        for session in sessions {
            let old = before.get(&session.session).copied().unwrap_or(0);
            self.refused.inc_by(session.refused.saturating_sub(old));
            seen.insert(session.session, session.refused);
        }
    }

    /// Everything that is told; nothing while the process ends.
    pub async fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("dmsc");
        let taken = self
            .handle
            .query(|node| (Picture::of(node), node.engine.take_stage_times()));
        let Some((picture, times)) = taken.await else {
            return registry;
        };
        classes::register(&mut registry, &classes::read(&self.handle).await);
        self.convergence.add(times);
        self.count_refused(&picture.sessions);
        identity(&mut registry, &picture);
        network(&mut registry, &picture, self.refused.clone());
        names(&mut registry, &picture);
        registry.register(
            "convergence_seconds",
            "Time that changes took, by stage; stages between two nodes compare their wall clocks",
            self.convergence.buckets(),
        );
        registry
    }
}

fn signed<T: TryInto<i64>>(number: T) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

fn gauge<T: TryInto<i64>>(registry: &mut Registry, name: &str, help: &str, value: T) {
    let gauge: Gauge<i64, AtomicI64> = Gauge::default();
    gauge.set(signed(value));
    registry.register(name, help, gauge);
}

fn identity(registry: &mut Registry, picture: &Picture) {
    registry.register(
        "node",
        "Who this is",
        Info::new(vec![
            ("node", picture.node.to_string()),
            ("name", picture.name.clone()),
            ("role", picture.role.to_owned()),
            ("software", crate::SOFTWARE.to_owned()),
        ]),
    );
    let states: Gauges<One> = Family::default();
    for state in STATES {
        states
            .get_or_create(&[("state", state.to_owned())])
            .set(i64::from(state == picture.state));
    }
    registry.register("state", "1 for the state that the node is in", states);
    let alarms: Gauges<One> = Family::default();
    for (alarm, name) in ALARMS {
        alarms
            .get_or_create(&[("alarm", name.to_owned())])
            .set(i64::from(picture.alarms.contains(&alarm)));
    }
    registry.register("alarm", "1 while the alarm is on", alarms);
    gauge(
        registry,
        "uptime_seconds",
        "Time since the start of the process",
        picture.uptime.as_secs(),
    );
    gauge(
        registry,
        "dataplane_programmed",
        "1 while the dataplane is there and takes what it is told",
        i64::from(picture.programmed),
    );
    gauge(
        registry,
        "dataplane_generation",
        "Generation of the dataplane's tables",
        picture.generation,
    );
}

fn network(registry: &mut Registry, picture: &Picture, refused: Counter) {
    gauge(
        registry,
        "sessions",
        "Live streams to neighbours",
        picture.sessions.len(),
    );
    gauge(
        registry,
        "sessions_synced",
        "Of them, those with equal digests at the last exchange",
        picture.sessions.iter().filter(|one| one.synced).count(),
    );
    let hello: Gauges<Two> = Family::default();
    let sent: Counters<Two> = Family::default();
    let received: Counters<Two> = Family::default();
    for (id, peer, up, out, back) in &picture.links {
        let labels = [("adjacency", id.to_string()), ("peer", peer.to_string())];
        hello.get_or_create(&labels).set(i64::from(*up));
        sent.get_or_create(&labels).inc_by(*out);
        received.get_or_create(&labels).inc_by(*back);
    }
    registry.register("link_up", "1 while hellos say that the link is up", hello);
    registry.register(
        "link_sent_messages",
        "Link-state messages sent to the neighbour",
        sent,
    );
    registry.register(
        "link_received_messages",
        "Link-state messages received from the neighbour",
        received,
    );
    registry.register(
        "refused_objects",
        "Link-state objects of neighbours that were refused",
        refused,
    );
    gauge(
        registry,
        "lsdb_objects",
        "Accepted objects in the link-state database",
        picture.sizes.objects,
    );
    gauge(
        registry,
        "lsdb_waiting_objects",
        "Prefix objects that wait for an authorisation",
        picture.sizes.waiting,
    );
    gauge(
        registry,
        "lsdb_to_send",
        "Objects that neighbours have not taken yet, over all sessions",
        picture.sizes.to_send,
    );
    let routes: Gauges<One> = Family::default();
    for (name, count) in ["metric", "delay"].into_iter().zip(picture.routes) {
        routes
            .get_or_create(&[("topology", name.to_owned())])
            .set(signed(count));
    }
    registry.register("routes", "Nodes that can be reached", routes);
    gauge(
        registry,
        "routes_version",
        "Version of the computed routes",
        picture.versions.0,
    );
    gauge(
        registry,
        "routes_programmed_version",
        "Version of the routes that the dataplane acknowledged",
        picture.versions.1,
    );
}

fn names(registry: &mut Registry, picture: &Picture) {
    gauge(
        registry,
        "prefixes",
        "Service prefixes known here",
        picture.sizes.prefixes,
    );
    gauge(
        registry,
        "stale_prefixes",
        "Prefix members that are forwarded although their authorisation expired",
        picture.sizes.stale,
    );
    let by_state: Gauges<One> = Family::default();
    let states = ["valid", "expired", "revoked"];
    let state = |&(left_s, revoked): &(i64, bool)| match (revoked, left_s < 0) {
        (true, _) => "revoked",
        (false, true) => "expired",
        (false, false) => "valid",
    };
    for name in states {
        let of = picture
            .authorisations
            .iter()
            .filter(|one| state(one) == name);
        by_state
            .get_or_create(&[("state", name.to_owned())])
            .set(signed(of.count()));
    }
    registry.register(
        "authorisations",
        "Prefix origin authorisations known here",
        by_state,
    );
    let valid = picture
        .authorisations
        .iter()
        .filter(|one| state(one) == "valid");
    if let Some(next) = valid.map(|one| one.0).min() {
        gauge(
            registry,
            "authorisation_next_expiry_seconds",
            "Until the first of the valid authorisations expires; absent when there is none",
            next,
        );
    }
    gauge(
        registry,
        "revocations",
        "Revocations in force",
        picture.revocations,
    );
    gauge(
        registry,
        "pods",
        "Pods registered at this gateway (leases)",
        picture.pods,
    );
    gauge(
        registry,
        "pods_unreachable",
        "Of them, those that cannot be reached or do not answer",
        picture.unreachable,
    );
    gauge(
        registry,
        "pod_prefixes_waiting",
        "Prefixes of own pods that are not announced yet; dmscctl show pods says why",
        picture.waiting,
    );
}
