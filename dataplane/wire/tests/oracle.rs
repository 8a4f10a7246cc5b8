//! The parser against a naive decoder that is written as `FORMAT.md` reads: a cursor that takes bytes away.

mod support;

use dmsc_wire::*;
use proptest::prelude::*;

/// Takes from the front of a copy of the packet.
struct Cursor(Vec<u8>);

impl Cursor {
    fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        (count <= self.0.len()).then(|| self.0.drain(..count).collect())
    }

    fn number(&mut self, width: usize) -> Option<u64> {
        Some(
            self.take(width)?
                .iter()
                .fold(0, |sum, &byte| sum * 256 + u64::from(byte)),
        )
    }
}

/// What the oracle finds in a packet.
#[derive(Debug, PartialEq)]
struct Decoded {
    numbers: Vec<u64>,
    names: Vec<Vec<Vec<u8>>>,
    options: Vec<(u8, Vec<u8>)>,
    payload: Vec<u8>,
}

type Verdict<T> = Result<T, &'static str>;

fn oracle(packet: &[u8]) -> Verdict<Decoded> {
    let mut cursor = Cursor(packet.to_vec());
    let mut fixed = Cursor(cursor.take(40).ok_or("truncated")?);
    let widths = [1, 1, 1, 1, 2, 2, 4, 4, 8, 4, 4, 2, 2, 1, 1, 2];
    let numbers: Vec<u64> = widths
        .iter()
        .map(|&w| fixed.number(w).expect("40 bytes"))
        .collect();
    let (version, kind, sampled) = (numbers[0] / 16, numbers[0] % 16, numbers[1] / 32 % 2 == 1);
    let (header_len, payload_len) = (numbers[4] as usize, numbers[5] as usize);
    let name_lens = [numbers[13] as usize, numbers[14] as usize];
    if version != 1 {
        return Err("bad-version");
    }
    if kind > 6 {
        return Err("bad-kind");
    }
    if !(10..=256).any(|words| header_len == 4 * words) {
        return Err("bad-header-length");
    }
    let mut rest = Cursor(cursor.take(header_len - 40).ok_or("truncated")?);
    let payload = cursor.take(payload_len).ok_or("bad-payload-length")?;
    let mut names_len = name_lens[0] + name_lens[1];
    while names_len & 3 != 0 {
        names_len += 1;
    }
    let mut area = Cursor(rest.take(names_len).ok_or("names-overrun")?);
    let one = name_lens.contains(&0) && name_lens != [0, 0];
    if kind <= 4 && name_lens.contains(&0) || kind == 6 && one {
        return Err("missing-name");
    }
    if kind == 5 && name_lens != [0, 0] {
        return Err("unexpected-name");
    }
    let mut names = Vec::new();
    for length in name_lens {
        names.push(components(Cursor(area.take(length).expect("checked")))?);
    }
    if area.0 != vec![0; area.0.len()] {
        return Err("padding-not-zero");
    }
    let recordable = kind == 2 || kind == 3 || (kind == 0 && sampled);
    let options = options(rest, recordable)?;
    body(kind, &payload)?;
    Ok(Decoded {
        numbers,
        names,
        options,
        payload,
    })
}

fn components(mut name: Cursor) -> Verdict<Vec<Vec<u8>>> {
    let mut components = Vec::new();
    while let Some(length) = name.number(1) {
        let component = name.take(length as usize).ok_or("name-not-canonical")?;
        components.push(component);
    }
    if components.len() > 16 || components.iter().any(Vec::is_empty) {
        return Err("name-not-canonical");
    }
    Ok(components)
}

fn options(mut rest: Cursor, recordable: bool) -> Verdict<Vec<(u8, Vec<u8>)>> {
    let mut options: Vec<(u8, Vec<u8>)> = Vec::new();
    while !rest.0.is_empty() {
        let code = rest.number(1).ok_or("option-truncated")? as u8;
        let length = rest.number(1).ok_or("option-truncated")?;
        let value = rest.take(length as usize).ok_or("option-truncated")?;
        let hop_by_hop = code & 64 != 0;
        if code == 0 {
            if value.iter().any(|&byte| byte != 0) {
                return Err("pad-not-zero");
            }
        } else if hop_by_hop
            && options
                .iter()
                .any(|(other, _)| *other != 0 && other & 64 == 0)
        {
            return Err("option-order");
        } else if code == 0x41 {
            if options.iter().any(|(other, _)| *other == 0x41) {
                return Err("record-repeated");
            }
            if !recordable {
                return Err("record-not-allowed");
            }
            let shape = (1..=20).find(|n| value.len() == 4 + 12 * n);
            if shape.is_none_or(|n| usize::from(value[0]) > n) {
                return Err("record-shape");
            }
        } else if code >= 128 {
            return Err("unknown-option");
        }
        options.push((code, value));
    }
    Ok(options)
}

