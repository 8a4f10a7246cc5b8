//! Step `programs`: wrk, h2load, a WebSocket pair and iperf3, as they come; and nginx that says it is not well.

use std::time::Duration;

use super::edge::{json, number_after, run};
use super::illness;
use super::report::Report;
use crate::lab::{Lab, PYTHON};

const LIMIT: Duration = Duration::from_secs(40);
/// Requests of each h2load.
const REQUESTS: u64 = 10_000;

pub fn all(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    wrk(lab, report)?;
    h2load(
        lab,
        report,
        "HTTP/1.1",
        &["--h1", "-c", "8"],
        "http://web.shop.dmsc/page",
    )?;
    h2load(
        lab,
        report,
        "HTTP/2",
        &["-c", "4", "-m", "16"],
        "http://fast.shop.dmsc/page",
    )?;
    websocket(lab, report)?;
    iperf(lab, report)?;
    illness::ill_and_well(lab, report)
}

fn wrk(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    let command = [
        "wrk",
        "-t1",
        "-c16",
        "-d3s",
        "--latency",
        "http://web.shop.dmsc/page",
    ];
    let text = run(lab, "wrk", &command, LIMIT)?;
    let rate = number_after(&text, "Requests/sec:").unwrap_or(0.0);
    report.figure("wrk requests/s", rate.round());
    for (percent, figure) in [("50%", "wrk p50"), ("99%", "wrk p99")] {
        report.detail(figure, after_word(&text, percent));
    }
    report.require(rate > 0.0, || format!("wrk: {text}"));
    no_errors(report, &text);
    Ok(())
}

/// What follows a word on its line.
fn after_word(text: &str, word: &str) -> String {
    let mut words = text.split_whitespace().skip_while(|w| *w != word);
    words.nth(1).unwrap_or("?").to_string()
}

/// wrk tells of errors in lines of their own.
pub fn no_errors(report: &mut Report, text: &str) {
    for complaint in ["Socket errors", "Non-2xx"] {
        report.require(!text.contains(complaint), || format!("wrk: {text}"));
    }
}

fn h2load(
    lab: &mut Lab,
    report: &mut Report,
    protocol: &str,
    options: &[&str],
    url: &str,
) -> anyhow::Result<()> {
    let count = REQUESTS.to_string();
    let mut command = vec!["h2load", "-t", "1", "-n", &count];
    command.extend(options);
    command.push(url);
    let text = run(lab, "h2load", &command, LIMIT)?;
    let finished = text.lines().find(|l| l.starts_with("finished in"));
    let rate = finished.and_then(|line| number_after(line, "s, "));
    report.figure(
        &format!("h2load {protocol} requests/s"),
        rate.unwrap_or(0.0).round(),
    );
    let whole = text.contains(&format!(
        "{REQUESTS} succeeded, 0 failed, 0 errored, 0 timeout"
    )) && text.contains(&format!("{REQUESTS} 2xx"));
    report.require(whole, || format!("h2load {protocol}: {text}"));
    Ok(())
}

fn websocket(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    let script = lab.script("websocket.py").display().to_string();
    let command = [PYTHON, &script, "call", "ws://chat.shop.dmsc/", "1000"];
    let told = json(&run(lab, "websocket", &command, LIMIT)?)?;
    report.figure("WebSocket messages", told["messages"].clone());
    report.milliseconds("WebSocket p50", told["p50_ms"].as_f64().unwrap_or(f64::NAN));
    let whole = told["messages"] == 1_000
        && told["wrong"] == 0
        && told["large"] == true
        && told["pong"] == true
        && told["close_code"] == 1_000;
    report.require(whole, || format!("WebSocket: {told}"));
    Ok(())
}

fn iperf(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    for (figure, more) in [
        ("iperf3 to pod 4", &["-c", "bulk.shop.dmsc"][..]),
        ("iperf3 from pod 4", &["-c", "bulk.shop.dmsc", "--reverse"]),
        // By an address that stands for the name.
        ("iperf3 by address", &["-c", "10.96.0.12"]),
    ] {
        let mut command = vec!["iperf3", "--json", "--time", "2", "--port", "5201"];
        command.extend(more);
        let told = json(&run(lab, "iperf3", &command, LIMIT)?)?;
        let bits = told["end"]["sum_received"]["bits_per_second"].as_f64();
        let bits = bits.unwrap_or(0.0);
        report.figure(&format!("{figure} Mbit/s"), (bits / 1e6).round());
        report.require(bits > 1e6, || {
            format!(
                "{figure}: {}",
                told["error"].as_str().unwrap_or("nothing received")
            )
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_on_their_line() {
        let text = "  Latency Distribution\n     50%  635.00us\n     99%    2.15ms\n";
        assert_eq!(after_word(text, "50%"), "635.00us");
        assert_eq!(after_word(text, "99%"), "2.15ms");
        assert_eq!(after_word(text, "75%"), "?");
    }
}
