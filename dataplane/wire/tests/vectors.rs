//! The committed vectors are fresh, parse as they say, and are built again byte by byte from their fields.

// The example's `main` has no caller here.
#[allow(dead_code)]
#[path = "../examples/vectors/main.rs"]
mod generator;
mod support;

use std::collections::{BTreeMap, BTreeSet};

use dmsc_wire::*;
use support::{Vector, unhex, vectors};

#[test]
fn file_is_fresh() {
    let fresh = generator::render();
    if let Some((number, (have, want))) = support::TEXT
        .lines()
        .zip(fresh.lines())
        .enumerate()
        .find(|(_, (have, want))| have != want)
    {
        panic!(
            "vectors.txt:{}: {have:?} should be {want:?}; print it again",
            number + 1
        );
    }
    assert_eq!(
        support::TEXT.len(),
        fresh.len(),
        "vectors.txt is cut; print it again"
    );
}

#[test]
fn every_vector_parses_as_it_says() {
    for vector in vectors() {
        let got = Message::parse(&vector.bytes);
        match (&vector.verdict, got) {
            (Err(reason), Err(e)) => assert_eq!(reason, e.reason(), "{}: {e}", vector.name),
            (Ok(_), Ok(message)) => {
                let fields: BTreeMap<String, String> = generator::fields(&message, &vector.bytes)
                    .into_iter()
                    .map(|(field, value)| (field.to_owned(), value))
                    .collect();
                assert_eq!(fields, vector.fields, "{}", vector.name);
            }
            (verdict, got) => panic!("{}: {verdict:?}, but {got:?}", vector.name),
        }
    }
}

#[test]
fn every_valid_vector_is_built_from_its_fields() {
    let mut built = 0;
    for vector in vectors().iter().filter(|v| v.verdict == Ok(true)) {
        assert_eq!(
            generator::hex(&build(vector)),
            generator::hex(&vector.bytes),
            "{}",
            vector.name
        );
        built += 1;
    }
    assert!(built >= 25, "only {built} valid vectors");
}

#[test]
fn every_kind_option_and_reason_has_a_vector() {
    let all = vectors();
    let names: BTreeSet<&str> = all.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(names.len(), all.len(), "names are unique");
    let reasons: BTreeSet<&str> = all
        .iter()
        .filter_map(|v| v.verdict.as_ref().err())
        .map(String::as_str)
        .collect();
    let payload_reasons = [
        "error-bad-length",
        "error-bad-code",
        "hello-bad-length",
        "hello-not-zero",
        "hello-bad-state",
        "hello-bad-versions",
        "hello-bad-timing",
        "probe-bad-length",
        "probe-not-zero",
        "probe-bad-health",
    ];
    let want: BTreeSet<&str> = ParseError::REASONS
        .into_iter()
        .chain(payload_reasons)
        .collect();
    assert_eq!(reasons, want);
    let has = |field: &str, value: &str| {
        let equal = |v: &&Vector| {
            v.fields
                .get(field)
                .is_some_and(|f| f.split(',').any(|one| one == value))
        };
        all.iter().any(|v| equal(&v))
    };
    for kind in Kind::ALL {
        assert!(has("kind", &kind.code().to_string()), "{kind}");
    }
    assert!(has("option.type", "0") && has("option.type", "65") && has("option.type", "2"));
}

fn number<T: std::str::FromStr>(vector: &Vector, field: &str) -> T {
    let text = vector
        .fields
        .get(field)
        .unwrap_or_else(|| panic!("{}: no {field}", vector.name));
    text.parse()
        .unwrap_or_else(|_| panic!("{}: {field} {text}", vector.name))
}

fn list(vector: &Vector, field: &str) -> Vec<String> {
    vector
        .fields
        .get(field)
        .map_or_else(Vec::new, |v| v.split(',').map(str::to_owned).collect())
}

