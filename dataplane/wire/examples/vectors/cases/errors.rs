//! Errors of routers.

use super::*;

pub(super) fn errors(cases: &mut Cases) {
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
