//! Every event, and what is due after it.

use std::time::Duration;

use bytes::Bytes;
use dmsc_wire::Domain;

use super::Engine;
use super::body::Prefix;
use super::clock::Change;
use super::links::NoSuchAdjacency;
use super::lsdb::body_id;
use super::own::{OwnAuthorisation, REPLACED};
use super::session::Session;
use crate::action::{Action, Alarm};
use crate::event::{AdjacencyId, Announcement, Event, SessionId};
use crate::message::Message;
use crate::object::Kind;
use crate::time::Now;

/// Between two looks at what may be forgotten.
const HOUSEKEEPING: Duration = Duration::from_secs(10);
/// A database that refused nothing for this long is not full.
const FULL: Duration = Duration::from_secs(60);

impl Engine {
    /// Takes an event; never panics, whatever a neighbour sends. Time never goes back.
    pub fn handle(&mut self, now: Now, event: Event) -> Vec<Action> {
        self.set_time(now);
        self.apply(event);
        self.settle();
        std::mem::take(&mut self.actions)
    }

    /// The next message of a session, at most about 256 KiB; `None`: nothing to say. Call it while the stream can take more: what waits is
    /// kept as a set of keys, so a neighbour that does not read costs no memory.
    pub fn next_message(&mut self, now: Now, session: SessionId) -> Option<Message> {
        self.set_time(now);
        self.message_for(session)
    }

    fn set_time(&mut self, now: Now) {
        let mono = now.mono.max(self.now.mono);
        let lsdb = &self.lsdb;
        let node = self.config.node;
        let agree = |wall| lsdb.shows(node, mono, wall);
        let change = self.clock.observe(Now { mono, ..now }, agree);
        self.now = Now {
            mono,
            wall: self.clock.wall(mono),
        };
        match change {
            Some(Change::Jumped) => self.raise(Alarm::ClockJump),
            Some(Change::Over) => self.clear(Alarm::ClockJump),
            Some(Change::Adopted) => {
                self.clear(Alarm::ClockJump);
                self.time_is_another();
            }
            None => {}
        }
    }

    /// Another time is believed: what it decides is decided anew, own objects say it, and what others were refused for it they may send again.
    fn time_is_another(&mut self) {
        let now = self.now.mono;
        self.authorisations.end_anew(self.now_s());
        self.recheck_all(None, None);
        self.reexamine
            .extend(self.waiting.iter().map(|(key, _)| key.origin));
        self.own.refresh_all(now);
        for pace in self.paces.values_mut() {
            pace.exchange.reset(now);
        }
    }

    /// Tells people, once.
    pub(super) fn raise(&mut self, alarm: Alarm) {
        if self.alarms.insert(alarm) {
            self.actions.push(Action::Alarm(alarm));
        }
    }

    /// It is over.
    pub(super) fn clear(&mut self, alarm: Alarm) {
        if self.alarms.remove(&alarm) {
            self.actions.push(Action::AlarmOver(alarm));
        }
    }

    fn apply(&mut self, event: Event) {
        let now = self.now.mono;
        let delay = self.config.originate_delay;
        match event {
            Event::Restarted {
                gateways,
                prefixes,
                hold,
            } => {
                let until = now.saturating_add(hold);
                self.start.restarted(gateways, prefixes, until);
            }
            Event::LinkConfigured(settings) => {
                self.links.configure(settings);
                self.close_where(
                    |state| state.link == settings.id && state.peer != settings.peer,
                    "the adjacency is with another node now",
                );
                self.touch_adjacency(delay);
            }
            Event::LinkRemoved(id) => {
                self.links.remove(id);
                self.paces.remove(&id);
                self.close_where(
                    |state| state.link == id,
                    "the adjacency is configured no more",
                );
                self.touch_adjacency(Duration::ZERO);
            }
            Event::LinkHello { id, up } => {
                self.links.hello(id, up);
                self.touch_adjacency(if up { delay } else { Duration::ZERO });
            }
            // Whether that changes what is told of links is seen when all is settled.
            Event::LinksMeasured(figures) => self.links.measured(&figures, now),
            Event::SessionUp {
                session,
                link,
                peer,
                peer_link,
            } => self.session_up(session, link, peer, peer_link),
            Event::SessionDown(session) => {
                if let Some(state) = self.sessions.remove(&session) {
                    *self.refused_before.entry(state.link).or_default() += state.refused;
                    self.links.session_down(state.link, session, now);
                }
            }
            Event::Received { session, message } => self.receive(session, message),
            Event::Announce(announcements) => self.announce(announcements),
            Event::Withdraw(places) => {
                let mut some = false;
                for place in places {
                    some |= self.announced.withdraw(place, now);
                }
                if some {
                    self.touch_prefixes();
                }
            }
            Event::Authorisations(bodies) => self.set_authorisations(bodies),
            Event::Revocation(body) => self.state(Kind::REVOCATION, body),
            Event::RootRevocation(body) => self.state(Kind::ROOT_REVOCATION, body),
            Event::Drain(drain) => {
                if self.start.draining != drain {
                    self.start.draining = drain;
                    self.announced.touch_all();
                    self.own.prefixes_due = Some(now);
                    self.touch_adjacency(Duration::ZERO);
                }
            }
            Event::Leave => self.leave(),
            Event::Programmed { version } => {
                self.stages.programmed(version, now, self.now.wall);
                if self.start.programmed(version) {
                    self.touch_adjacency(Duration::ZERO);
                    self.own.prefixes_due = Some(now);
                }
            }
            Event::Tick => {}
        }
    }

