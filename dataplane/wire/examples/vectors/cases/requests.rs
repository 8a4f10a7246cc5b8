//! Requests and responses as pods send them.

use super::*;

pub(super) fn requests(cases: &mut Cases) {
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
    cases.accepted("by-delay", &bytes, &[(1, &[0x02])]);
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
