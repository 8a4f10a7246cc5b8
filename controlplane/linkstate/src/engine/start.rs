//! Start and restart: when this node speaks for the first time, and when it programs for the first time (design §2).

use std::collections::BTreeSet;
use std::time::Duration;

use dmsc_wire::{Domain, NameBuf, NodeId};

use super::Engine;
use super::links::Restart;
use super::own::ADJACENCY_ID;
use crate::event::Known;
use crate::object::{Key, Kind};

/// After a start it speaks when it heard one neighbour for this long, if not all before.
const FIRST_SESSION: Duration = Duration::from_secs(1);
/// After a start without any neighbour.
const NO_SESSION: Duration = Duration::from_secs(2);

/// After a start it knows, after so long, what there is to know: as long as others hold back their routes after a restart.
const KNOWING: Duration = Duration::from_secs(20);

/// What the dataplane had.
#[derive(Debug)]
struct Before {
    gateways: BTreeSet<NodeId>,
    known: BTreeSet<Known>,
    unseen: Vec<Known>,
    until: Duration,
}

/// Where in its life the engine is.
#[derive(Debug)]
pub struct Start {
    at: Duration,
    first_session: Option<Duration>,
    restart: bool,
    before: Option<Before>,
    /// Own objects are originated.
    pub ready: bool,
    /// What an earlier process said still counts.
    pub adopting: bool,
    /// Version of the first, complete delta.
    pub first_version: Option<u64>,
    programmed: bool,
    /// After a start: what the network knows is known here.
    knowing: bool,
    /// See [`crate::Event::Drain`].
    pub draining: bool,
    /// See [`crate::Event::Leave`].
    pub left: bool,
}

impl Start {
    /// A start.
    pub fn new(now: Duration) -> Self {
        Self {
            at: now,
            first_session: None,
            restart: false,
            before: None,
            ready: false,
            adopting: true,
            first_version: None,
            programmed: false,
            knowing: false,
            draining: false,
            left: false,
        }
    }

    /// It is a restart.
    pub fn restarted(&mut self, gateways: Vec<NodeId>, prefixes: Vec<Known>, until: Duration) {
        if self.ready || self.restart || (gateways.is_empty() && prefixes.is_empty()) {
            return; // a dataplane without tables is a start: it must not attract anything yet
        }
        self.restart = true;
        let known: BTreeSet<Known> = prefixes.into_iter().collect();
        self.before = Some(Before {
            gateways: gateways.into_iter().collect(),
            unseen: known.iter().cloned().collect(),
            known,
            until,
        });
    }

    /// Whether it is one.
    pub fn is_restart(&self) -> bool {
        self.restart
    }

    /// Whether the dataplane can forward what this node attracts.
    pub fn may_attract(&self) -> bool {
        self.restart || self.programmed
    }

    /// Whether the dataplane had this member before a restart that is not over.
    pub fn knows(&self, domain: Domain, name: &NameBuf, gateway: NodeId) -> bool {
        self.before.as_ref().is_some_and(|before| {
            before.known.contains(&Known {
                domain,
                name: name.clone(),
                gateway,
            })
        })
    }

    /// A session is up.
    pub fn session(&mut self, now: Duration) {
        self.first_session.get_or_insert(now);
    }

    /// Routes are held back.
    pub fn holding(&self) -> bool {
        self.restart && self.first_version.is_none()
    }

    /// What this node has may be less than what was there before: in sync with it, a neighbour does not know all.
    pub fn restoring(&self) -> bool {
        if self.restart {
            self.holding()
        } else {
            !self.knowing
        }
    }

    /// The dataplane acknowledged a version; whether that ends the start.
    pub fn programmed(&mut self, version: u64) -> bool {
        let first = self.first_version.is_some_and(|first| first <= version);
        let ends = first && !self.programmed;
        self.programmed |= first;
        ends
    }

    fn hold_over(&self, now: Duration) -> bool {
        self.before
            .as_ref()
            .is_none_or(|before| before.until <= now)
    }

    /// When the next decision is due.
    pub fn deadline(&self) -> Option<Duration> {
        let hold = self.before.as_ref().map(|before| before.until);
        if self.ready || self.restart {
            return hold.filter(|_| self.adopting || self.first_version.is_none());
        }
        Some(
            self.first_session
                .map_or(self.at + NO_SESSION, |first| first + FIRST_SESSION),
        )
    }
}

impl Engine {
    /// How long links stay without sessions.
    pub(super) fn restart(&self) -> Restart {
        Restart {
            started: self.start.at,
            time: self.config.restart_time,
        }
    }

