//! Adjacencies, and the streams over them.

use std::sync::Arc;

use dmsc_linkstate::{AdjacencyId, Event, Message, SessionId};
use dmsc_spa::verify::Certificate;
use dmsc_wire::NodeId;
use tokio::sync::{Notify, watch};
use tracing::info;

use super::Node;
use crate::links::{Link, LinkSession, Stream};

impl Node {
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

    pub(super) fn put_link(&mut self, adjacency: crate::config::Adjacency) {
        let settings = adjacency.settings;
        match self.links.get_mut(&settings.id) {
            Some(link) => link.adjacency = adjacency,
            None => drop(self.links.insert(settings.id, Link::new(adjacency))),
        }
        self.event(Event::LinkConfigured(settings));
        self.signals.dial.notify_one();
    }

    pub(super) fn remove_link(&mut self, id: AdjacencyId) {
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
        (peer, certificate): (NodeId, Certificate),
        peer_link: AdjacencyId,
    ) -> Option<(SessionId, Arc<Notify>, watch::Receiver<Option<String>>)> {
        // Taken back since it was shown.
        if self.root.has_revoked(&certificate) {
            return None;
        }
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
                certificate,
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
}
