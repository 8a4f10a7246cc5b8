//! How single values are written: names, numbers of packets, times, ratios.

use dmsc_wire::{Name, NameBuf};
use time::OffsetDateTime;

/// A name in text form; bytes that are no canonical name are shown in hexadecimal, and nothing as `-`.
pub fn name(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "-".to_owned();
    }
    match Name::from_bytes(bytes) {
        Ok(name) => name.to_string(),
        Err(_) => format!("0x{} (not canonical)", hexadecimal(bytes)),
    }
}

/// Two digits per byte.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As [`name`], for JSON: `null` where there is none.
pub fn name_or_null(bytes: &[u8]) -> Option<String> {
    (!bytes.is_empty()).then(|| name(bytes))
}

/// The text, or `-` when there is none.
pub fn or_dash(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}

/// The number, or `-` when it is zero and zero means "none".
pub fn or_none(number: impl Into<u64>) -> String {
    match number.into() {
        0 => "-".to_owned(),
        number => number.to_string(),
    }
}

/// Several things after one another, or `-`.
pub fn joined<T: std::fmt::Display>(things: impl IntoIterator<Item = T>) -> String {
    let texts: Vec<String> = things.into_iter().map(|thing| thing.to_string()).collect();
    or_dash(&texts.join(","))
}

/// A ratio that may be undefined, with `digits` after the point.
pub fn figure(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// Nanoseconds as milliseconds with three digits.
pub fn milliseconds(nanoseconds: u64) -> String {
    format!("{:.3}", nanoseconds as f64 / 1e6)
}

/// Nanoseconds as microseconds with one digit.
pub fn microseconds(nanoseconds: u64) -> String {
    format!("{:.1}", nanoseconds as f64 / 1e3)
}

/// "yes" or "no".
pub fn yes(condition: bool) -> String {
    if condition { "yes" } else { "no" }.to_owned()
}

/// A link-state sequence: boot epoch, counter.
pub fn sequence(sequence: u64) -> String {
    format!("{}.{}", sequence >> 32, sequence & 0xffff_ffff)
}

/// "in 90 s" or "90 s ago".
pub fn remaining(seconds: i64) -> String {
    if seconds < 0 {
        format!("{} s ago", seconds.unsigned_abs())
    } else {
        format!("in {seconds} s")
    }
}

/// Milliseconds since 1970 as date and time, UTC.
pub fn wall_clock(ms: u64) -> String {
    format!("{}.{:03}", date(ms / 1_000), ms % 1_000)
}

/// Seconds since 1970 as date and time, UTC. The number may come from a file: years end at 9999.
pub fn date(seconds: u64) -> String {
    let at = i64::try_from(seconds).ok();
    match at.and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok()) {
        Some(at) => format!(
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second()
        ),
        None => "after 9999-12-31 23:59:59".to_owned(),
    }
}

/// Reads a name from the command line; a mistake is shown under the character where it is.
///
/// # Errors
/// The mistake, its position and a picture of it.
pub fn parse_name(text: &str) -> Result<NameBuf, String> {
    NameBuf::parse(text).map_err(|error| {
        let column = text
            .char_indices()
            .take_while(|(index, _)| *index < error.position)
            .count();
        format!(
            "{error}\n  {text}\n  {:column$}^ here; a name looks like /shop/cart/v1",
            ""
        )
    })
}

/// Reads a flow label: decimal, or hexadecimal after `0x`.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse_flow(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "expected a flow label: 0 to 4294967295, or 0x and hexadecimal".to_owned())
}

/// Gateway and attachment that a call is pinned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Node id of the gateway.
    pub gateway: u32,
    /// Attachment there; 0 = any.
    pub attachment: u16,
}

/// Reads `GW` or `GW:ATT`.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse_pin(text: &str) -> Result<Pin, String> {
    let (gateway, attachment) = text.split_once(':').unwrap_or((text, "0"));
    let gateway = gateway.parse().ok().filter(|&gateway| gateway != 0);
    match (gateway, attachment.parse()) {
        (Some(gateway), Ok(attachment)) => Ok(Pin {
            gateway,
            attachment,
        }),
        _ => Err("expected GATEWAY or GATEWAY:ATTACHMENT in numbers, such as 4 or 4:17".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_text_form() {
        assert_eq!(name(b"\x04shop\x01a"), "/shop/a");
        assert_eq!(name(b""), "-");
        assert_eq!(name(b"\x09a"), "0x0961 (not canonical)");
        assert_eq!(name_or_null(b""), None);
    }

    #[test]
    fn a_mistake_in_a_name_is_pointed_at() {
        let error = parse_name("/shop//b").unwrap_err();
        assert!(error.contains("  /shop//b\n"), "{error}");
        let caret = error.lines().last().expect("picture").find('^');
        assert!(caret.is_some_and(|at| (7..=8).contains(&at)), "{error}");
        assert!(parse_name("shop").is_err());
        assert_eq!(
            parse_name("/shop/b").expect("a name").to_string(),
            "/shop/b"
        );
    }

    #[test]
    fn times_and_sequences() {
        assert_eq!(wall_clock(0), "1970-01-01 00:00:00.000");
        assert_eq!(wall_clock(951_782_400_000), "2000-02-29 00:00:00.000");
        assert_eq!(wall_clock(1_735_689_599_999), "2024-12-31 23:59:59.999");
        assert_eq!(sequence((3 << 32) | 17), "3.17");
        assert_eq!(remaining(-5), "5 s ago");
        assert_eq!(remaining(0), "in 0 s");
    }

    #[test]
    fn pins_and_flows() {
        let pin = |gateway, attachment| Pin {
            gateway,
            attachment,
        };
        assert_eq!(parse_pin("4"), Ok(pin(4, 0)));
        assert_eq!(parse_pin("4:17"), Ok(pin(4, 17)));
        for wrong in ["0", "x", "4:", "4:70000", ":1"] {
            assert!(parse_pin(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_flow("0xff"), Ok(255));
        assert_eq!(parse_flow("7"), Ok(7));
        assert!(parse_flow("-1").is_err());
    }

    #[test]
    fn figures() {
        assert_eq!(figure(None, 1), "-");
        assert_eq!(figure(Some(1.25), 1), "1.2");
        assert_eq!(milliseconds(1_234_567), "1.235");
        assert_eq!(microseconds(1_234), "1.2");
        assert_eq!(joined::<u32>([]), "-");
        assert_eq!(joined([1, 2]), "1,2");
    }
}
