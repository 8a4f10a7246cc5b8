//! The page: everything in one file, nothing from a network.

use std::fmt::Write as _;

use super::figures::{self, List, Row};
use super::load::Measurement;
use super::{plot, plots};

const STYLE: &str = "
body { font: 15px/1.45 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222; }
h1 { font-size: 1.5em; } h2 { font-size: 1.25em; margin-top: 2.2em; border-top: 1px solid #ddd; padding-top: .8em; }
table { border-collapse: collapse; margin: .8em 0; }
td, th { text-align: left; vertical-align: top; padding: .15em .9em .15em 0; border-bottom: 1px solid #eee; }
td.figure { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code { background: #f4f4f4; padding: .1em .3em; overflow-wrap: anywhere; }
h3 { font-size: 1em; margin-bottom: 0; } .wide { overflow-x: auto; font-size: 13px; } .wide td { white-space: nowrap; }
.incomplete { color: #a40000; } .left-out { font-size: 13px; } svg { max-width: 100%; height: auto; }
";

/// The whole page.
///
/// # Errors
/// When a plot cannot be drawn.
pub fn page(measurements: &[Measurement]) -> anyhow::Result<String> {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>DMSC measurements</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>DMSC (Distributed Micro Service Communication): measurements</h1>\n"
    );
    if let Some(plot) = plots::prefixes(measurements) {
        out.push_str(&plot::draw(&plot)?);
    }
    out.push_str(&overview(measurements));
    for (number, measurement) in measurements.iter().enumerate() {
        out.push_str(&section(number, measurement)?);
    }
    out.push_str("</body>\n</html>\n");
    Ok(out)
}

/// All files in a table, with what stands first in their results.
fn overview(measurements: &[Measurement]) -> String {
    let mut out = String::from(
        "<table>\n<tr><th>measurement</th><th>figures</th><th>command</th><th>machine</th></tr>\n",
    );
    for (number, measurement) in measurements.iter().enumerate() {
        let mut rows = figures::rows(&measurement.result);
        // What stands for all comes before parts.
        rows.sort_by_key(|row| row.name.matches('.').count());
        let first: Vec<String> = rows
            .iter()
            .take(6)
            .map(|row| format!("{} {}", escape(&row.name), escape(&row.text)))
            .collect();
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "<tr><td><a href=\"#m{number}\">{}</a></td><td>{}</td><td><code>{}</code></td><td>{}</td></tr>",
            escape(&measurement.name),
            first.join("<br>"),
            escape(&measurement.command),
            escape(&machine(measurement)),
        );
    }
    out + "</table>\n"
}

/// CPU, kernel and DPDK in a line.
fn machine(measurement: &Measurement) -> String {
    let words = ["cpu", "kernel", "dpdk"].iter().filter_map(|wanted| {
        let field = measurement.machine.iter().find(|(name, _)| name == wanted);
        field.map(|(_, text)| text.as_str())
    });
    words.collect::<Vec<_>>().join(", ")
}

fn section(number: usize, measurement: &Measurement) -> anyhow::Result<String> {
    let mut out = format!(
        "<h2 id=\"m{number}\">{}: {}</h2>\n<p><code>{}</code></p>\n",
        escape(&measurement.name),
        escape(&measurement.file),
        escape(&measurement.command)
    );
    if !measurement.complete {
        out.push_str("<p class=\"incomplete\">Ended before all rounds were measured.</p>\n");
    }
    out.push_str(&table(&figures::rows(&measurement.result), "figure"));
    for list in figures::lists(&measurement.result) {
        out.push_str(&list_table(&list));
    }
    let drawn = plots::of(measurement);
    for plot in &drawn.plots {
        out.push_str(&plot::draw(plot)?);
    }
    if !drawn.left_out.is_empty() {
        let names: Vec<String> = drawn.left_out.iter().map(|name| escape(name)).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "<p class=\"left-out\">In the rounds, without a plot: {}.</p>",
            names.join(", ")
        );
    }
    let machine: Vec<Row> = measurement
        .machine
        .iter()
        .map(|(name, text)| Row {
            name: name.clone(),
            text: text.clone(),
        })
        .collect();
    out.push_str(&table(&machine, "machine"));
    Ok(out)
}

fn table(rows: &[Row], class: &str) -> String {
    let mut out = String::from("<table>\n");
    for row in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td class=\"{class}\">{}</td></tr>",
            escape(&row.name),
            escape(&row.text)
        );
    }
    out + "</table>\n"
}

fn list_table(list: &List) -> String {
    let line = |cells: &[String], tag: &str| {
        let cells = cells
            .iter()
            .map(|cell| format!("<{tag}>{}</{tag}>", escape(cell)));
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let rows = list.rows.iter().map(|row| line(row, "td"));
    format!(
        "<h3>{}</h3>\n<div class=\"wide\"><table>\n{}{}</table></div>\n",
        escape(&list.name),
        line(&list.header, "th"),
        rows.collect::<String>()
    )
}

/// Text as HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
