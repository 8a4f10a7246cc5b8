//! Lengths of time on the command line: `250ms`, `1s`, `1.5s`, `2m`.

use std::time::Duration;

/// Parses a length of time; a number without a unit means seconds.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" | "" => 1.0,
        "m" => 60.0,
        other => {
            return Err(format!(
                "unit '{other}' is not known: write 500us, 250ms, 1s or 2m"
            ));
        }
    };
    let number: f64 = number
        .parse()
        .map_err(|_| "expected a number with a unit, such as 250ms or 1s".to_owned())?;
    Duration::try_from_secs_f64(number * scale).map_err(|_| format!("'{text}' is too long a time"))
}

#[cfg(test)]
mod tests {
    use super::parse;
    use std::time::Duration;

    #[test]
    fn units() {
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse("2"), Ok(Duration::from_secs(2)));
        assert_eq!(parse("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse("500us"), Ok(Duration::from_micros(500)));
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        assert!(parse("3h").unwrap_err().contains("'h'"));
        assert!(parse("ms").unwrap_err().contains("number"));
        assert!(parse("1e30").is_err());
        assert!(parse("-1s").is_err());
    }
}
