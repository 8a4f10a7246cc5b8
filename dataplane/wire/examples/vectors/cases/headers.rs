//! Headers that no receiver takes.

use super::*;

pub(super) fn bad_headers(cases: &mut Cases) {
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
