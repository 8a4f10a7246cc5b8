//! Answers an echo-request.

use crate::build::{BuildError, PacketBuilder};
use crate::flags::Flags;
use crate::header::Header;
use crate::ids::{AttachmentId, NodeId};
use crate::kind::Kind;
use crate::name::Name;

/// Who answers an echo-request.
#[derive(Clone, Copy, Debug)]
pub struct EchoSource<'a> {
    /// The answering gateway or router.
    pub gateway: NodeId,
    /// The answering attachment; any for the gateway or router itself.
    pub attachment: AttachmentId,
    /// The answering name; `None`: the name that was called.
    pub name: Option<Name<'a>>,
}

/// Writes the echo-reply to `request`: its payload and all its options, so that a RECORD with free slots goes on
/// recording on the way back. PINNED and REBOUND do not come back. Returns the length.
///
/// # Errors
/// [`BuildError`] if `out` is too small or a longer answering name makes the header too long.
pub fn build_echo_reply(
    request: &[u8],
    header: &Header,
    own: EchoSource<'_>,
    out: &mut [u8],
) -> Result<usize, BuildError> {
    let mut reply = PacketBuilder::reply_to(Kind::EchoReply, request, header)
        .flags(header.flags.without(Flags::PINNED | Flags::REBOUND))
        .source_gateway(own.gateway)
        .source_attachment(own.attachment)
        .options_of(request, header)
        .payload(header.payload(request));
    if let Some(name) = own.name {
        reply = reply.source(name);
    }
    reply.write(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Domain, FlowLabel, NameBuf, OptionType, PortId, RecordSlot, RequestId, parse, record,
    };

    #[test]
    fn a_reply_goes_back_where_the_request_came_from_and_records_on() {
        let (cart, web) = (
            NameBuf::parse("/shop/cart").expect("a"),
            NameBuf::parse("/shop/web").expect("b"),
        );
        let mut request = PacketBuilder::new(Kind::EchoRequest)
            .pinned()
            .destination(cart.as_name())
            .source(web.as_name())
            .domain(Domain(3))
            .flow_label(FlowLabel(4))
            .request_id(RequestId(5))
            .source_gateway(NodeId(1))
            .source_attachment(AttachmentId(11))
            .destination_gateway(NodeId(2))
            .record_slots(3)
            .option(OptionType(0x01), b"opaque")
            .payload(b"payload")
            .to_vec()
            .expect("builds");
        let header = parse(&request).expect("valid");
        let slot = RecordSlot {
            node: NodeId(1),
            in_port: PortId(0),
            out_port: PortId(1),
            residence_ns: 50,
        };
        assert!(record::fill_next(&mut request, &header, slot));

        let own = EchoSource {
            gateway: NodeId(2),
            attachment: AttachmentId(22),
            name: None,
        };
        let mut out = [0xff; 256];
        let length = build_echo_reply(&request, &header, own, &mut out).expect("fits");
        let mut reply = out[..length].to_vec();
        let back = parse(&reply).expect("valid");
        assert_eq!(
            (back.kind, back.flags, back.hop_limit),
            (Kind::EchoReply, Flags::NONE, 64)
        );
        assert_eq!(
            (back.destination_gateway, back.destination_attachment),
            (NodeId(1), AttachmentId(11))
        );
        assert_eq!(
            (back.source_gateway, back.source_attachment),
            (NodeId(2), AttachmentId(22))
        );
        assert_eq!(
            (back.domain, back.flow_label, back.request_id),
            (Domain(3), FlowLabel(4), RequestId(5))
        );
        assert_eq!(back.destination_name(&reply), Some(web.as_name()));
        assert_eq!(back.source_name(&reply), Some(cart.as_name()));
        assert_eq!(back.payload(&reply), b"payload");
        assert!(record::fill_next(
            &mut reply,
            &back,
            RecordSlot {
                node: NodeId(2),
                ..slot
            }
        ));
        assert_eq!(
            record::slots(&reply, &back)
                .map(|s| s.node.0)
                .collect::<Vec<_>>(),
            [1, 2]
        );

        let other = NameBuf::parse("/dmsc/2").expect("name");
        let own = EchoSource {
            name: Some(other.as_name()),
            ..own
        };
        let length = build_echo_reply(&request, &header, own, &mut out).expect("fits");
        assert_eq!(
            parse(&out).expect("valid").source_name(&out[..length]),
            Some(other.as_name())
        );
        let small = build_echo_reply(&request, &header, own, &mut out[..50]);
        assert!(matches!(
            small,
            Err(BuildError::BufferTooSmall { have: 50, .. })
        ));
    }
}