    pub(super) fn close_where(&mut self, which: impl Fn(&Session) -> bool, why: &'static str) {
        let found: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, state)| which(state))
            .map(|(session, _)| *session)
            .collect();
        for session in found {
            self.close(session, why);
        }
    }

    fn session_up(
        &mut self,
        session: SessionId,
        link: AdjacencyId,
        peer: dmsc_wire::NodeId,
        peer_link: AdjacencyId,
    ) {
        let now = self.now.mono;
        match self.links.session_up(link, peer, peer_link, session) {
            Err(NoSuchAdjacency) => {
                self.actions.push(Action::Close {
                    session,
                    why: "no adjacency with this node is configured under this id",
                });
                return;
            }
            Ok(Some(old)) if old != session => {
                self.close(old, "the neighbour opened another stream");
            }
            Ok(_) => {}
        }
        self.start.session(now);
        let state = Session::new(link, peer, self.config.digest_interval, now);
        self.pace_of(link);
        self.sessions.insert(session, state);
        self.touch_adjacency(self.config.originate_delay);
    }

    fn announce(&mut self, announcements: Vec<Announcement>) {
        let now = self.now.mono;
        let mut some = false;
        for announcement in announcements {
            // What nobody takes would take what is in the same object along.
            if announcement.name.as_name().is_reserved() || announcement.domain == Domain(0) {
                continue;
            }
            let prefix = Prefix {
                domain: announcement.domain,
                name: announcement.name,
                metric: announcement.metric,
                weight: announcement.weight.max(1),
                announced_at_ms: announcement.announced_at_ms,
            };
            some |= self.announced.announce(prefix, now);
        }
        if some {
            self.touch_prefixes();
        }
    }

    fn set_authorisations(&mut self, bodies: Vec<Bytes>) {
        let drop_at = self.now.mono + REPLACED;
        let adopting = self.start.adopting;
        for own in self.own.authorisations.values_mut() {
            if !(own.adopted && adopting) {
                own.drop_at.get_or_insert(drop_at);
            }
        }
        for body in bodies {
            let id = body_id(&body);
            if let Some(own) = self.own.authorisations.get_mut(&id)
                && own.body == body
            {
                own.adopted = false;
                own.drop_at = None;
                continue;
            }
            // One that is not believed here would be believed nowhere.
            match self.trust.authorisation(&body, self.now) {
                Ok(authorisation) if authorisation.gateway == self.config.node => {}
                _ => continue,
            }
            let own = OwnAuthorisation {
                body,
                adopted: false,
                drop_at: None,
            };
            self.own.authorisations.insert(id, own);
            if self.start.ready && !self.start.left {
                self.tell(self.own_key(Kind::AUTHORISATION, id));
            }
        }
    }

    /// Everything that is due by now, in the order of the walk: objects, own objects, paths, routes, neighbours.
    fn settle(&mut self) {
        let now = self.now.mono;
        self.expire_objects();
        self.release_deferred();
        self.expire_authorisations();
        self.progress();
        if self.links.list(now, self.restart()).ne(&self.own.links)
            && self.start.ready
            && self.own.adjacency_due.is_none()
        {
            self.touch_adjacency(Duration::ZERO); // a link was without a session for too long
        }
        self.originate_due();
        self.pass_on_due();
        self.answer_due();
        self.reexamine_waiting();
        self.compute_due();
        self.tell_routes();
        if self.housekeeping_at <= now {
            self.housekeeping();
        }
        if self.rib.stale() > 0 {
            self.raise(Alarm::StalePrefixes);
        } else {
            self.clear(Alarm::StalePrefixes);
        }
        self.sessions_due();
    }

    fn housekeeping(&mut self) {
        let now = self.now.mono;
        self.housekeeping_at = now + HOUSEKEEPING;
        if self.full_at.is_some_and(|at| now >= at + FULL) {
            self.full_at = None;
            self.clear(Alarm::DatabaseFull);
        }
        self.announced.forget_changes(now);
        if self.own.fights.forget(now) {
            self.clear(Alarm::DuplicateNodeId);
        }
        if self.clock.is_frozen() {
            return;
        }
        self.keep_statements();
    }
}
