//! Prints the test vectors: `cargo run -p dmsc-wire --example vectors > dataplane/wire/vectors.txt`.
//! The packets are made here, one per rule of `FORMAT.md`; a test checks that the file is what this prints.
//! `-- --corpus dataplane/wire/fuzz/corpus` writes the same as seeds of the fuzz targets.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use dmsc_wire::*;

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => print!("{}", render()),
        ["--corpus", directory] => write_corpus(Path::new(directory))?,
        _ => {
            eprintln!(
                "usage: vectors [--corpus DIR]   print the vectors, or write them as seeds to DIR"
            );
            std::process::exit(2);
        }
    }
    Ok(())
}

/// One file per vector: whole packets, payloads behind a byte that selects their type, and names in both forms.
fn write_corpus(directory: &Path) -> std::io::Result<()> {
    for target in ["packet", "payload", "name_text"] {
        std::fs::create_dir_all(directory.join(target))?;
    }
    let all = cases();
    let mut seen = BTreeSet::new();
    for case in &all {
        std::fs::write(directory.join("packet").join(case.name), &case.bytes)?;
        let Ok(header) = parse(&case.bytes) else {
            continue;
        };
        if !header.kind.is_from_pods() {
            let seed = [
                &[header.kind.code() - Kind::Error.code()],
                header.payload(&case.bytes),
            ]
            .concat();
            std::fs::write(directory.join("payload").join(case.name), seed)?;
        }
        let name = header.destination_name(&case.bytes);
        if let Some(name) = name.filter(|&name| seen.insert(name)) {
            let names = directory.join("name_text");
            std::fs::write(names.join(format!("{}-text", case.name)), name.to_string())?;
            std::fs::write(names.join(format!("{}-bytes", case.name)), name.as_bytes())?;
        }
    }
    Ok(())
}

/// One vector: a packet and what must become of it.
pub struct Case {
    /// Unique, kebab-case.
    pub name: &'static str,
    /// The packet.
    pub bytes: Vec<u8>,
    /// Whether a sender makes it, a receiver takes it, or why it is refused.
    pub expected: Expected,
}

/// Fate of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// A sender builds exactly these bytes.
    Valid,
    /// Taken, but not built.
    Accepted,
    /// Refused for this reason.
    Invalid(&'static str),
}

