//! What steps with unmodified programs share: they run in pods, over the edges of the lab.

use std::time::Duration;

use anyhow::Context;

use super::report::Report;
use super::stream::Outcome;
use crate::lab::Lab;
use crate::net;
use crate::process::{Process, Share};

/// Pod of the callers.
pub const CALLER: &str = "pod1";

/// Runs a program in pod 1 to its end and returns what it printed.
pub fn run(lab: &mut Lab, name: &str, command: &[&str], limit: Duration) -> anyhow::Result<String> {
    start(lab, name, command)?.finish(limit)
}

/// Starts a program in pod 1; its output can be collected.
pub fn start(lab: &mut Lab, name: &str, command: &[&str]) -> anyhow::Result<Process> {
    let pod = lab.plan.pod(CALLER)?;
    // Proxies of whoever runs the lab are not those of its pods.
    let mut all: Vec<String> = [
        "env",
        "-u",
        "http_proxy",
        "-u",
        "HTTP_PROXY",
        "-u",
        "ALL_PROXY",
    ]
    .map(String::from)
    .to_vec();
    all.extend(command.iter().map(ToString::to_string));
    lab.start_in_pod(pod, name, all, Share::Plain)
}

/// The figures of HTTP calls, and the rule for all of them: each is answered, or fails with a clear error, within its time-out; none is answered wrongly.
pub fn each_call_ends(report: &mut Report, what: &str, outcome: &Outcome) {
    let (refused, broken, late) = (
        outcome.ended("error:"),
        outcome.ended("broken:"),
        outcome.ended("late"),
    );
    let label = |figure: &str| format!("{what}{}{figure}", if what.is_empty() { "" } else { ": " });
    report.figure(&label("answered"), outcome.ended("ok"));
    report.figure(&label("failed with a clear error"), refused);
    report.detail(&label("broken"), broken);
    report.detail(&label("late"), late);
    report.require(broken + late == 0, || {
        format!(
            "{}: neither answered nor failed with a clear error: {}",
            label("calls"),
            outcome.losses()
        )
    });
    report.require(outcome.wrong() == 0, || {
        format!(
            "{} wrong: answers came from {:?}",
            label("calls"),
            outcome.by_instance()
        )
    });
}

/// What the edge of `node` tells its operator: `what` is "connections" or "services".
///
/// # Errors
/// When it does not answer, or not with a list of those.
pub fn shown(lab: &Lab, node: &str, what: &str) -> anyhow::Result<Vec<serde_json::Value>> {
    let socket = lab.paths().edge_operator(node).display().to_string();
    let ctl = lab.programs.path("dmscctl");
    let text = net::run(&ctl, &["--edge", &socket, "show", what, "--json"])?;
    let list = json(&text)?[what].as_array().cloned();
    list.with_context(|| format!("no {what} in {text:.200}"))
}

/// From a JSON document that a program printed.
pub fn json(text: &str) -> anyhow::Result<serde_json::Value> {
    let from = text.find(['{', '[']).unwrap_or(0);
    serde_json::from_str(text[from..].trim()).with_context(|| format!("no JSON: {text:.200}"))
}

/// The number after `before` in what a program printed.
pub fn number_after(text: &str, before: &str) -> Option<f64> {
    let rest = text.split_once(before)?.1.trim_start();
    let end = rest
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(rest.len());
    rest[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_text() {
        let text = "finished in 1.07s, 9379.62 req/s, 11MB/s\nRequests/sec:  812.5\n";
        assert_eq!(number_after(text, "Requests/sec:"), Some(812.5));
        assert_eq!(number_after(text, "s, "), Some(9379.62));
        assert_eq!(number_after(text, "nothing"), None);
    }
}