fn body(kind: u64, p: &[u8]) -> Verdict<()> {
    let zero = |range: std::ops::Range<usize>| p[range].iter().all(|&byte| byte == 0);
    let check = |ok: bool, reason| if ok { Ok(()) } else { Err(reason) };
    match kind {
        4 => {
            check((16 + 40..=16 + 128).contains(&p.len()), "error-bad-length")?;
            check((1..7).contains(&p[0]), "error-bad-code")
        }
        5 => {
            check(p.len() == 76, "hello-bad-length")?;
            let heard = p[7] == 1;
            let peer = if heard { zero(39..40) } else { zero(32..56) };
            let unsigned = !zero(56..58) || zero(60..76);
            check(
                p[7] < 2 && zero(29..30) && peer && zero(58..60) && unsigned,
                "hello-not-zero",
            )?;
            check(p[6] < 3 && (!heard || p[38] < 3), "hello-bad-state")?;
            check(p[24] > 0 && p[25] >= p[24], "hello-bad-versions")?;
            check(!zero(26..28) && p[28] > 0, "hello-bad-timing")
        }
        6 => {
            check(p.len() == 48, "probe-bad-length")?;
            let state = p[41] == 1 || zero(40..44);
            check(p[41] < 2 && state && zero(44..48), "probe-not-zero")?;
            check(p[40] < 3, "probe-bad-health")
        }
        _ => Ok(()),
    }
}

/// What the parser finds, in the oracle's shape.
fn parser(packet: &[u8]) -> Verdict<Decoded> {
    let message = Message::parse(packet).map_err(|e| e.reason())?;
    let h = message.header;
    let reserved = |at: usize| u64::from(packet[at]);
    let numbers = vec![
        16 + u64::from(h.kind.code()),
        u64::from(h.flags.0),
        u64::from(h.hop_limit),
        u64::from(h.class.0) << 5 | u64::from(h.ecn.bits()) << 3 | reserved(3) & 7,
        u64::from(h.header_len),
        u64::from(h.payload_len),
        u64::from(h.domain.0),
        u64::from(h.flow_label.0),
        h.request_id.0,
        u64::from(h.source_gateway.0),
        u64::from(h.destination_gateway.0),
        u64::from(h.source_attachment.0),
        u64::from(h.destination_attachment.0),
        u64::from(h.destination_name_len),
        u64::from(h.source_name_len),
        reserved(38) << 8 | reserved(39),
    ];
    let split = |name: Option<Name<'_>>| {
        name.map_or_else(Vec::new, |n| n.components().map(<[u8]>::to_vec).collect())
    };
    Ok(Decoded {
        numbers,
        names: vec![
            split(h.destination_name(packet)),
            split(h.source_name(packet)),
        ],
        options: h
            .options(packet)
            .map(|o| (o.option_type.0, o.value.to_vec()))
            .collect(),
        payload: h.payload(packet).to_vec(),
    })
}

fn name() -> impl Strategy<Value = NameBuf> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 1..12), 1..=16)
        .prop_map(|parts| NameBuf::from_components(parts).expect("fits"))
}

fn slot() -> impl Strategy<Value = RecordSlot> {
    any::<(u32, u16, u16, u32)>().prop_map(|(node, in_port, out_port, residence_ns)| RecordSlot {
        node: NodeId(node),
        in_port: PortId(in_port),
        out_port: PortId(out_port),
        residence_ns,
    })
}

