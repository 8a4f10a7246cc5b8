//! Names that no receiver takes.

use super::*;

pub(super) fn bad_names(cases: &mut Cases) {
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
        "missing-name",
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