    fn is_ready(&self) -> bool {
        let now = self.now.mono;
        let mut running = self.links.running().peekable();
        let synced = |session: Option<_>| {
            session
                .and_then(|session| self.sessions.get(&session))
                .is_some_and(|state| state.synced_once)
        };
        if running.peek().is_some() && running.all(synced) {
            return true;
        }
        if self.start.restart {
            return self.start.hold_over(now);
        }
        self.start.deadline().is_some_and(|at| at <= now)
    }

    /// Speaks for the first time when it knows what the neighbours know, and forgets an earlier life in time.
    pub(super) fn progress(&mut self) {
        if !self.start.ready && self.is_ready() {
            self.start.ready = true;
            self.speak();
        }
        if !self.start.knowing
            && (self.knows_all() || self.now.mono >= self.start.at.saturating_add(KNOWING))
        {
            self.start.knowing = true;
        }
        if self.start.adopting
            && self.start.ready
            && self.start.restart
            && self.start.hold_over(self.now.mono)
        {
            self.end_adoption();
        }
    }

    fn speak(&mut self) {
        let now = self.now.mono;
        self.own.links = self.links.list(now, self.restart());
        self.own.adjacency_due = None;
        self.backoff.trigger(now);
        let adjacency = self.own_key(Kind::ADJACENCY, ADJACENCY_ID);
        let body = self.own_body(adjacency);
        self.originate(adjacency, body);
        if !self.start.restart {
            // Prefixes of an earlier life go at once; they come again when this one can forward.
            self.end_adoption();
            let emptied = self.announced.place(|_| false);
            for id in emptied {
                self.tell(self.own_key(Kind::PREFIX, id));
            }
            self.announced.touch_all();
        }
        let authorisations: Vec<u64> = self.own.authorisations.keys().copied().collect();
        for id in authorisations {
            self.tell(self.own_key(Kind::AUTHORISATION, id));
        }
        self.speak_statements();
        let node = self.config.node;
        let unknown: Vec<Key> = self
            .lsdb
            .iter()
            .filter(|(key, stored)| key.origin == node && !stored.object.is_purge())
            .map(|(key, _)| key)
            .filter(|key| self.own_body(*key).is_none())
            .collect();
        for key in unknown {
            self.originate(key, None);
        }
        self.own.prefixes_due = Some(now);
    }

    /// What nobody said again since the start is no longer said.
    fn end_adoption(&mut self) {
        self.start.adopting = false;
        self.announced.end_adoption();
        for own in self.own.authorisations.values_mut() {
            if own.adopted {
                own.drop_at.get_or_insert(self.now.mono);
            }
        }
        self.touch_prefixes();
    }

    /// Whether all neighbours told everything that they have, and none of them is itself restoring: then what is not here is gone.
    fn knows_all(&self) -> bool {
        let mut running = self.links.running().peekable();
        let whole = |session: Option<_>| {
            session
                .and_then(|session| self.sessions.get(&session))
                .is_some_and(|state| state.synced_whole)
        };
        running.peek().is_some() && running.all(whole)
    }

    /// Whether the first delta may be told: never less than the dataplane has, unless the neighbours know that it is gone, or the hold is over.
    pub(super) fn may_tell_first(&mut self) -> bool {
        let now = self.now.mono;
        if !self.start.ready || !self.computed || self.backoff.deadline().is_some() {
            return false;
        }
        if self.start.hold_over(now) {
            return true;
        }
        let own = self.config.node;
        let draining = self.start.draining;
        let Some(mut before) = self.start.before.take() else {
            return true;
        };
        let reachable = before.gateways.iter().all(|gateway| {
            *gateway == own
                || self
                    .routes
                    .contains_key(&(crate::action::Topology::Metric, *gateway))
        });
        while before
            .unseen
            .last()
            .is_some_and(|known| !self.misses(known) || (draining && known.gateway == own))
        {
            before.unseen.pop();
        }
        let complete = reachable && before.unseen.is_empty();
        // Own prefixes may come from pods only; for everything else neighbours that lack nothing are right, and not the tables.
        let gone = || {
            self.knows_all()
                && (draining
                    || !before
                        .unseen
                        .iter()
                        .any(|known| known.gateway == own && self.misses(known)))
        };
        let told = complete || gone();
        self.start.before = Some(before);
        told
    }

    /// The first delta is told.
    pub(super) fn first_told(&mut self, version: u64) {
        self.start.first_version = Some(version);
        self.quiet_at.get_or_insert(self.now.mono); // neighbours wait for a digest of one that is not restoring
        if let Some(before) = &mut self.start.before {
            before.gateways.clear();
            before.known.clear();
            before.unseen.clear();
        }
    }
}
