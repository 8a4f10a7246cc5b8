//! The engine: events in, actions out.

mod admit;
mod announced;
mod apart;
mod backoff;
pub mod body;
mod bucket;
mod buried;
mod clock;
mod config;
mod cover;
mod deferred;
mod duplicate;
mod exchange;
pub mod figures;
mod handle;
mod lifetime;
mod links;
mod lsdb;
mod narrowest;
mod own;
mod pace;
pub mod pages;
mod parse;
mod passing;
mod receive;
mod revocations;
mod rib;
mod room;
mod root;
mod session;
mod stage;
mod start;
mod tell;
mod topology;
mod view;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dmsc_wire::NodeId;

use crate::action::{Action, Alarm};
use crate::event::{AdjacencyId, SessionId};
use crate::time::Now;
use crate::trust::{Signer, Trust};

pub use config::EngineConfig;
pub use lsdb::body_id;
pub use narrowest::Narrowest;
pub use receive::Refusal;
pub use stage::Stage;
pub use view::{Entry, MemberInfo, SessionInfo, Sizes};

/// The link-state engine of one node.
pub struct Engine {
    config: EngineConfig,
    signer: Box<dyn Signer + Send>,
    trust: Box<dyn Trust + Send>,
    /// The wall clock in it is the one that is believed.
    now: Now,
    clock: clock::Clock,
    lsdb: lsdb::Lsdb,
    buried: buried::Buried,
    waiting: waiting::Waiting,
    deferred: deferred::Deferred,
    sessions: BTreeMap<SessionId, session::Session>,
    /// Objects refused over each adjacency, in sessions that have ended.
    refused_before: BTreeMap<AdjacencyId, u64>,
    paces: BTreeMap<AdjacencyId, session::Pace>,
    links: links::Links,
    network: topology::Network,
    backoff: backoff::Backoff,
    routes: topology::Routes,
    told_routes: topology::Routes,
    routes_changed: bool,
    computed: bool,
    computations: u64,
    adjacency_changed_at: Option<Duration>,
    rib: rib::Rib,
    authorisations: cover::Authorisations,
    own: own::Own,
    announced: announced::Announced,
    start: start::Start,
    version: u64,
    reexamine: BTreeSet<NodeId>,
    alarms: BTreeSet<Alarm>,
    full_at: Option<Duration>,
    quiet_at: Option<Duration>,
    housekeeping_at: Duration,
    stages: stage::Stages,
    actions: Vec<Action>,
}

impl Engine {
    /// An engine without neighbours.
    #[must_use]
    pub fn new(
        config: EngineConfig,
        signer: Box<dyn Signer + Send>,
        trust: Box<dyn Trust + Send>,
        now: Now,
    ) -> Self {
        Self {
            authorisations: cover::Authorisations::new(config.revocations),
            backoff: backoff::Backoff::new(config.spf_initial, config.spf_short, config.spf_long),
            config,
            signer,
            trust,
            now,
            clock: clock::Clock::new(now),
            lsdb: lsdb::Lsdb::default(),
            buried: buried::Buried::default(),
            waiting: waiting::Waiting::default(),
            deferred: deferred::Deferred::default(),
            sessions: BTreeMap::new(),
            refused_before: BTreeMap::new(),
            paces: BTreeMap::new(),
            links: links::Links::default(),
            network: topology::Network::default(),
            routes: topology::Routes::new(),
            told_routes: topology::Routes::new(),
            routes_changed: false,
            computed: false,
            computations: 0,
            adjacency_changed_at: None,
            rib: rib::Rib::default(),
            own: own::Own::default(),
            announced: announced::Announced::default(),
            start: start::Start::new(now.mono),
            version: 0,
            reexamine: BTreeSet::new(),
            alarms: BTreeSet::new(),
            full_at: None,
            quiet_at: None,
            housekeeping_at: now.mono,
            stages: stage::Stages::default(),
            actions: Vec::new(),
        }
    }
}
