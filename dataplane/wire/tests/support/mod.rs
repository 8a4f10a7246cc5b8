//! Reads `vectors.txt`, for the tests.

use std::collections::BTreeMap;

/// One block of the file.
pub struct Vector {
    /// Its name.
    pub name: String,
    /// The packet.
    pub bytes: Vec<u8>,
    /// `valid`, `accepted`, or the reason of `invalid`.
    pub verdict: Result<bool, String>,
    /// Its fields; of an invalid packet none.
    pub fields: BTreeMap<String, String>,
}

/// The committed file.
pub const TEXT: &str = include_str!("../../vectors.txt");

/// All blocks of the file; panics with the line on a mistake in it.
pub fn vectors() -> Vec<Vector> {
    let mut all: Vec<Vector> = Vec::new();
    for (number, line) in TEXT.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        if key == "vector" {
            all.push(Vector {
                name: value.to_owned(),
                bytes: Vec::new(),
                verdict: Err("no verdict".to_owned()),
                fields: BTreeMap::new(),
            });
            continue;
        }
        let vector = all
            .last_mut()
            .unwrap_or_else(|| panic!("line {}: no vector", number + 1));
        match key {
            "hex" => vector.bytes.extend(unhex(value)),
            "valid" => vector.verdict = Ok(true),
            "accepted" => vector.verdict = Ok(false),
            "invalid" => vector.verdict = Err(value.to_owned()),
            _ => {
                let before = vector.fields.insert(key.to_owned(), value.to_owned());
                assert_eq!(before, None, "line {}: {key} twice", number + 1);
            }
        }
    }
    all
}

/// Bytes of hexadecimal digits.
pub fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "odd hex {text:?}");
    let pair = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hex digits");
    (0..text.len()).step_by(2).map(pair).collect()
}