prop_compose! {
    /// Everything that a sender may put into types 0–3.
    fn packet()(
        kind in 0u8..4,
        (destination, source) in (name(), name()),
        (flags, hop_limit, class, ecn) in (any::<u8>(), any::<u8>(), 0u8..8, 0u8..4),
        (domain, flow, id) in any::<(u32, u32, u64)>(),
        (from, to, from_attachment, to_attachment) in any::<(u32, u32, u16, u16)>(),
        (slots, filled) in (0u8..=20, prop::collection::vec(slot(), 0..20)),
        options in prop::collection::vec((1u8..0x80, prop::collection::vec(any::<u8>(), 0..20)), 0..4),
        payload in prop::collection::vec(any::<u8>(), 0..200),
    ) -> Vec<u8> {
        let kind = Kind::from_code(kind).expect("0..4");
        let mut builder = PacketBuilder::new(kind)
            .destination(destination.as_name())
            .source(source.as_name())
            .flags(Flags(flags))
            .hop_limit(hop_limit)
            .class(Class(class))
            .ecn(Ecn::from_bits(ecn))
            .domain(Domain(domain))
            .flow_label(FlowLabel(flow))
            .request_id(RequestId(id))
            .source_gateway(NodeId(from))
            .destination_gateway(NodeId(to))
            .source_attachment(AttachmentId(from_attachment))
            .destination_attachment(AttachmentId(to_attachment))
            .payload(&payload);
        let recordable = matches!(kind, Kind::EchoRequest | Kind::EchoReply)
            || (kind == Kind::Request && Flags(flags).contains(Flags::TELEMETRY));
        if recordable && slots > 0 {
            builder = builder.record(slots, &filled[..filled.len().min(usize::from(slots))]);
        }
        let mut options = options;
        options.retain(|(code, _)| *code != OptionType::RECORD.0);
        options.sort_by_key(|(code, _)| !OptionType(*code).is_hop_by_hop());
        for (code, value) in &options {
            builder = builder.option(OptionType(*code), value);
        }
        let bytes = builder.to_vec().expect("within all limits");
        let header = parse(&bytes).expect("what is built is valid");
        assert_eq!(usize::from(header.header_len), builder.header_len());
        assert_eq!(header.destination_name(&bytes), Some(destination.as_name()));
        assert_eq!(header.source_name(&bytes), Some(source.as_name()));
        assert_eq!((header.payload(&bytes), header.kind, header.flags), (&payload[..], kind, Flags(flags)));
        assert_eq!(header.request_id, RequestId(id));
        bytes
    }
}

/// Builds a packet again from nothing but what the parser says about it.
fn rebuild(bytes: &[u8]) -> Vec<u8> {
    let h = parse(bytes).expect("valid");
    PacketBuilder::new(h.kind)
        .destination(h.destination_name(bytes).expect("name"))
        .source(h.source_name(bytes).expect("name"))
        .flags(h.flags)
        .hop_limit(h.hop_limit)
        .class(h.class)
        .ecn(h.ecn)
        .domain(h.domain)
        .flow_label(h.flow_label)
        .request_id(h.request_id)
        .source_gateway(h.source_gateway)
        .destination_gateway(h.destination_gateway)
        .source_attachment(h.source_attachment)
        .destination_attachment(h.destination_attachment)
        .options_of(bytes, &h)
        .payload(h.payload(bytes))
        .to_vec()
        .expect("builds")
}

/// Calls everything that takes a packet and the header of a longer or different one: nothing may panic.
fn exercise(bytes: &mut [u8], header: &Header) {
    let mut out = [0; 2048];
    let mut header = *header;
    let name_bytes = header
        .destination_name(bytes)
        .map_or(0, |n| n.prefix(2).as_bytes().len());
    assert!(name_bytes <= 255);
    let _ = header
        .source_name(bytes)
        .map(|n| (n.to_string(), n.is_reserved()));
    let _ = (
        header.options(bytes).count(),
        record::slots(bytes, &header).count(),
    );
    let _ = build_error(ErrorCode::NoRoute, 0, NodeId(1), bytes, &header, &mut out);
    let own = EchoSource {
        gateway: NodeId(1),
        attachment: AttachmentId(1),
        name: None,
    };
    let _ = build_echo_reply(bytes, &header, own, &mut out);
    record::fill_next(bytes, &header, RecordSlot::default());
    record::erase(bytes, &mut header);
    let _ = patch::decrement_hop_limit(bytes);
    patch::set_destination(bytes, NodeId(1), AttachmentId(2));
    let _ = Message::parse(bytes);
}

#[test]
fn vectors_agree() {
    for vector in support::vectors() {
        assert_eq!(
            parser(&vector.bytes),
            oracle(&vector.bytes),
            "{}",
            vector.name
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn packets_round_trip(bytes in packet()) {
        prop_assert_eq!(&rebuild(&bytes), &bytes);
        prop_assert_eq!(parser(&bytes), oracle(&bytes));
    }

    #[test]
    fn mutated_packets_agree_and_never_panic(
        mut bytes in packet(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let original = parse(&bytes).expect("valid");
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        prop_assert_eq!(parser(&bytes), oracle(&bytes));
        let header = parse(&bytes);
        let end = cut.index(bytes.len() + 1);
        bytes.truncate(end);
        prop_assert_eq!(parser(&bytes), oracle(&bytes));
        exercise(&mut bytes.clone(), &original);
        if let Ok(header) = header {
            exercise(&mut bytes, &header);
        }
    }

    #[test]
    fn mutated_vectors_agree(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        small in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 0..4),
    ) {
        let all = support::vectors();
        let mut bytes = which.get(&all).bytes.clone();
        for (at, value) in changes.into_iter().chain(small) {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        prop_assert_eq!(parser(&bytes), oracle(&bytes));
    }
}