/// The text of `vectors.txt`.
pub fn render() -> String {
    let mut out = String::from(
        "# Test vectors of the DMSC packet format, version 1; described in FORMAT.md, section 9.\n\
         # Made by `cargo run -p dmsc-wire --example vectors`; do not edit.\n",
    );
    for case in cases() {
        let _ = writeln!(out, "\nvector {}", case.name);
        for line in case.bytes.chunks(32) {
            let _ = writeln!(out, "hex {}", hex(line));
        }
        match case.expected {
            Expected::Invalid(reason) => {
                let _ = writeln!(out, "invalid {reason}");
                continue;
            }
            Expected::Valid => out.push_str("valid\n"),
            Expected::Accepted => out.push_str("accepted\n"),
        }
        match Message::parse(&case.bytes) {
            Ok(message) => {
                for (field, value) in fields(&message, &case.bytes) {
                    let _ = writeln!(out, "{field} {value}");
                }
            }
            // The test that reads the file back reports it.
            Err(e) => {
                let _ = writeln!(out, "refused {}", e.reason());
            }
        }
    }
    out
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn join<T: ToString>(values: impl IntoIterator<Item = T>) -> String {
    values
        .into_iter()
        .map(|value| value.to_string())
        .collect::<Vec<_>>()
        .join(",")
}

/// The fields of a packet, by the dissector's names without `dmsc.`.
pub fn fields(message: &Message<'_>, bytes: &[u8]) -> Vec<(&'static str, String)> {
    let h = &message.header;
    let mut all = vec![
        ("version", "1".to_owned()),
        ("kind", h.kind.code().to_string()),
        ("flags", h.flags.0.to_string()),
        ("hop_limit", h.hop_limit.to_string()),
        ("class", h.class.to_string()),
        ("ecn", h.ecn.bits().to_string()),
        ("header_len", h.header_len.to_string()),
        ("payload_len", h.payload_len.to_string()),
        ("domain", h.domain.to_string()),
        ("flow_label", h.flow_label.to_string()),
        ("request_id", h.request_id.to_string()),
        ("source_gateway", h.source_gateway.to_string()),
        ("destination_gateway", h.destination_gateway.to_string()),
        ("source_attachment", h.source_attachment.to_string()),
        (
            "destination_attachment",
            h.destination_attachment.to_string(),
        ),
        (
            "destination_name",
            h.destination_name(bytes)
                .map_or_else(String::new, |n| n.to_string()),
        ),
        (
            "source_name",
            h.source_name(bytes)
                .map_or_else(String::new, |n| n.to_string()),
        ),
    ];
    let own = |o: &RawOption<'_>| ![OptionType::PAD, OptionType::RECORD].contains(&o.option_type);
    all.push((
        "option.type",
        join(h.options(bytes).map(|o| o.option_type.0)),
    ));
    all.push(("option.len", join(h.options(bytes).map(|o| o.value.len()))));
    let values = h.options(bytes).filter(own).filter(|o| !o.value.is_empty());
    all.push(("option.value", join(values.map(|o| hex(o.value)))));
    if h.record_offset(bytes).is_some() {
        let slots = || record::slots(bytes, h);
        all.push(("record.slots", record::capacity(bytes, h).to_string()));
        all.push(("record.used", slots().len().to_string()));
        all.push(("record.node", join(slots().map(|s| s.node))));
        all.push(("record.in_port", join(slots().map(|s| s.in_port))));
        all.push(("record.out_port", join(slots().map(|s| s.out_port))));
        all.push(("record.residence", join(slots().map(|s| s.residence_ns))));
    }
    match &message.body {
        Body::Opaque(payload) => all.push(("payload", hex(payload))),
        Body::Error(e) => all.extend([
            ("error.code", (e.code as u8).to_string()),
            ("error.mtu", e.mtu.to_string()),
            ("error.node", e.node.to_string()),
            ("error.request_id", e.request_id.to_string()),
            ("error.offender", hex(e.offender)),
        ]),
        Body::Hello(hello) => hello_fields(hello, &mut all),
        Body::Probe(p) => all.extend([
            ("probe.id", p.id.to_string()),
            ("probe.t1", p.t1.to_string()),
            ("probe.t2", p.t2.to_string()),
            ("probe.t3", p.t3.to_string()),
            ("probe.t4", p.t4.to_string()),
        ]),
    }
    all.retain(|(_, value)| !value.is_empty());
    all
}

fn hello_fields(h: &Hello, all: &mut Vec<(&'static str, String)>) {
    all.extend([
        ("hello.node", h.node.to_string()),
        ("hello.port", h.port.to_string()),
        ("hello.state", (h.state as u8).to_string()),
        ("hello.flags", u8::from(h.heard.is_some()).to_string()),
        ("hello.boot_nonce", h.boot_nonce.to_string()),
        ("hello.sequence", h.sequence.to_string()),
        ("hello.version_min", h.version_min.to_string()),
        ("hello.version_max", h.version_max.to_string()),
        ("hello.interval", h.interval_ms.to_string()),
        ("hello.multiplier", h.multiplier.to_string()),
        ("hello.mtu", h.mtu.to_string()),
        ("hello.key_id", h.key_id.to_string()),
        ("hello.mac", hex(&h.mac)),
    ]);
    if let Some(heard) = &h.heard {
        all.extend([
            ("hello.heard.node", heard.node.to_string()),
            ("hello.heard.port", heard.port.to_string()),
            ("hello.heard.state", (heard.state as u8).to_string()),
            ("hello.heard.boot_nonce", heard.boot_nonce.to_string()),
            ("hello.heard.sequence", heard.sequence.to_string()),
        ]);
    }
}

/// Collects cases; every builder call here is one that succeeds.
struct Cases(Vec<Case>);

impl Cases {
    fn add(&mut self, name: &'static str, bytes: Vec<u8>, expected: Expected) {
        self.0.push(Case {
            name,
            bytes,
            expected,
        });
    }

    fn valid(&mut self, name: &'static str, packet: PacketBuilder<'_>) -> Vec<u8> {
        let bytes = packet.to_vec().expect(name);
        self.add(name, bytes.clone(), Expected::Valid);
        bytes
    }

    /// `base` with bytes overwritten at offsets.
    fn accepted(&mut self, name: &'static str, base: &[u8], changes: &[(usize, &[u8])]) {
        self.add(name, changed(base, changes), Expected::Accepted);
    }

    fn invalid(
        &mut self,
        name: &'static str,
        reason: &'static str,
        base: &[u8],
        changes: &[(usize, &[u8])],
    ) {
        self.add(name, changed(base, changes), Expected::Invalid(reason));
    }
}

fn changed(base: &[u8], changes: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = base.to_vec();
    for &(at, value) in changes {
        bytes[at..at + value.len()].copy_from_slice(value);
    }
    bytes
}

/// `/a` to `/b` with raw options behind the names (44 bytes, so they start there) and a payload of two bytes.
fn with_options(kind: Kind, flags: Flags, options: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x10 | kind.code(), flags.0, 64, 0];
    bytes.extend(((44 + options.len()) as u16).to_be_bytes());
    bytes.extend([0, 2]);
    bytes.resize(36, 0);
    bytes.extend([2, 2, 0, 0, 1, b'a', 1, b'b']);
    bytes.extend(options);
    bytes.extend(b"hi");
    bytes
}

fn name(text: &str) -> NameBuf {
    NameBuf::parse(text).expect(text)
}

/// Every vector, in the order of the file.
pub fn cases() -> Vec<Case> {
    let mut cases = Cases(Vec::new());
    requests(&mut cases);
    options(&mut cases);
    bad_options(&mut cases);
    bad_headers(&mut cases);
    bad_names(&mut cases);
    errors(&mut cases);
    hellos(&mut cases);
    probes(&mut cases);
    cases.0
}

fn full<'a>(kind: Kind, destination: &'a NameBuf, source: &'a NameBuf) -> PacketBuilder<'a> {
    PacketBuilder::new(kind)
        .destination(destination.as_name())
        .source(source.as_name())
        .domain(Domain(0x0102_0304))
        .flow_label(FlowLabel(0xfeed_beef))
        .request_id(RequestId(0x1122_3344_5566_7788))
        .source_gateway(NodeId(1))
        .destination_gateway(NodeId(0x8000_0004))
        .source_attachment(AttachmentId(7))
        .destination_attachment(AttachmentId(65535))
}

fn requests(cases: &mut Cases) {
    let (cart, web) = (name("/shop/cart/v1"), name("/shop/web"));
    let minimal = PacketBuilder::new(Kind::Request);
    let (a, b) = (name("/a"), name("/b"));
    let bytes = cases.valid(
        "request-minimal",
        minimal.destination(a.as_name()).source(b.as_name()),
    );
    cases.accepted(
        "reserved-bits-set",
        &bytes,
        &[(1, &[0x03]), (3, &[0x07]), (38, &[0xff, 0xff])],
    );
    let mut padded = bytes.clone();
    padded.extend([0xee; 16]);
    cases.accepted("trailing-bytes", &padded, &[]);
    let request = full(Kind::Request, &cart, &web).payload(b"GET /");
    cases.valid(
        "request",
        request
            .pinned()
            .idempotent()
            .telemetry()
            .class(Class(5))
            .ecn(Ecn::Ect0),
    );
    let flags = Flags::REBOUND | Flags::FIRST | Flags::LAST;
    cases.valid(
        "request-rebound",
        request
            .flags(flags)
            .hop_limit(0)
            .ecn(Ecn::Ce)
            .class(Class(7)),
    );
    cases.valid(
        "response",
        full(Kind::Response, &web, &cart)
            .payload(b"200")
            .ecn(Ecn::Ect1),
    );
    cases.valid(
        "echo-request",
        full(Kind::EchoRequest, &cart, &web).payload(b"ping"),
    );
    cases.valid(
        "echo-reply",
        full(Kind::EchoReply, &web, &cart)
            .payload(b"ping")
            .hop_limit(255),
    );
    let (odd, router) = (name("/%00%FF%2F/A.b_~-9/%25"), name("/dmsc/4294967295"));
    cases.valid(
        "names-escaped-and-reserved",
        full(Kind::Request, &odd, &router),
    );
    let (deep, long) = (
        name(&"/x".repeat(16)),
        name(&format!("/{}", "y".repeat(254))),
    );
    cases.valid("names-longest", full(Kind::Request, &deep, &long));
    let both = full(Kind::EchoRequest, &long, &long).record_slots(20);
    cases.valid(
        "header-longest-in-use",
        both.option(OptionType(0x02), &[0x55; 212]),
    );
}

fn options(cases: &mut Cases) {
    let (cart, web) = (name("/shop/cart"), name("/shop/web"));
    let slot = |n: u32| RecordSlot {
        node: NodeId(n),
        in_port: PortId(n as u16 & 0xff),
        out_port: PortId(0xff00 | (n as u16 & 0xff)),
        residence_ns: if n == 3 { u32::MAX } else { n * 1_000_003 },
    };
    let slots: Vec<RecordSlot> = (1..=20).map(slot).collect();
    let echo = full(Kind::EchoRequest, &cart, &web).payload(b"trace");
    cases.valid("record-empty", echo.record_slots(1));
    cases.valid("record-partly-filled", echo.record(5, &slots[..3]));
    let reply = full(Kind::EchoReply, &web, &cart).payload(b"trace");
    cases.valid("record-full", reply.record(20, &slots));
    cases.valid(
        "record-on-sampled-request",
        full(Kind::Request, &cart, &web)
            .telemetry()
            .record(2, &slots[..1]),
    );
    cases.valid(
        "option-unknown-end-to-end",
        echo.option(OptionType(0x01), b""),
    );
    cases.valid(
        "option-unknown-hop-by-hop",
        echo.option(OptionType(0x7f), b"x"),
    );
    let several = echo
        .record(2, &slots[..2])
        .option(OptionType(0x42), b"ab")
        .option(OptionType(0x3f), b"abc");
    cases.valid(
        "options-several",
        several.option(OptionType(0x02), &[0; 255]),
    );
    let pads = with_options(
        Kind::EchoRequest,
        Flags::NONE,
        &[0, 1, 0, 0x42, 1, 9, 0, 0, 1, 2, 8, 8],
    );
    cases.accepted("pad-anywhere", &pads, &[]);
    let mut longest = vec![0, 255];
    longest.resize(257, 0);
    longest.extend([0, 1, 0]);
    cases.accepted(
        "pad-longest",
        &with_options(Kind::Response, Flags::NONE, &longest),
        &[],
    );
    let mut late = vec![0, 0, 0x41, 28, 1, 7, 7, 7];
    late.resize(8 + 24, 0xcc);
    let bytes = with_options(Kind::EchoReply, Flags::NONE, &late);
    cases.accepted("record-behind-pad-reserved-bits-unused-slots", &bytes, &[]);
}

fn bad_options(cases: &mut Cases) {
    let mut bad = |name, reason, kind, flags, options: &[u8]| {
        cases.invalid(name, reason, &with_options(kind, flags, options), &[]);
    };
    let (echo, none) = (Kind::EchoRequest, Flags::NONE);
    let record = |slots: usize, used: u8| {
        let mut option = vec![0x41, (4 + 12 * slots) as u8, used, 0, 0, 0];
        option.resize(6 + 12 * slots, 0);
        option.extend([0, 0]);
        option
    };
    bad(
        "option-value-overruns",
        "option-truncated",
        echo,
        none,
        &[0x01, 3, 0, 0],
    );
    bad(
        "option-lone-type-byte",
        "option-truncated",
        echo,
        none,
        &[0x01, 1, 9, 0],
    );
    bad(
        "pad-overruns",
        "option-truncated",
        echo,
        none,
        &[0, 9, 0, 0],
    );
    bad("pad-not-zero", "pad-not-zero", echo, none, &[0, 2, 0, 1]);
    bad(
        "hop-by-hop-behind-end-to-end",
        "option-order",
        echo,
        none,
        &[0x01, 0, 0x42, 0],
    );
    bad(
        "order-seen-through-pad",
        "option-order",
        echo,
        none,
        &[0x01, 0, 0, 0, 0x42, 0, 0, 0],
    );
    let late = [&[0x01, 0][..], &record(1, 0)[..]].concat();
    bad(
        "record-behind-end-to-end",
        "option-order",
        echo,
        none,
        &[&late[..], &[0, 0]].concat(),
    );
    bad(
        "record-twice",
        "record-repeated",
        echo,
        none,
        &[record(1, 0), record(1, 0)].concat(),
    );
    bad(
        "record-on-response",
        "record-not-allowed",
        Kind::Response,
        none,
        &record(1, 0),
    );
    bad(
        "record-on-error",
        "record-not-allowed",
        Kind::Error,
        none,
        &record(1, 0),
    );
    bad(
        "record-on-unsampled-request",
        "record-not-allowed",
        Kind::Request,
        Flags::PINNED,
        &record(1, 0),
    );
    bad(
        "record-sampled-response",
        "record-not-allowed",
        Kind::Response,
        Flags::TELEMETRY,
        &record(1, 0),
    );
    bad(
        "record-without-slots",
        "record-shape",
        echo,
        none,
        &record(0, 0),
    );
    bad(
        "record-empty-value",
        "record-shape",
        echo,
        none,
        &[0x41, 0, 0, 0],
    );
    bad(
        "record-used-beyond-slots",
        "record-shape",
        echo,
        none,
        &record(2, 3),
    );
    let mut odd = record(1, 0);
    odd[1] = 18;
    bad("record-slot-cut", "record-shape", echo, none, &odd);
    let mut large = vec![0x41, 255];
    large.resize(257, 0);
    large.extend([0, 1, 0]);
    bad("record-too-large", "record-shape", echo, none, &large);
    bad(
        "unknown-option-to-drop",
        "unknown-option",
        echo,
        none,
        &[0x80, 0, 0, 0],
    );
    bad(
        "unknown-hop-by-hop-to-drop",
        "unknown-option",
        echo,
        none,
        &[0xc1, 0, 0, 0],
    );
    bad(
        "order-before-unknown",
        "option-order",
        echo,
        none,
        &[0x01, 0, 0xc1, 0],
    );
    bad(
        "first-option-decides",
        "pad-not-zero",
        echo,
        none,
        &[0, 1, 1, 0x01],
    );
}

fn bad_headers(cases: &mut Cases) {
    let bytes = with_options(Kind::Request, Flags::NONE, &[]);
    cases.invalid("one-byte", "truncated", &bytes[..1], &[]);
    cases.invalid("fixed-header-cut", "truncated", &bytes[..39], &[]);
    cases.invalid("names-cut", "truncated", &bytes[..43], &[]);
    cases.invalid("payload-cut", "bad-payload-length", &bytes[..45], &[]);
    cases.invalid(
        "payload-length-too-large",
        "bad-payload-length",
        &bytes,
        &[(6, &[0xff, 0xff])],
    );
    cases.invalid("version-0", "bad-version", &bytes, &[(0, &[0x00])]);
    cases.invalid("version-2", "bad-version", &bytes, &[(0, &[0x20])]);
    cases.invalid("kind-7", "bad-kind", &bytes, &[(0, &[0x17])]);
    cases.invalid("kind-15", "bad-kind", &bytes, &[(0, &[0x1f])]);
    cases.invalid(
        "version-before-kind",
        "bad-version",
        &bytes,
        &[(0, &[0xff])],
    );
    cases.invalid(
        "header-length-0",
        "bad-header-length",
        &bytes,
        &[(4, &[0, 0])],
    );
    cases.invalid(
        "header-length-36",
        "bad-header-length",
        &bytes,
        &[(4, &[0, 36])],
    );
    cases.invalid(
        "header-length-odd",
        "bad-header-length",
        &bytes,
        &[(4, &[0, 45])],
    );
    let mut long = bytes.clone();
    long.resize(1100, 0);
    cases.invalid(
        "header-length-1028",
        "bad-header-length",
        &long,
        &[(4, &[4, 4])],
    );
    cases.invalid(
        "header-length-before-truncated",
        "bad-header-length",
        &bytes,
        &[(4, &[0xff, 0xff])],
    );
}

fn bad_names(cases: &mut Cases) {
    let bytes = with_options(Kind::Request, Flags::NONE, &[]);
    cases.invalid("names-overrun", "names-overrun", &bytes, &[(36, &[3])]);
    cases.invalid(
        "names-overrun-far",
        "names-overrun",
        &bytes,
        &[(36, &[255, 255])],
    );
    cases.invalid(
        "destination-missing",
        "missing-name",
        &bytes,
        &[(36, &[0, 4])],
    );
    cases.invalid("source-missing", "missing-name", &bytes, &[(36, &[4, 0])]);
    let neither: &[(usize, &[u8])] = &[(4, &[0, 40]), (36, &[0, 0])];
    cases.invalid("names-missing", "missing-name", &bytes, neither);
    cases.invalid(
        "error-without-names",
        "missing-name",
        &bytes,
        &[(0, &[0x14]), (36, &[0, 0])],
    );
    cases.invalid(
        "hello-with-name",
        "unexpected-name",
        &bytes,
        &[(0, &[0x15])],
    );
    cases.invalid(
        "probe-with-source",
        "unexpected-name",
        &bytes,
        &[(0, &[0x16]), (36, &[0, 2])],
    );
    cases.invalid(
        "component-empty",
        "name-not-canonical",
        &bytes,
        &[(40, &[0])],
    );
    cases.invalid(
        "component-empty-at-end",
        "name-not-canonical",
        &bytes,
        &[(36, &[3, 1]), (42, &[0])],
    );
    cases.invalid(
        "component-overruns",
        "name-not-canonical",
        &bytes,
        &[(40, &[2])],
    );
    cases.invalid(
        "source-component-empty",
        "name-not-canonical",
        &bytes,
        &[(42, &[0])],
    );
    cases.invalid(
        "source-component-overruns",
        "name-not-canonical",
        &bytes,
        &[(42, &[255])],
    );
    let mut many = with_options(Kind::Request, Flags::NONE, &[0; 32]);
    many[36] = 34;
    many.splice(40..76, [b"\x01x".repeat(17), b"\x01b".to_vec()].concat());
    cases.invalid("components-17", "name-not-canonical", &many, &[]);
    let odd = with_options(Kind::Request, Flags::NONE, &[0; 4]);
    cases.invalid(
        "padding-not-zero",
        "padding-not-zero",
        &odd,
        &[(36, &[2, 3]), (42, &[2, b'b', b'b', 0, 0, 1])],
    );
    let both: &[(usize, &[u8])] = &[(36, &[2, 3]), (40, &[0]), (42, &[2, b'b', b'b', 1])];
    cases.invalid("name-before-padding", "name-not-canonical", &odd, both);
}

fn errors(cases: &mut Cases) {
    let (cart, web) = (name("/shop/cart"), name("/shop/web"));
    let long = full(Kind::Request, &cart, &web)
        .pinned()
        .payload(&[0x5a; 200])
        .to_vec()
        .expect("builds");
    let short = full(Kind::EchoRequest, &cart, &web)
        .to_vec()
        .expect("builds");
    let names: [&'static str; 6] = [
        "error-no-route",
        "error-hop-limit",
        "error-too-big",
        "error-denied",
        "error-source-not-owned",
        "error-overloaded",
    ];
    let mut last = Vec::new();
    for (name, code) in names.into_iter().zip(ErrorCode::ALL) {
        let too_big = code == ErrorCode::TooBig;
        let (offender, mtu) = if too_big { (&long, 1400) } else { (&short, 0) };
        let mut out = [0; MAX_HEADER];
        let header = parse(offender).expect("valid");
        let length = build_error(code, mtu, NodeId(9), offender, &header, &mut out).expect("built");
        last = out[..length].to_vec();
        cases.add(name, last.clone(), Expected::Valid);
    }
    let header = parse(&last).expect("valid");
    let at = usize::from(header.header_len);
    cases.accepted("error-reserved-byte", &last, &[(at + 1, &[0xff])]);
    cases.invalid("error-code-0", "error-bad-code", &last, &[(at, &[0])]);
    cases.invalid("error-code-7", "error-bad-code", &last, &[(at, &[7])]);
    cases.invalid("error-empty", "error-bad-length", &last, &[(6, &[0, 0])]);
    cases.invalid(
        "error-offender-cut",
        "error-bad-length",
        &last,
        &[(6, &[0, 55])],
    );
    let mut long = last.clone();
    long.resize(at + 145, 0);
    cases.invalid(
        "error-offender-too-long",
        "error-bad-length",
        &long,
        &[(6, &[0, 145])],
    );
}

fn hellos(cases: &mut Cases) {
    let down = Hello {
        node: NodeId(3),
        port: PortId(1),
        boot_nonce: 0x0123_4567_89ab_cdef,
        sequence: 1,
        state: HelloState::Down,
        heard: None,
        version_min: 1,
        version_max: 1,
        interval_ms: 50,
        multiplier: 3,
        mtu: 1800,
        key_id: 0,
        mac: [0; 16],
    };
    let heard = Heard {
        node: NodeId(4),
        port: PortId(65535),
        boot_nonce: u64::MAX,
        sequence: 1 << 40,
        state: HelloState::Init,
    };
    let up = Hello {
        state: HelloState::Up,
        heard: Some(heard),
        version_max: 2,
        sequence: u64::MAX,
        ..down
    };
    // A stand-in for the MAC, which this format only places.
    let up = up.sign(0x0102, |_| {
        *b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff"
    });
    let (down_bytes, up_bytes) = (down.packet(), up.packet());
    cases.add("hello-down", down_bytes.to_vec(), Expected::Valid);
    cases.add(
        "hello-init-unsigned",
        Hello {
            state: HelloState::Init,
            heard: Some(heard),
            ..down
        }
        .packet()
        .to_vec(),
        Expected::Valid,
    );
    cases.add("hello-up-signed", up_bytes.to_vec(), Expected::Valid);
    let mut bad = |name, reason, base: &[u8], at: usize, value: &[u8]| {
        cases.invalid(name, reason, base, &[(40 + at, value)]);
    };
    bad("hello-unknown-flag", "hello-not-zero", &up_bytes, 7, &[3]);
    bad(
        "hello-heard-without-flag",
        "hello-not-zero",
        &up_bytes,
        7,
        &[0],
    );
    bad("hello-byte-29", "hello-not-zero", &up_bytes, 29, &[1]);
    bad("hello-byte-39", "hello-not-zero", &up_bytes, 39, &[1]);
    bad("hello-byte-58", "hello-not-zero", &up_bytes, 58, &[1]);
    bad(
        "hello-mac-without-key",
        "hello-not-zero",
        &down_bytes,
        75,
        &[1],
    );
    bad("hello-state-3", "hello-bad-state", &down_bytes, 6, &[3]);
    bad(
        "hello-heard-state-3",
        "hello-bad-state",
        &up_bytes,
        38,
        &[3],
    );
    bad(
        "hello-version-0",
        "hello-bad-versions",
        &down_bytes,
        24,
        &[0],
    );
    bad(
        "hello-versions-swapped",
        "hello-bad-versions",
        &down_bytes,
        24,
        &[2, 1],
    );
    bad(
        "hello-interval-0",
        "hello-bad-timing",
        &down_bytes,
        26,
        &[0, 0],
    );
    bad(
        "hello-multiplier-0",
        "hello-bad-timing",
        &down_bytes,
        28,
        &[0],
    );
    cases.invalid(
        "hello-short",
        "hello-bad-length",
        &down_bytes,
        &[(6, &[0, 75])],
    );
    let mut long = down_bytes.to_vec();
    long.push(0);
    cases.invalid("hello-long", "hello-bad-length", &long, &[(6, &[0, 77])]);
    let mut option = down_bytes.to_vec();
    option.splice(40..40, [0x01, 2, 0xab, 0xcd]);
    cases.accepted("hello-with-option", &option, &[(4, &[0, 44])]);
}

fn probes(cases: &mut Cases) {
    let question = Probe {
        id: 1,
        t1: 1_700_000_000_000_000_001,
        ..Probe::default()
    };
    let answer = Probe {
        t2: 2,
        t3: u64::MAX,
        t4: 4,
        ..question
    };
    let mut out = [0; Probe::PACKET_LEN];
    for (name, probe, class) in [("probe-question", question, 0), ("probe-answer", answer, 6)] {
        probe
            .write(NodeId(3), Class(class), &mut out)
            .expect("fits");
        cases.add(name, out.to_vec(), Expected::Valid);
    }
    cases.invalid("probe-short", "probe-bad-length", &out, &[(6, &[0, 39])]);
    let mut long = out.to_vec();
    long.push(0);
    cases.invalid("probe-long", "probe-bad-length", &long, &[(6, &[0, 41])]);
}
