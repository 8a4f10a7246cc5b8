//! Step `grpc`: a Python client calls a Rust server that is on names by itself, and a Python server behind another edge.

use std::time::Duration;

use super::edge::{json, run, start};
use super::report::Report;
use super::stream::{PATIENCE, Stream};
use crate::lab::{Lab, PYTHON};
use crate::wait::monotonic_ns;

const LIMIT: Duration = Duration::from_secs(60);

struct Calls {
    to: &'static str,
    host: &'static str,
    unary: u64,
    messages: u64,
}

/// 10,000 unary calls and a bidirectional stream to Rust; fewer to Python.
pub fn both(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    for calls in [
        Calls {
            to: "Rust",
            host: "greeter.shop.dmsc:80",
            unary: 10_000,
            messages: 1_000,
        },
        Calls {
            to: "Python",
            host: "quotes.shop.dmsc:80",
            unary: 2_000,
            messages: 500,
        },
    ] {
        of(lab, report, &calls)?;
    }
    Ok(())
}

fn of(lab: &mut Lab, report: &mut Report, calls: &Calls) -> anyhow::Result<()> {
    let Calls {
        to,
        host,
        unary,
        messages,
    } = calls;
    let script = lab.script("greeter.py").display().to_string();
    let (count, stream) = (unary.to_string(), messages.to_string());
    let command = [PYTHON, &script, "call", host, &count, "16", &stream];
    let told = json(&run(lab, "grpc", &command, LIMIT)?)?;
    let number = |value: &serde_json::Value| value.as_f64().unwrap_or(f64::NAN);
    report.figure(&format!("Python to {to}: unary ok"), told["ok"].clone());
    report.milliseconds(&format!("{to} p50"), number(&told["p50_ms"]));
    report.milliseconds(&format!("{to} p99"), number(&told["p99_ms"]));
    report.detail(&format!("{to} calls per s"), told["calls_per_s"].clone());
    report.figure(
        &format!("{to} stream messages"),
        told["stream"]["messages"].clone(),
    );
    report.milliseconds(
        &format!("{to} stream round trip"),
        number(&told["stream"]["ms_each"]),
    );
    report.require(told["ok"].as_u64() == Some(*unary), || {
        format!("not all unary calls to {to} were answered rightly: {told}")
    });
    let stream = &told["stream"];
    let whole = stream["messages"].as_u64() == Some(*messages)
        && stream["wrong"].as_u64() == Some(0)
        && stream["failed"].is_null();
    report.require(whole, || format!("the stream to {to}: {stream}"));
    Ok(())
}

/// Unary calls from pod 1 to a Python server, each with a deadline, at a steady rate whatever became of those before. Answers do not say who gave them.
///
/// # Errors
/// When they do not start.
pub fn pace(lab: &mut Lab, host: &str, rate: u32, seconds: f64) -> anyhow::Result<Stream> {
    let script = lab.script("greeter.py").display().to_string();
    let records = lab.path().join(format!("records-{}", monotonic_ns()));
    let command = [
        PYTHON,
        &script,
        "pace",
        host,
        &rate.to_string(),
        &seconds.to_string(),
        &PATIENCE.to_string(),
        &records.display().to_string(),
    ];
    let process = start(lab, "grpc", &command)?;
    Stream::started(process, records, seconds, vec!["-".into()])
}
