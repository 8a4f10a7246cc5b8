//! Hellos and probes between routers.

use super::*;

pub(super) fn hellos(cases: &mut Cases) {
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

pub(super) fn probes(cases: &mut Cases) {
    let question = Probe {
        id: 1,
        t1: 1_700_000_000_000_000_001,
        ..Probe::default()
    };
    let answer = Probe {
        t2: 2,
        t3: u64::MAX,
        t4: 4,
        state: Some(ProbeState {
            health: ProbeHealth::Draining,
            load_permille: 1_002,
        }),
        ..question
    };
    let mut out = [0; Probe::PACKET_LEN];
    for (name, probe, class) in [("probe-question", question, 0), ("probe-answer", answer, 6)] {
        probe
            .write(NodeId(3), Class(class), &mut out)
            .expect("fits");
        cases.add(name, out.to_vec(), Expected::Valid);
    }
    cases.invalid("probe-short", "probe-bad-length", &out, &[(6, &[0, 47])]);
    for (name, at, byte) in [
        ("probe-flag-2", 81, 3),
        ("probe-state-without-flag", 81, 0),
        ("probe-reserved-byte", 87, 1),
    ] {
        cases.invalid(name, "probe-not-zero", &out, &[(at, &[byte])]);
    }
    cases.invalid("probe-health-3", "probe-bad-health", &out, &[(80, &[3])]);
    let (to, from) = (name("/shop/cart"), name("/dmsc/3"));
    let named = PacketBuilder::new(Kind::Probe)
        .destination(to.as_name())
        .source(from.as_name())
        .class(Class(5))
        .payload(&question.payload())
        .to_vec()
        .expect("builds");
    cases.add("probe-named", named, Expected::Valid);
    let mut long = out.to_vec();
    long.push(0);
    cases.invalid("probe-long", "probe-bad-length", &long, &[(6, &[0, 49])]);
}
