//! Quantities as people write them on a command line: `1%`, `30ms`, `100mbit`.

use std::time::Duration;

/// A quantity that cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not {what}; write it like {example}")]
pub struct UnitError {
    text: String,
    what: &'static str,
    example: &'static str,
}

fn split(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    text.split_at(end)
}

/// A probability: `1%`, `0.5%`, or a plain number from 0 to 1.
///
/// # Errors
/// When it is not a number or not between 0 and 1.
pub fn probability(text: &str) -> Result<f64, UnitError> {
    let error = || UnitError {
        text: text.into(),
        what: "a probability",
        example: "1% or 0.01",
    };
    let (number, unit) = split(text);
    let number: f64 = number.parse().map_err(|_| error())?;
    let value = match unit {
        "%" => number / 100.0,
        "" => number,
        _ => return Err(error()),
    };
    if (0.0..=1.0).contains(&value) {
        Ok(value)
    } else {
        Err(error())
    }
}

/// A duration: `30ms`, `250us`, `1s`, `100ns`.
///
/// # Errors
/// When the number or the unit is missing or unknown.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    let error = || UnitError {
        text: text.into(),
        what: "a duration",
        example: "30ms, 250us or 1s",
    };
    let (number, unit) = split(text);
    let number: f64 = number.parse().map_err(|_| error())?;
    let seconds = match unit {
        "ns" => number / 1e9,
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        _ if number == 0.0 => 0.0,
        _ => return Err(error()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| error())
}

/// A rate in bit/s: `100mbit`, `1gbit`, `64kbit`, `0` for no limit.
///
/// # Errors
/// When the number or the unit is missing or unknown.
pub fn rate(text: &str) -> Result<u64, UnitError> {
    let error = || UnitError {
        text: text.into(),
        what: "a rate",
        example: "100mbit, 1gbit, or 0 for no limit",
    };
    let (number, unit) = split(text);
    let number: f64 = number.parse().map_err(|_| error())?;
    let factor = match unit {
        "kbit" => 1e3,
        "mbit" => 1e6,
        "gbit" => 1e9,
        "bit" => 1.0,
        _ if number == 0.0 => 0.0,
        _ => return Err(error()),
    };
    Ok((number * factor) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        assert_eq!(probability("1%"), Ok(0.01));
        assert_eq!(probability("0.25"), Ok(0.25));
        assert!(probability("101%").is_err());
        assert_eq!(duration("30ms"), Ok(Duration::from_millis(30)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert!(duration("30").is_err());
        assert_eq!(rate("100mbit"), Ok(100_000_000));
        assert!(rate("100").is_err());
        assert_eq!(
            rate("fast").unwrap_err().to_string(),
            "\"fast\" is not a rate; write it like 100mbit, 1gbit, or 0 for no limit"
        );
    }
}
