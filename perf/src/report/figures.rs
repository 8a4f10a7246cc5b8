//! Results as tables: a name and a text for single figures, however they are nested, and a table of its own for each list.

use serde_json::{Map, Value};

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Where the figure is in the result: `latency_us.p99`.
    pub name: String,
    /// The figure and, if there is one, its range.
    pub text: String,
}

/// Single figures of `result`, in its order.
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
        Value::Array(values) if values.iter().any(Value::is_object) => {} // see `tables`
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

/// A list in a result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct List {
    /// Where it is: `all`, `all.latency`.
    pub name: String,
    /// Fields of its elements; of a list in an element of another: first what names that element.
    pub header: Vec<String>,
    /// An element each.
    pub rows: Vec<Vec<String>>,
}

/// The lists of `result`; those within elements of lists are put together.
pub fn lists(result: &Value) -> Vec<List> {
    let mut lists = Vec::new();
    find_lists("", result, &[], &mut lists);
    lists
}

type Cells = Vec<(String, String)>;

fn find_lists(name: &str, value: &Value, parents: &[(String, String)], lists: &mut Vec<List>) {
    let Some(object) = value.as_object() else {
        return;
    };
    for (field, value) in object {
        let name = match name {
            "" => field.clone(),
            name => format!("{name}.{field}"),
        };
        match value {
            Value::Object(_) => find_lists(&name, value, parents, lists),
            Value::Array(values) if values.iter().any(Value::is_object) => {
                for value in values {
                    let mut cells = Vec::new();
                    let mut rows = Vec::new();
                    collect("", value, &mut rows);
                    cells.extend(rows.into_iter().map(|row| (row.name, row.text)));
                    // Texts name an element, numbers are figures.
                    let texts = |cell: &&(String, String)| value[&cell.0].is_string();
                    let own: Cells = cells.iter().filter(texts).cloned().collect();
                    cells.sort_by_key(|(field, _)| !value[field].is_string());
                    let all = parents.iter().cloned().chain(cells);
                    add(&name, all.collect(), lists);
                    let parents: Cells = parents.iter().cloned().chain(own).collect();
                    find_lists(&name, value, &parents, lists);
                }
            }
            _ => {}
        }
    }
}

fn add(name: &str, cells: Cells, lists: &mut Vec<List>) {
    let index = lists.iter().position(|list| list.name == name);
    let index = index.unwrap_or_else(|| {
        lists.push(List {
            name: name.into(),
            ..List::default()
        });
        lists.len() - 1
    });
    let list = &mut lists[index];
    let mut row = vec![String::new(); list.header.len()];
    for (field, text) in cells {
        match list.header.iter().position(|other| *other == field) {
            Some(place) => row[place] = text,
            None => {
                list.header.push(field);
                row.push(text);
            }
        }
    }
    list.rows.push(row);
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
