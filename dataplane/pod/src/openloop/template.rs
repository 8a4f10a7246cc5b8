//! Packets made before the run; only request id and flow label change from call to call.

use dmsc_wire::{Class, FlowLabel, Kind, NameBuf, PacketBuilder, RequestId, patch};

use crate::call::Pin;
use crate::session::Registered;

/// A call's packet, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Template {
    /// Ready to send.
    Packet(Vec<u8>),
    /// Cannot be sent; the code of the error.
    Unsendable(&'static str),
}

/// What all calls of a run have in common.
#[derive(Debug, Clone, Copy)]
pub struct TemplateOptions {
    /// Bytes of payload.
    pub size: usize,
    /// The instance, if the caller chooses.
    pub pin: Option<Pin>,
    /// Traffic class.
    pub class: Class,
}

impl Template {
    /// The request for `name`.
    #[must_use]
    pub fn new(registered: &Registered, name: &NameBuf, options: TemplateOptions) -> Self {
        let payload = vec![b'.'; options.size];
        let mut packet = PacketBuilder::new(Kind::Request)
            .destination(name.as_name())
            .source(registered.source_name.as_name())
            .domain(registered.domain)
            .class(options.class)
            .payload(&payload);
        if let Some(pin) = options.pin {
            packet = packet
                .pinned()
                .destination_gateway(pin.gateway)
                .destination_attachment(pin.attachment);
        }
        if packet.total_len() > registered.max_packet {
            return Self::Unsendable("too-big");
        }
        packet
            .to_vec()
            .map_or(Self::Unsendable("names-too-long"), Self::Packet)
    }

    /// Sets what changes; gives the packet.
    pub(super) fn stamp(&mut self, id: RequestId, flow: FlowLabel) -> Result<&[u8], &'static str> {
        match self {
            Self::Packet(bytes) => {
                patch::set_request_id(bytes, id);
                patch::set_flow_label(bytes, flow);
                Ok(bytes)
            }
            Self::Unsendable(code) => Err(code),
        }
    }
}
