//! Adjacencies as the driver sees them, and the streams over them.

use std::collections::HashMap;
use std::sync::Arc;

use dmsc_linkstate::{AdjacencyId, SessionId};
use dmsc_spa::verify::Certificate;
use dmsc_wire::NodeId;
use tokio::sync::{Notify, watch};

use crate::config::Adjacency;

/// One adjacency.
#[derive(Debug, Clone)]
pub struct Link {
    /// As configured.
    pub adjacency: Adjacency,
    /// Whether hellos of the dataplane say that it is up.
    pub hello: bool,
    /// The stream between the control planes.
    pub session: LinkSession,
    /// Messages sent, over all sessions.
    pub sent: u64,
    /// Messages received, over all sessions.
    pub received: u64,
    /// Somebody is at it.
    pub(crate) dialing: bool,
}

/// The stream of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkSession {
    /// None yet.
    Connecting,
    /// There.
    Up(SessionId),
    /// Gone or not possible, and why.
    Lost(String),
}

impl Link {
    /// A link without hello and stream.
    #[must_use]
    pub fn new(adjacency: Adjacency) -> Self {
        Self {
            adjacency,
            hello: false,
            session: LinkSession::Connecting,
            sent: 0,
            received: 0,
            dialing: false,
        }
    }
}

/// A live stream.
#[derive(Debug)]
pub struct Stream {
    /// Over which adjacency.
    pub link: AdjacencyId,
    /// With whom.
    pub peer: NodeId,
    /// What it showed: the stream ends when that is taken back.
    pub(crate) certificate: Certificate,
    /// The neighbour's id of the adjacency.
    pub peer_link: AdjacencyId,
    /// Told when the engine has something to say.
    pub(crate) wake: Arc<Notify>,
    /// Set to end it.
    pub(crate) end: watch::Sender<Option<String>>,
}

/// Live streams by session.
pub type Sessions = HashMap<SessionId, Stream>;
