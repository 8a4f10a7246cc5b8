//! Who is at the other end of a stream.

use std::sync::Arc;

use dmsc_pod::Pin;
use dmsc_quic::Connection;
use dmsc_wire::NameBuf;

/// The pod at the other end, as its certificate and its gateway say. Handlers get it with their requests: of tonic as an extension of the request, of axum
/// by `ConnectInfo<Peer>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its identity, such as `pod1/web`, by its certificate.
    pub identity: Arc<str>,
    /// The name that was called.
    pub name: NameBuf,
    /// Where it is; of a caller that is known to no gateway, `None`.
    pub instance: Option<Pin>,
}

impl Peer {
    pub(crate) fn of(connection: &Connection) -> Self {
        Self {
            identity: connection.peer_identity().into(),
            name: connection.name().clone(),
            instance: connection.instance(),
        }
    }
}
