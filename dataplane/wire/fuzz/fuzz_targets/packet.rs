//! Any bytes as a packet: no panic; what is accepted is built again byte by byte, and edits keep it valid.
#![no_main]

use dmsc_wire::*;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let parsed = parse(data);
    let glance = glance(data).filter(|(_, names)| names.are_canonical());
    let is_usual = |header: &Header| {
        header.kind.is_named() && header.options_offset == header.header_len
    };
    assert_eq!(glance.is_some(), parsed.as_ref().is_ok_and(is_usual));
    let Ok(header) = parsed else { return };
    if let (Some((glance, _)), Some(name)) = (glance, header.destination_name(data)) {
        assert_eq!(usize::from(glance.total_len), header.total_len());
        assert_eq!(glance.destination_gateway, header.destination_gateway);
        assert_eq!(is_to_router(data), name.is_reserved());
    }
    let packet = &data[..header.total_len()];
    assert_eq!(parse(packet), Ok(header), "trailing bytes mean nothing");
    let mut builder = PacketBuilder::new(header.kind)
        .flags(header.flags)
        .hop_limit(header.hop_limit)
        .class(header.class)
        .ecn(header.ecn)
        .domain(header.domain)
        .flow_label(header.flow_label)
        .request_id(header.request_id)
        .source_gateway(header.source_gateway)
        .destination_gateway(header.destination_gateway)
        .source_attachment(header.source_attachment)
        .destination_attachment(header.destination_attachment)
        .options_of(packet, &header)
        .payload(header.payload(packet));
    if let (Some(to), Some(from)) = (header.destination_name(packet), header.source_name(packet)) {
        assert_eq!(
            NameBuf::parse(&to.to_string()).map(|n| n == to.to_owned()),
            Ok(true)
        );
        assert!(to.prefix(1).is_prefix_of(to) && to.component_count() <= 16);
        builder = builder.destination(to).source(from);
    }
    let mut rebuilt = builder.to_vec().expect("an accepted packet can be built");
    // Reserved bits are not the builder's.
    rebuilt[3] |= packet[3] & 7;
    rebuilt[38..40].copy_from_slice(&packet[38..40]);
    assert_eq!(rebuilt, packet);

    let mut out = [0; 2048];
    let mtu = 1400;
    if let Some(length) = build_error(ErrorCode::TooBig, mtu, NodeId(9), packet, &header, &mut out)
    {
        assert!(Message::parse(&out[..length]).is_ok());
    }
    if header.kind == Kind::EchoRequest {
        let own = EchoSource {
            gateway: NodeId(9),
            attachment: AttachmentId(1),
            name: None,
        };
        let mut reply = vec![0; packet.len() + 8];
        let length = build_echo_reply(packet, &header, own, &mut reply).expect("same length");
        assert!(parse(&reply[..length]).is_ok());
    }
    let slots = record::slots(packet, &header).len();
    let filled = record::fill_next(&mut rebuilt, &header, RecordSlot::default());
    assert_eq!(filled, slots < record::capacity(packet, &header));
    patch::decrement_hop_limit(&mut rebuilt);
    patch::set_destination(&mut rebuilt, NodeId(1), AttachmentId(2));
    patch::set_source(&mut rebuilt, Domain(3), NodeId(4), AttachmentId(5));
    let edited = parse(&rebuilt).expect("edits keep a packet valid");
    assert_eq!(
        record::slots(&rebuilt, &edited).len(),
        slots + usize::from(filled)
    );
    let mut erased = edited;
    record::erase(&mut rebuilt, &mut erased);
    assert_eq!(parse(&rebuilt), Ok(erased));
    let half = rebuilt.len() / 2;
    record::fill_next(&mut rebuilt[..half], &edited, RecordSlot::default());
});
