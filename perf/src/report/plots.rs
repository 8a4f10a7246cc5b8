//! What is drawn of which measurement.

use std::collections::BTreeMap;

use serde_json::Value;

use super::load::Measurement;
use super::plot::{Plot, Series};
use super::rounds;

/// Forwarding rates against the number of prefixes, of all files of `forward`: a line for each mode, and the peer's; for each kind of
/// ports and length of frames, if there are several.
pub fn prefixes(measurements: &[Measurement]) -> Option<Plot> {
    let forward = measurements.iter().filter(|m| m.name == "forward");
    let points: Vec<&Value> = forward.flat_map(|m| points(&m.result)).collect();
    let kind_of = |point: &Value| match point["frame"].as_str() {
        Some("imix") => format!("{}, imix", text(point, "pmd")),
        Some(bytes) => format!("{}, {bytes} bytes", text(point, "pmd")),
        None => text(point, "pmd").to_owned(),
    };
    let mut kinds: Vec<String> = points.iter().map(|point| kind_of(point)).collect();
    kinds.sort();
    kinds.dedup();
    let mut lines: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for point in points {
        let Some(prefixes) = number(&point["prefixes"]) else {
            continue;
        };
        // The logarithm of none is none; one prefix looks the same.
        let prefixes = prefixes.max(1.0);
        for (mode, field) in [(text(point, "mode"), "mpps"), ("testpmd mac", "peer_mpps")] {
            if let Some(mpps) = number(&point[field]) {
                let line = match kinds.len() {
                    1 => mode.to_owned(),
                    _ => format!("{}: {mode}", kind_of(point)),
                };
                lines.entry(line).or_default().push((prefixes, mpps));
            }
        }
    }
    let series = lines.into_iter().map(|(name, points)| Series {
        name,
        points: middles(points),
    });
    let plot = Plot {
        title: match kinds.as_slice() {
            [kind] => format!("Forwarding rate, {kind}"),
            _ => "Forwarding rate".into(),
        },
        x: "prefixes in the table".into(),
        y: "Mpps".into(),
        log_x: true,
        joined: true,
        series: series.collect(),
    };
    (!plot.is_empty()).then_some(plot)
}

/// The rigs and modes of a run of `forward`.
fn points(result: &Value) -> Vec<&Value> {
    match list(&result["points"]).collect::<Vec<_>>() {
        none if none.is_empty() => vec![result],
        points => points,
    }
}

/// Points by rising x; of several at one x the middle one.
fn middles(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let mut points = points;
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    points
        .chunk_by(|a, b| a.0 == b.0)
        .map(|same| same[same.len() / 2])
        .collect()
}

/// What is drawn of one file.
#[derive(Debug, Clone, Default)]
pub struct Drawn {
    /// In the order of the page.
    pub plots: Vec<Plot>,
    /// Figures of the rounds that have no plot.
    pub left_out: Vec<String>,
}

/// Of one file.
pub fn of(measurement: &Measurement) -> Drawn {
    let own = match measurement.name.as_str() {
        "rfc2544" => rfc2544(&measurement.result),
        "http" => http(&measurement.whole),
        _ => return rounds::of(measurement),
    };
    Drawn {
        plots: own.into_iter().filter(|plot| !plot.is_empty()).collect(),
        left_out: Vec::new(),
    }
}

/// A figure that can be drawn.
pub fn number(value: &Value) -> Option<f64> {
    value.as_f64().filter(|number| number.is_finite())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or("?")
}

/// Rates by length, and latency by load.
fn rfc2544(result: &Value) -> Vec<Plot> {
    let mut rates: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    let mut latency = Vec::new();
    for all in list(&result["all"]) {
        let (pmd, frame, mode) = (text(all, "pmd"), text(all, "frame"), text(all, "mode"));
        if let Ok(bytes) = frame.parse::<f64>() {
            for (name, field) in [("NDR", "ndr_mpps"), ("PDR", "pdr_mpps")] {
                if let Some(mpps) = number(&all[field]) {
                    let line = rates.entry(format!("{pmd} {mode} {name}")).or_default();
                    line.push((bytes, mpps));
                }
            }
        }
        let points = list(&all["latency"])
            .filter_map(|l| Some((number(&l["share"])? * 100.0, number(&l["us"]["p99"])?)));
        latency.push(Series {
            name: format!("{pmd} {frame} {mode}"),
            points: points.collect(),
        });
    }
    let series = rates.into_iter().map(|(name, points)| Series {
        name,
        points: middles(points),
    });
    vec![
        Plot {
            title: "Rate by length of frames".into(),
            x: "bytes".into(),
            y: "Mpps".into(),
            log_x: true,
            joined: true,
            series: series.collect(),
        },
        Plot {
            title: "Latency by load".into(),
            x: "% of PDR".into(),
            y: "p99, µs".into(),
            log_x: false,
            joined: true,
            series: latency,
        },
    ]
}

/// CPU time that each column adds to a call, by rate.
fn http(whole: &Value) -> Vec<Plot> {
    let mut plots: BTreeMap<&str, Vec<Series>> = BTreeMap::new();
    for summary in list(&whole["summary"]) {
        let points = list(&summary["curve"]).filter_map(|point| {
            Some((
                number(&point["rate"])?,
                number(&point["added_us"]["median"])?,
            ))
        });
        let series = Series {
            name: text(summary, "column").into(),
            points: points.collect(),
        };
        plots
            .entry(text(summary, "protocol"))
            .or_default()
            .push(series);
    }
    plots
        .into_iter()
        .map(|(protocol, series)| Plot {
            title: format!("CPU time added to a call, {protocol}"),
            x: "calls per second".into(),
            y: "µs per call".into(),
            log_x: true,
            joined: true,
            series,
        })
        .collect()
}
