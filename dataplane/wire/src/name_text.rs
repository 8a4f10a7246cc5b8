//! Names as text, `/a/b/c`: one text for every name, everything else is refused with its position.

use std::fmt::{self, Write};

use crate::name::{MAX_COMPONENTS, MAX_NAME_LEN, Name, NameBuf};

/// Why a text is not the canonical text of a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("name text, byte {position}: {fault}")]
pub struct NameTextError {
    /// Offset in the text, in bytes.
    pub position: usize,
    /// What is wrong there, and what to write instead.
    pub fault: NameTextFault,
}

/// What is wrong in a [`NameTextError`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameTextFault {
    /// The text does not start with `/`.
    #[error("a name starts with '/'")]
    NoLeadingSlash,
    /// `//`, a trailing `/`, or `/` alone.
    #[error("empty component: write no '//' and no '/' at the end")]
    EmptyComponent,
    /// A byte that must be written as `%XX`.
    #[error("this byte must be written as %XX with upper-case hexadecimal digits")]
    MustEscape,
    /// `%` without two upper-case hexadecimal digits behind it.
    #[error("'%' must be followed by two upper-case hexadecimal digits")]
    BadEscape,
    /// An escape of a byte that stands for itself.
    #[error(
        "this escape stands for a letter, digit, '.', '_', '~' or '-': write the character itself"
    )]
    NeedlessEscape,
    /// More than 16 components.
    #[error("more than 16 components")]
    TooManyComponents,
    /// The encoding would have more than 255 bytes.
    #[error("the name needs more than 255 bytes (one per component, and its own)")]
    TooLong,
}

/// Bytes that stand for themselves (the unreserved set of RFC 3986).
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b'-')
}

/// Writes the text form.
pub(crate) fn format(name: Name<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for component in name.components() {
        f.write_char('/')?;
        for &byte in component {
            if is_plain(byte) {
                f.write_char(char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
    }
    Ok(())
}

/// Reads the text form; the only text accepted for a name is the one that [`format`] writes.
pub(crate) fn parse(text: &str) -> Result<NameBuf, NameTextError> {
    let text = text.as_bytes();
    let fail = |position, fault| Err(NameTextError { position, fault });
    if text.first() != Some(&b'/') {
        return fail(0, NameTextFault::NoLeadingSlash);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut components = 0;
    let mut position = 0;
    while position < text.len() {
        // At a '/': one component follows.
        position += 1;
        if components == MAX_COMPONENTS {
            return fail(position, NameTextFault::TooManyComponents);
        }
        components += 1;
        let length_at = bytes.len();
        bytes.push(0);
        while position < text.len() && text[position] != b'/' {
            let (byte, width) =
                one_byte(&text[position..]).map_err(|fault| NameTextError { position, fault })?;
            if bytes.len() == MAX_NAME_LEN {
                return fail(position, NameTextFault::TooLong);
            }
            bytes.push(byte);
            position += width;
        }
        let length = bytes.len() - length_at - 1;
        if length == 0 {
            return fail(position, NameTextFault::EmptyComponent);
        }
        // The whole is at most 255 bytes, so a component fits its length byte.
        bytes[length_at] = length as u8;
    }
    NameBuf::from_bytes(&bytes).map_err(|e| NameTextError {
        position: e.position,
        fault: NameTextFault::TooLong,
    })
}

/// One byte of a component and the width of its text.
fn one_byte(text: &[u8]) -> Result<(u8, usize), NameTextFault> {
    match text[0] {
        b'%' => {
            let (Some(high), Some(low)) = (hex(text.get(1)), hex(text.get(2))) else {
                return Err(NameTextFault::BadEscape);
            };
            let byte = high << 4 | low;
            if is_plain(byte) {
                return Err(NameTextFault::NeedlessEscape);
            }
            Ok((byte, 3))
        }
        byte if is_plain(byte) => Ok((byte, 1)),
        _ => Err(NameTextFault::MustEscape),
    }
}

fn hex(digit: Option<&u8>) -> Option<u8> {
    match digit? {
        d @ b'0'..=b'9' => Some(d - b'0'),
        d @ b'A'..=b'F' => Some(d - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use NameTextFault::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_canonical_text_is_read() {
        let cases: &[(&str, usize, NameTextFault)] = &[
            ("", 0, NoLeadingSlash),
            ("a/b", 0, NoLeadingSlash),
            ("/", 1, EmptyComponent),
            ("/a//b", 3, EmptyComponent),
            ("/a/", 3, EmptyComponent),
            ("/a b", 2, MustEscape),
            ("/\u{e4}", 1, MustEscape),
            ("/%", 1, BadEscape),
            ("/%2", 1, BadEscape),
            ("/%2f", 1, BadEscape),
            ("/%zz", 1, BadEscape),
            ("/a%41", 2, NeedlessEscape),
        ];
        for &(text, position, fault) in cases {
            assert_eq!(
                NameBuf::parse(text),
                Err(NameTextError { position, fault }),
                "{text:?}"
            );
        }
        assert_eq!(
            NameBuf::parse("/%2F/%00.~_-Z9")
                .expect("canonical")
                .as_bytes(),
            b"\x01/\x07\0.~_-Z9"
        );
    }

    #[test]
    fn limits_are_those_of_the_encoding() {
        assert!(NameBuf::parse(&"/a".repeat(16)).is_ok());
        assert_eq!(
            NameBuf::parse(&"/a".repeat(17)).map_err(|e| (e.position, e.fault)),
            Err((33, TooManyComponents))
        );
        assert!(NameBuf::parse(&format!("/{}", "a".repeat(254))).is_ok());
        let long = NameBuf::parse(&format!("/{}", "a".repeat(255)));
        assert_eq!(long.map_err(|e| (e.position, e.fault)), Err((255, TooLong)));
        let message = NameBuf::parse("/a%41")
            .expect_err("needless escape")
            .to_string();
        assert!(
            message.starts_with("name text, byte 2: this escape"),
            "{message}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn text_and_encoding_are_one_to_one(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 1..12)) {
            let name = NameBuf::from_components(&parts).expect("fits");
            let text = name.to_string();
            prop_assert_eq!(NameBuf::parse(&text).expect("canonical"), name);
        }

        #[test]
        fn accepted_text_prints_as_itself(text in "(/[a-c%/0-9A-F .]{0,6}){0,4}") {
            if let Ok(name) = NameBuf::parse(&text) {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
