//! Results as rows of a table: a name and a text, however the result is nested.

use serde_json::{Map, Value};

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Where the figure is in the result: `latency_us.p99`, `all[memif 128 name].pdr_mpps`.
    pub name: String,
    /// The figure and, if there is one, its range.
    pub text: String,
}

/// Rows of `result`, in its order.
pub fn rows(result: &Value) -> Vec<Row> {
    let mut rows = Vec::new();
    collect("", result, &mut rows);
    rows
}

fn collect(name: &str, value: &Value, rows: &mut Vec<Row>) {
    match value {
        Value::Object(object) if !is_spread(object) => {
            for (field, value) in object {
                if is_bound_of_another(field, object) {
                    continue;
                }
                let name = match name {
                    "" => field.clone(),
                    name => format!("{name}.{field}"),
                };
                let bound = |end: &str| object.get(&format!("{field}{end}"))?.as_f64();
                match (value.as_f64(), bound("_min"), bound("_max")) {
                    (Some(middle), Some(min), Some(max)) => rows.push(Row {
                        name,
                        text: range(middle, min, max),
                    }),
                    _ => collect(&name, value, rows),
                }
            }
        }
        Value::Array(values) if values.iter().any(Value::is_object) => {
            for (index, value) in values.iter().enumerate() {
                let label = label(value).unwrap_or_else(|| index.to_string());
                collect(&format!("{name}[{label}]"), value, rows);
            }
        }
        Value::Null => {}
        value => rows.push(Row {
            name: name.into(),
            text: plain(value),
        }),
    }
}

/// `ratio_min` beside `ratio`.
fn is_bound_of_another(field: &str, object: &Map<String, Value>) -> bool {
    let stem = field
        .strip_suffix("_min")
        .or_else(|| field.strip_suffix("_max"));
    stem.is_some_and(|stem| object.get(stem).is_some_and(Value::is_number))
}

fn is_spread(object: &Map<String, Value>) -> bool {
    ["median", "min", "max"]
        .iter()
        .all(|field| object.get(*field).is_some_and(Value::is_number))
}

/// What tells an element of a list from the others: its texts, else its first number.
fn label(value: &Value) -> Option<String> {
    let object = value.as_object()?;
    let texts: Vec<&str> = object.values().filter_map(Value::as_str).collect();
    if texts.is_empty() {
        return object.values().find(|v| v.is_number()).map(plain);
    }
    // Long texts explain, they do not name.
    let short: Vec<&str> = texts
        .into_iter()
        .filter(|t| t.len() <= 24)
        .take(4)
        .collect();
    (!short.is_empty()).then(|| short.join(" "))
}

/// A value in a line.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => "–".into(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::Number(number) => pretty(number.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(object) => {
            let number = |field: &str| object.get(field).and_then(Value::as_f64);
            match (number("median"), number("min"), number("max")) {
                (Some(median), Some(min), Some(max)) => range(median, min, max),
                _ => {
                    let fields = object
                        .iter()
                        .map(|(field, v)| format!("{field} {}", plain(v)));
                    fields.collect::<Vec<_>>().join(", ")
                }
            }
        }
    }
}

fn range(middle: f64, min: f64, max: f64) -> String {
    format!("{} ({} … {})", pretty(middle), pretty(min), pretty(max))
}

/// Four significant digits; thousands are set apart.
pub fn pretty(number: f64) -> String {
    if !number.is_finite() {
        return "–".into();
    }
    let size = number.abs();
    if size >= 1_000.0 || (number.fract() == 0.0 && size < 1e15) {
        let digits = format!("{:.0}", number.abs());
        let mut text = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        return if number < 0.0 {
            format!("−{text}")
        } else {
            text
        };
    }
    let digits = if size == 0.0 {
        0
    } else {
        (3 - size.log10().floor() as i32).clamp(0, 9) as usize
    };
    let text = format!("{number:.digits$}");
    text.trim_end_matches('0')
        .trim_end_matches('.')
        .replace('-', "−")
}
