//! Options: known, unknown, and not as the format wants them.

use super::*;

pub(super) fn options(cases: &mut Cases) {
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

pub(super) fn bad_options(cases: &mut Cases) {
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
