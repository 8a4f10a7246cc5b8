//! Steps `bad-link` and `bad-http`: a link that loses and delays under HTTP requests, and bad input to an edge beside good.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;

use super::edge::{CALLER, each_call_ends, json, start};
use super::failures::bound;
use super::grpc;
use super::report::Report;
use super::stream::{HttpSpec, Outcome, Stream};
use crate::http::bad::Ended;
use crate::lab::Lab;
use crate::plan::EdgePlan;
use crate::wait;
use crate::wire::settings::Change;

/// On the only shortest way from pod 1 to pod 4.
const LINK: &str = "sr1-sr3";
const HOST: &str = "web.shop.dmsc";
/// A Python gRPC server, in pod 4 as well.
const GRPC_HOST: &str = "quotes.shop.dmsc:80";
/// Calls/s of each kind, and for how long, s.
const RATE: u32 = 100;
const SECONDS: f64 = 3.0;

fn stream(lab: &mut Lab, seconds: f64, post: bool) -> anyhow::Result<Stream> {
    Stream::http(
        lab,
        &HttpSpec {
            pod: CALLER,
            host: HOST,
            rate: RATE,
            seconds,
            post,
            owners: &["pod4"],
        },
    )
}

/// Loss of 1 % and 5 %, and jitter of 50 ms, one after the other; requests that may and that may not be repeated, and unary calls of gRPC with a deadline.
pub fn link(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    let loss = |loss| Change {
        loss: Some(loss),
        ..Change::default()
    };
    let jitter = Change {
        jitter_ns: Some(50_000_000),
        ..Change::default()
    };
    for (what, change) in [
        ("1 % loss", loss(0.01)),
        ("5 % loss", loss(0.05)),
        ("50 ms jitter", jitter),
    ] {
        lab.mend_wire(LINK)?;
        lab.set_wire(LINK, change)?;
        let get = stream(lab, SECONDS, false)?;
        let post = stream(lab, SECONDS, true)?;
        let unary = grpc::pace(lab, GRPC_HOST, RATE, SECONDS)?;
        for (kind, stream) in [("GET", get), ("POST", post), ("gRPC", unary)] {
            let outcome = stream.finish()?;
            each_call_ends(report, &format!("{what}, {kind}"), &outcome);
            report.require(outcome.ended("ok") > 0, || {
                format!("{what}, {kind}: nothing was answered")
            });
            if kind == "GET" {
                report.milliseconds(&format!("{what}: p50"), outcome.percentile_ms(50.0));
                report.milliseconds(&format!("{what}: p99"), outcome.percentile_ms(99.0));
            }
            let slowest = outcome.percentile_ms(100.0).round();
            report.detail(&format!("{what}, {kind}: slowest ms"), slowest);
        }
    }
    lab.mend_wire(LINK)?;
    Ok(())
}

/// An edge may grow by this much under bad input, MB.
const GROWTH_MB: f64 = 96.0;

/// Looks at the memory of processes again and again.
struct MemoryWatch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<f64>>,
}

impl MemoryWatch {
    fn start(processes: Vec<u32>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut most = vec![0.0; processes.len()];
            while !seen.load(Ordering::SeqCst) {
                for (most, id) in most.iter_mut().zip(&processes) {
                    *most = resident_mb(*id).max(*most);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            most
        });
        Self { stop, thread }
    }

    /// The most that each had, MB.
    fn stop(self) -> Vec<f64> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap_or_default()
    }
}

/// Resident memory of a process, MB; 0 if there is no such process.
fn resident_mb(process: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let kb = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    kb.unwrap_or(0.0) / 1_024.0
}

/// Everything that nobody should send, from pod 1, beside requests that are as they should be.
pub fn http(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    let edges = ["sg1", "sg4"];
    let mut processes = Vec::new();
    for node in edges {
        let edge = lab.plan.edge(node)?;
        processes.push(lab.edge(edge)?.id());
    }
    let good = stream(lab, 60.0, false)?;
    good.at(1.0)?;
    let from_ns = wait::monotonic_ns();
    let before: Vec<f64> = processes.iter().map(|id| resident_mb(*id)).collect();
    let memory = MemoryWatch::start(processes);
    let [http, ..] = EdgePlan::OUTBOUND;
    let own = std::env::current_exe()?.display().to_string();
    let command = [
        own.as_str(),
        "http-bad",
        "--http",
        http,
        "--tcp",
        "10.96.0.11:7",
        "--host",
        HOST,
    ];
    let told = start(lab, "bad", &command)?.finish(Duration::from_secs(40));
    let until_ns = wait::monotonic_ns();
    let most = memory.stop();
    wait::pause(Duration::from_millis(500))?;
    let good = good.stop()?;
    let ended: Vec<Ended> =
        serde_json::from_value(json(&told?)?).context("the cases are not understood")?;

    let wrong: Vec<String> = ended
        .iter()
        .filter(|e| !e.ok)
        .map(|e| format!("{}: {} after {} ms", e.case, e.how, e.ms))
        .collect();
    report.figure("cases", ended.len());
    report.figure(
        "ended in their protocol's own way",
        ended.len() - wrong.len(),
    );
    report.detail("how", serde_json::to_value(&ended)?);
    report.require(wrong.is_empty() && !ended.is_empty(), || wrong.join(", "));
    for ((node, before), most) in edges.iter().zip(&before).zip(&most) {
        report.figure(&format!("memory of {node} MB"), most.round());
        report.detail(&format!("memory of {node} before MB"), before.round());
        let grown = most - before;
        bound(report, &format!("growth of {node}, MB,"), grown, GROWTH_MB);
    }
    unharmed(report, &good, from_ns, until_ns);
    for node in edges {
        let edge = lab.plan.edge(node)?;
        lab.edge(edge)?.check()?;
    }
    Ok(())
}

fn unharmed(report: &mut Report, good: &Outcome, from_ns: u64, until_ns: u64) {
    let during = good.due_between(from_ns, until_ns);
    report.figure("good requests meanwhile", during.calls.len());
    report.figure("failed", good.lost());
    report.milliseconds("p50", during.percentile_ms(50.0));
    report.milliseconds("p99", during.percentile_ms(99.0));
    report.require(good.lost() == 0, || {
        format!("good requests failed: {}", good.losses())
    });
}
