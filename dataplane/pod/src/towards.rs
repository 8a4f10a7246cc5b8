//! Who a datagram is for, and the header that says so.

use dmsc_wire::{AttachmentId, Kind, Name, NodeId, PacketBuilder, RequestId};

use crate::call::Pin;
use crate::session::Registered;

/// The request id of every datagram; calls count theirs from elsewhere.
pub(crate) const NOBODY_WAITS: RequestId = RequestId(0);

/// Who a datagram is for.
#[derive(Debug, Clone, Copy)]
pub enum Towards<'a> {
    /// An instance of a name: the pinned one, or the one that the network chooses by the flow label.
    Name {
        /// The name.
        name: Name<'a>,
        /// The instance.
        pin: Option<Pin>,
    },
    /// Who called, as learnt from a request.
    Caller {
        /// The caller's name.
        caller: Name<'a>,
        /// Its gateway.
        gateway: NodeId,
        /// Its attachment there.
        attachment: AttachmentId,
        /// The name that was called: access rules then see the pair that the call was allowed for.
        called: Name<'a>,
    },
}

impl<'a> Towards<'a> {
    pub(crate) fn packet(self, registered: &'a Registered) -> PacketBuilder<'a> {
        let (packet, gateway, attachment) = match self {
            Self::Name { name, pin } => {
                let packet = PacketBuilder::new(Kind::Request)
                    .destination(name)
                    .source(registered.source_name.as_name());
                match pin {
                    None => (packet, NodeId::NONE, AttachmentId::ANY),
                    Some(pin) => (packet.pinned(), pin.gateway, pin.attachment),
                }
            }
            Self::Caller {
                caller,
                gateway,
                attachment,
                called,
            } => (
                PacketBuilder::new(Kind::Response)
                    .destination(caller)
                    .source(called)
                    .source_gateway(registered.gateway)
                    .source_attachment(registered.attachment),
                gateway,
                attachment,
            ),
        };
        packet
            .request_id(NOBODY_WAITS)
            .domain(registered.domain)
            .destination_gateway(gateway)
            .destination_attachment(attachment)
    }
}
