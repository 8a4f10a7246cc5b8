//! Prints the test vectors: `cargo run -p dmsc-wire --example vectors > dataplane/wire/vectors.txt`.
//! The packets are made here, one per rule of `FORMAT.md`; a test checks that the file is what this prints.
//! `-- --corpus dataplane/wire/fuzz/corpus` writes the same as seeds of the fuzz targets.

mod cases;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

pub use cases::cases;
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
            ("probe.health", state(p).0.to_string()),
            ("probe.flags", u8::from(p.state.is_some()).to_string()),
            ("probe.load", state(p).1.to_string()),
        ]),
    }
    all.retain(|(_, value)| !value.is_empty());
    all
}

/// Health and load as they stand in the packet.
fn state(probe: &Probe) -> (u8, u16) {
    let state = probe.state.unwrap_or_default();
    (state.health as u8, state.load_permille)
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
