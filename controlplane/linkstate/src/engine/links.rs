//! Adjacencies of this node, and which of them it tells the others about.

use std::collections::BTreeMap;
use std::time::Duration;

use dmsc_wire::NodeId;

use super::body::Link;
use super::figures::{Advertised, Figures, INTERVAL};
use crate::event::{AdjacencyId, LinkSettings, SessionId};

/// One adjacency.
#[derive(Debug)]
struct State {
    settings: LinkSettings,
    hello: bool,
    session: Option<SessionId>,
    peer_link: Option<AdjacencyId>,
    lost_at: Option<Duration>,
    figures: Advertised,
}

/// All adjacencies.
#[derive(Debug, Default)]
pub struct Links {
    states: BTreeMap<AdjacencyId, State>,
    adopted: BTreeMap<AdjacencyId, (NodeId, AdjacencyId)>,
    /// When figures of any were told last.
    figures_at: Option<Duration>,
}

impl Links {
    /// Configures one; a session with another peer than before no longer counts.
    pub fn configure(&mut self, settings: LinkSettings) {
        let fresh = State {
            settings,
            hello: false,
            session: None,
            peer_link: None,
            lost_at: None,
            figures: Advertised::default(),
        };
        let state = self.states.entry(settings.id).or_insert(fresh);
        if state.settings.peer != settings.peer {
            state.session = None;
            state.peer_link = None;
            state.figures = Advertised::default();
        }
        state.settings = settings;
    }

    /// Forgets one.
    pub fn remove(&mut self, id: AdjacencyId) -> Option<SessionId> {
        self.states.remove(&id)?.session
    }

    /// Hellos are up or down.
    pub fn hello(&mut self, id: AdjacencyId, up: bool) {
        if let Some(state) = self.states.get_mut(&id) {
            state.hello = up;
            if !up {
                // What it was like says nothing about what it will be.
                state.figures = Advertised::default();
            }
        }
    }

    /// What links are like now. If one of them is another than the others know, and they did not hear of any just now, all are told from now on.
    pub fn measured(&mut self, figures: &[(AdjacencyId, Figures)], now: Duration) {
        for (id, latest) in figures {
            if let Some(state) = self.states.get_mut(id).filter(|state| state.hello) {
                state.figures.measured(*latest);
            }
        }
        let is_free = self
            .figures_at
            .is_none_or(|at| now >= at.saturating_add(INTERVAL));
        if !is_free || !self.states.values().any(|state| state.figures.is_due(now)) {
            return;
        }
        self.figures_at = Some(now);
        for state in self.states.values_mut() {
            state.figures.tell(now);
        }
    }

    /// A session is up; the one that it takes the place of. `Err`: there is no such adjacency.
    pub fn session_up(
        &mut self,
        id: AdjacencyId,
        peer: NodeId,
        peer_link: AdjacencyId,
        session: SessionId,
    ) -> Result<Option<SessionId>, NoSuchAdjacency> {
        let state = self
            .states
            .get_mut(&id)
            .filter(|state| state.settings.peer == peer)
            .ok_or(NoSuchAdjacency)?;
        state.peer_link = Some(peer_link);
        state.lost_at = None;
        Ok(state.session.replace(session))
    }

    /// A session ended.
    pub fn session_down(&mut self, id: AdjacencyId, session: SessionId, now: Duration) {
        if let Some(state) = self.states.get_mut(&id)
            && state.session == Some(session)
        {
            state.session = None;
            state.lost_at = Some(now);
        }
    }

    /// What the own adjacency object of an earlier process said of a link; used while hellos run and no session was there yet.
    pub fn adopt(&mut self, id: AdjacencyId, peer: NodeId, peer_link: AdjacencyId) {
        self.adopted.insert(id, (peer, peer_link));
    }

    fn told(
        &self,
        id: AdjacencyId,
        state: &State,
        now: Duration,
        restart: Restart,
    ) -> Option<Link> {
        let adopted = || {
            let (peer, peer_link) = self.adopted.get(&id)?;
            (*peer == state.settings.peer && now < restart.started.saturating_add(restart.time))
                .then_some(*peer_link)
        };
        let recent = |lost: Duration| now < lost.saturating_add(restart.time);
        let peer_link = match state.peer_link {
            Some(peer_link) => (state.session.is_some() || state.lost_at.is_some_and(recent))
                .then_some(peer_link)?,
            None => adopted()?,
        };
        let settings = state.settings;
        if !state.hello {
            return None;
        }
        let mut link = Link {
            peer: settings.peer.0,
            id: u32::from(id.0),
            peer_id: u32::from(peer_link.0),
            metric: settings.metric.clamp(1, super::body::MAX_METRIC),
            delay_us: settings.delay_us.clamp(1, super::body::MAX_METRIC),
            capacity_kbps: settings.capacity_kbps,
            ..Link::default()
        };
        state.figures.told().put(&mut link);
        Some(link)
    }

    /// The links to tell, by id.
    pub fn list(&self, now: Duration, restart: Restart) -> Vec<Link> {
        self.states
            .iter()
            .filter_map(|(id, state)| self.told(*id, state, now, restart))
            .take(super::body::MAX_LINKS)
            .collect()
    }

    /// Sessions of adjacencies whose hellos run; `None` where there is none.
    pub fn running(&self) -> impl Iterator<Item = Option<SessionId>> {
        self.states
            .values()
            .filter(|state| state.hello)
            .map(|state| state.session)
    }

    /// When a link without a session is told no more.
    pub fn deadline(&self, now: Duration, restart: Restart) -> Option<Duration> {
        let lost = self
            .states
            .values()
            .filter(|state| state.hello && state.session.is_none())
            .filter_map(|state| state.lost_at);
        let adopted = (!self.adopted.is_empty()).then_some(restart.started);
        lost.chain(adopted)
            .map(|from| from.saturating_add(restart.time))
            .filter(|at| *at > now)
            .min()
    }
}

/// How long a link stays without a session.
#[derive(Debug, Clone, Copy)]
pub struct Restart {
    /// When this engine started.
    pub started: Duration,
    /// From the loss of a session, or from the start.
    pub time: Duration,
}

/// The adjacency is not configured, or with somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoSuchAdjacency;
