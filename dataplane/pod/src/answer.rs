//! What comes back from a call or a ping.

use std::time::Duration;

use dmsc_wire::{AttachmentId, NameBuf, NodeId, RecordSlot};

/// An answer to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What the service said.
    pub payload: Vec<u8>,
    /// Gateway of the instance that answered; with the attachment the pin to reach it again.
    pub gateway: NodeId,
    /// Its attachment there.
    pub attachment: AttachmentId,
    /// The name under which it answered.
    pub source_name: NameBuf,
    /// From handing the request to the kernel until the answer was read.
    pub round_trip: Duration,
    /// Whether the request was placed a second time on its way (late binding, design §4).
    pub rebound: bool,
}

/// An answer to a ping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pong {
    /// Gateway or router that answered, or the gateway of the pod that did.
    pub gateway: NodeId,
    /// The pod's attachment; 0 = the router itself.
    pub attachment: AttachmentId,
    /// The name under which it answered.
    pub source_name: NameBuf,
    /// From handing the request to the kernel until the answer was read.
    pub round_trip: Duration,
    /// Every router on the way there and back, if slots were reserved.
    pub hops: Vec<RecordSlot>,
}
