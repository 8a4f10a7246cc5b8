//! The vectors through tshark with `wireshark/dmsc.lua`, a decoder written from `FORMAT.md`: every field and every
//! reason must be the same, over Ethernet and over UDP. Skips with a message where tshark is missing.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dmsc_wire::{ETHERTYPE, Message, UDP_PORT};
use support::{Vector, vectors};

/// Ethernet, or Ethernet, IPv4 and UDP without a checksum, around a packet.
fn frame(packet: &[u8], over_udp: bool) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    if over_udp {
        let length = packet.len() as u16;
        frame.extend([8, 0, 0x45, 0]);
        frame.extend((length + 28).to_be_bytes());
        frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend(50000u16.to_be_bytes());
        frame.extend(UDP_PORT.to_be_bytes());
        frame.extend((length + 8).to_be_bytes());
        frame.extend([0, 0]);
    } else {
        frame.extend(ETHERTYPE.to_be_bytes());
    }
    frame.extend(packet);
    frame
}

/// A classic pcap file, link type Ethernet, removed when dropped.
struct Capture(PathBuf);

impl Capture {
    fn write(name: &str, frames: impl IntoIterator<Item = Vec<u8>>) -> Capture {
        let mut bytes = Vec::new();
        for word in [0xa1b2_c3d4u32, 0x0002_0004, 0, 0, 65535, 1] {
            bytes.extend(word.to_be_bytes());
        }
        for frame in frames {
            let length = frame.len() as u32;
            for word in [0, 0, length, length] {
                bytes.extend(word.to_be_bytes());
            }
            bytes.extend(frame);
        }
        let path =
            std::env::temp_dir().join(format!("dmsc-wire-{}-{name}.pcap", std::process::id()));
        std::fs::write(&path, bytes).expect("temporary directory is writable");
        Capture(path)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn wireshark(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("wireshark")
        .join(file)
}

fn tshark_is_here() -> bool {
    let here = Command::new("tshark")
        .arg("--version")
        .output()
        .is_ok_and(|o| o.status.success());
    if !here {
        eprintln!("skipped: tshark is missing (apt-get install tshark)");
    }
    here
}

/// Decodes a capture to one map of fields per frame.
fn dissect(capture: &Capture, fields: &BTreeSet<String>) -> Vec<BTreeMap<String, String>> {
    let mut command = Command::new("tshark");
    command.args([
        "-n",
        "-T",
        "fields",
        "-E",
        "separator=|",
        "-E",
        "occurrence=a",
        "-E",
        "aggregator=,",
    ]);
    command
        .arg("-X")
        .arg(format!("lua_script:{}", wireshark("dmsc.lua").display()));
    command.arg("-r").arg(&capture.0);
    for field in fields {
        command.arg("-e").arg(format!("dmsc.{field}"));
    }
    let output = command.output().expect("tshark runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && !errors.contains("dmsc.lua:"),
        "tshark: {errors}"
    );
    let text = String::from_utf8(output.stdout).expect("text");
    let one = |line: &str| {
        let values = line.split('|').map(str::to_owned);
        fields
            .iter()
            .cloned()
            .zip(values)
            .filter(|(_, value)| !value.is_empty())
            .collect()
    };
    text.lines().map(one).collect()
}

#[test]
fn dissector_agrees_with_every_vector() {
    if !tshark_is_here() {
        return;
    }
    let all = vectors();
    let mut fields: BTreeSet<String> = all.iter().flat_map(|v| v.fields.keys().cloned()).collect();
    fields.insert("invalid".to_owned());
    for over_udp in [false, true] {
        let frames = all.iter().map(|v| frame(&v.bytes, over_udp));
        let capture = Capture::write(if over_udp { "udp" } else { "ethernet" }, frames);
        let decoded = dissect(&capture, &fields);
        assert_eq!(decoded.len(), all.len());
        for (vector, mut got) in all.iter().zip(decoded) {
            let reason = got.remove("invalid");
            assert_eq!(
                vector.verdict.as_ref().err(),
                reason.as_ref(),
                "{} over_udp={over_udp}",
                vector.name
            );
            if vector.verdict.is_ok() {
                assert_eq!(vector.fields, got, "{} over_udp={over_udp}", vector.name);
            }
        }
    }
}

/// Flips bytes of the vectors at random (xorshift, fixed seed): most stay within a field of their limits.
fn mutations(count: usize) -> Vec<Vec<u8>> {
    let all = vectors();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let mutate = |_| {
        let mut bytes = all[random(all.len())].bytes.clone();
        for _ in 0..=random(3) {
            let at = random(bytes.len());
            bytes[at] = if random(2) == 0 {
                random(8)
            } else {
                random(256)
            } as u8;
        }
        bytes
    };
    (0..count).map(mutate).collect()
}

#[test]
fn dissector_agrees_on_mutated_packets() {
    if !tshark_is_here() {
        return;
    }
    let packets = mutations(4000);
    let capture = Capture::write("mutated", packets.iter().map(|p| frame(p, false)));
    let fields = BTreeSet::from(["invalid", "destination_name", "header_len"].map(str::to_owned));
    let mut reasons = BTreeSet::new();
    for (packet, got) in packets.iter().zip(dissect(&capture, &fields)) {
        let parsed = Message::parse(packet);
        let reason = parsed.as_ref().err().map(|e| e.reason());
        assert_eq!(
            reason,
            got.get("invalid").map(String::as_str),
            "{packet:02x?}"
        );
        if let Ok(message) = parsed {
            let name = message
                .header
                .destination_name(packet)
                .map(|n| n.to_string());
            assert_eq!(name.as_ref(), got.get("destination_name"));
        }
        reasons.insert(reason);
    }
    assert!(reasons.len() > 20, "mutations reach only {reasons:?}");
}

fn check(capture: &Capture) -> Output {
    Command::new(wireshark("check.sh"))
        .arg(&capture.0)
        .output()
        .expect("check.sh runs")
}

#[test]
fn check_script_fails_on_invalid_packets_and_on_none() {
    if !tshark_is_here() {
        return;
    }
    let all = vectors();
    let frames = |valid: bool| {
        let wanted = move |v: &&Vector| v.verdict.is_ok() == valid;
        all.iter()
            .filter(wanted)
            .map(|v| frame(&v.bytes, true))
            .collect::<Vec<_>>()
    };
    let good = check(&Capture::write("good", frames(true)));
    let text = String::from_utf8_lossy(&good.stdout).into_owned();
    assert!(
        good.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&good.stderr)
    );
    assert!(
        text.contains(&format!("dmsc={} invalid=0", frames(true).len())),
        "{text}"
    );

    let bad = check(&Capture::write("bad", frames(false)));
    let text = String::from_utf8_lossy(&bad.stdout).into_owned();
    assert_eq!(bad.status.code(), Some(1), "{text}");
    assert!(
        text.contains("frame 1: invalid: option-truncated"),
        "{text}"
    );

    assert_eq!(check(&Capture::write("none", [])).status.code(), Some(1));
}