/// Builds the packet from the text alone.
fn build(v: &Vector) -> Vec<u8> {
    let kind = Kind::from_code(number(v, "kind")).expect("kind");
    let optional_name = |field| {
        v.fields
            .get(field)
            .map(|text| NameBuf::parse(text).expect("name"))
    };
    let (destination, source) = (
        optional_name("destination_name"),
        optional_name("source_name"),
    );
    let mut packet = PacketBuilder::new(kind)
        .flags(Flags(number(v, "flags")))
        .hop_limit(number(v, "hop_limit"))
        .class(number(v, "class"))
        .ecn(Ecn::from_bits(number(v, "ecn")))
        .domain(number(v, "domain"))
        .flow_label(number(v, "flow_label"))
        .request_id(number(v, "request_id"))
        .source_gateway(number(v, "source_gateway"))
        .destination_gateway(number(v, "destination_gateway"))
        .source_attachment(number(v, "source_attachment"))
        .destination_attachment(number(v, "destination_attachment"));
    if let (Some(destination), Some(source)) = (&destination, &source) {
        packet = packet
            .destination(destination.as_name())
            .source(source.as_name());
    }
    let slots: Vec<RecordSlot> = (0..list(v, "record.node").len())
        .map(|i| RecordSlot {
            node: list(v, "record.node")[i].parse().expect("node"),
            in_port: list(v, "record.in_port")[i].parse().expect("port"),
            out_port: list(v, "record.out_port")[i].parse().expect("port"),
            residence_ns: list(v, "record.residence")[i].parse().expect("ns"),
        })
        .collect();
    if v.fields.contains_key("record.slots") {
        packet = packet.record(number(v, "record.slots"), &slots);
    }
    let mut values = list(v, "option.value")
        .into_iter()
        .map(|value| unhex(&value));
    let options: Vec<(OptionType, Vec<u8>)> = list(v, "option.type")
        .into_iter()
        .zip(list(v, "option.len"))
        .map(|(code, length)| (OptionType(code.parse().expect("type")), length))
        .filter(|(code, _)| ![OptionType::PAD, OptionType::RECORD].contains(code))
        .map(|(code, length)| {
            (
                code,
                if length == "0" {
                    Vec::new()
                } else {
                    values.next().expect("value")
                },
            )
        })
        .collect();
    for (code, value) in &options {
        packet = packet.option(*code, value);
    }
    let payload = payload(v, kind);
    packet.payload(&payload).to_vec().expect("builds")
}

fn payload(v: &Vector, kind: Kind) -> Vec<u8> {
    let bytes = |field: &str| {
        v.fields
            .get(field)
            .map_or_else(Vec::new, |text| unhex(text))
    };
    match kind {
        Kind::Error => {
            let mut out = vec![number(v, "error.code"), 0];
            out.extend(number::<u16>(v, "error.mtu").to_be_bytes());
            out.extend(number::<u32>(v, "error.node").to_be_bytes());
            out.extend(number::<u64>(v, "error.request_id").to_be_bytes());
            out.extend(bytes("error.offender"));
            out
        }
        Kind::Hello => {
            let heard = (number::<u8>(v, "hello.flags") == 1).then(|| Heard {
                node: number(v, "hello.heard.node"),
                port: number(v, "hello.heard.port"),
                boot_nonce: number(v, "hello.heard.boot_nonce"),
                sequence: number(v, "hello.heard.sequence"),
                state: HelloState::from_code(number(v, "hello.heard.state")).expect("state"),
            });
            let hello = Hello {
                node: number(v, "hello.node"),
                port: number(v, "hello.port"),
                boot_nonce: number(v, "hello.boot_nonce"),
                sequence: number(v, "hello.sequence"),
                state: HelloState::from_code(number(v, "hello.state")).expect("state"),
                heard,
                version_min: number(v, "hello.version_min"),
                version_max: number(v, "hello.version_max"),
                interval_ms: number(v, "hello.interval"),
                multiplier: number(v, "hello.multiplier"),
                mtu: number(v, "hello.mtu"),
                key_id: number(v, "hello.key_id"),
                mac: bytes("hello.mac").try_into().expect("16 bytes"),
            };
            assert_eq!(hello.packet()[..], v.bytes, "{}", v.name);
            hello.payload().to_vec()
        }
        Kind::Probe => Probe {
            id: number(v, "probe.id"),
            t1: number(v, "probe.t1"),
            t2: number(v, "probe.t2"),
            t3: number(v, "probe.t3"),
            t4: number(v, "probe.t4"),
            state: (number::<u8>(v, "probe.flags") == 1).then(|| ProbeState {
                health: ProbeHealth::from_code(number(v, "probe.health")).expect("health"),
                load_permille: number(v, "probe.load"),
            }),
        }
        .payload()
        .to_vec(),
        _ => bytes("payload"),
    }
}
