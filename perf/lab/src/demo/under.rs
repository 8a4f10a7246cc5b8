//! Step `curl-under-failure`: a link, an instance, an edge and control planes die under HTTP requests; each is answered or fails with a clear error.

use std::time::Duration;

use anyhow::Context;

use super::edge::{CALLER, each_call_ends, number_after, start};
use super::failures::bound;
use super::report::Report;
use super::stream::{HttpSpec, Outcome, Stream};
use super::upgrade::dark_ms;
use super::wrk::SocketErrors;
use crate::file::Program;
use crate::lab::Lab;
use crate::wait::{self, monotonic_ns};
use crate::wire::settings::Change;

/// Served by nginx in pod 2 and pod 4, equally far from pod 1; and by the one in pod 4 only.
const HOST: &str = "offers.shop.dmsc";
const OWNERS: &[&str] = &["pod2", "pod4"];
const ONLY_HOST: &str = "web.shop.dmsc";
const ONLY_OWNER: &[&str] = &["pod4"];
/// Calls/s to each, beside those of wrk.
const RATE: u32 = 100;
/// Calls end when everything was seen, or after this, s.
const LONGEST: f64 = 90.0;
/// An instance is dark for at most this long, ms.
const DARK_MS: f64 = 1_000.0;
/// Between two failures.
const CALM: Duration = Duration::from_millis(800);
/// Longer than any call takes when nothing is broken.
const APART: Duration = Duration::from_millis(200);
/// How long something stays broken.
const BROKEN: Duration = Duration::from_millis(1_500);

/// What was broken, ns of the monotonic clock.
struct Failure {
    what: &'static str,
    from_ns: u64,
    /// It was whole again.
    mended_ns: u64,
    /// The next failure had not begun.
    until_ns: u64,
    /// The only instance was away.
    away: bool,
}

/// All requests of both hosts are judged; wrk calls beside them as fast as two connections let it.
pub fn run(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    let mut streams = Vec::new();
    for (host, owners) in [(HOST, OWNERS), (ONLY_HOST, ONLY_OWNER)] {
        let spec = HttpSpec {
            pod: CALLER,
            host,
            rate: RATE,
            seconds: LONGEST,
            post: false,
            owners,
        };
        streams.push(Stream::http(lab, &spec)?);
    }
    let (url, duration) = (format!("http://{HOST}/page"), format!("-d{LONGEST}s"));
    let command = [
        "wrk",
        "-t1",
        "-c2",
        &duration,
        "--timeout",
        "8s",
        "--latency",
        &url,
    ];
    let mut wrk = start(lab, "wrk", &command)?;
    let failures = break_things(lab)?;
    let mut outcomes = Vec::new();
    for stream in streams {
        outcomes.push(stream.stop()?);
    }
    // wrk, too, ends early and tells what it has so far.
    wrk.check()?;
    wrk.signal(nix::sys::signal::Signal::SIGINT);
    let told = wrk.finish(Duration::from_secs(15))?;

    let [two, only] = &outcomes[..] else {
        anyhow::bail!("there are two streams");
    };
    each_call_ends(report, "two instances", two);
    report.milliseconds("p50", two.percentile_ms(50.0));
    report.milliseconds("p99", two.percentile_ms(99.0));
    each_call_ends(report, "one instance", only);
    for failure in &failures {
        judge(report, failure, two, only);
    }
    for instance in OWNERS {
        let count = two.by_instance().get(instance).copied().unwrap_or(0);
        report.detail(&format!("by {instance}"), count);
        report.require(count > 0, || format!("nothing was answered by {instance}"));
    }
    of_wrk(report, &told)
}

/// One after the other, each mended before the next.
fn break_things(lab: &mut Lab) -> anyhow::Result<Vec<Failure>> {
    let mut failures = Vec::new();
    let mut add = |what, from_ns, away| {
        let mended_ns = monotonic_ns();
        wait::pause(CALM)?;
        let until_ns = monotonic_ns();
        // What is under way now is answered before the next failure begins.
        wait::pause(APART)?;
        failures.push(Failure {
            what,
            from_ns,
            mended_ns,
            until_ns,
            away,
        });
        anyhow::Ok(())
    };
    wait::pause(CALM)?;

    // The link that calls to pod 4 take, silently.
    let change = |cut| Change {
        cut: Some(cut),
        ..Change::default()
    };
    let from_ns = lab.set_wire("sr1-sr3", change(true))?.at_ns;
    wait::pause(BROKEN)?;
    lab.set_wire("sr1-sr3", change(false))?;
    lab.wait_for_adjacencies(Duration::from_secs(5))?;
    add("link cut", from_ns, false)?;

    // An instance: the program behind the edge of pod 4.
    let from_ns = lab.workload("pod4", Program::Nginx)?.kill_hard();
    wait::pause(BROKEN)?;
    lab.start_edges()?;
    add("nginx killed", from_ns, true)?;

    // Edges are replaced: of the server, then of the caller.
    for (node, what) in [
        ("sg4", "server's edge replaced"),
        ("sg1", "caller's edge replaced"),
    ] {
        let edge = lab.plan.edge(node)?;
        let from_ns = monotonic_ns();
        lab.take_over_edge(edge)?;
        add(what, from_ns, false)?;
    }

    // Dataplanes of their gateways are replaced: the memory that edges share with them goes, and comes back.
    let from_ns = monotonic_ns();
    for node in ["sg4", "sg1"] {
        lab.take_over_dataplane(lab.plan.node(node)?)?;
    }
    lab.wait_for_shared(&lab.shared_edge_pods())?;
    add("gateways replaced", from_ns, false)?;

    // The server's edge dies, with its instance.
    let sg4 = lab.plan.edge("sg4")?;
    let from_ns = lab.edge(sg4)?.kill_hard();
    wait::pause(BROKEN)?;
    lab.restart_edge(sg4)?;
    add("server's edge killed", from_ns, true)?;

    // Control planes of a router on the way and of the server's gateway.
    let nodes = [lab.plan.node("sr1")?, lab.plan.node("sg4")?];
    let from_ns = monotonic_ns();
    for node in nodes {
        let controller = lab.routers[node].controller.as_mut();
        controller
            .context("there is no control plane to kill")?
            .kill_hard();
    }
    wait::pause(BROKEN)?;
    for node in nodes {
        lab.start_controller(node)?;
    }
    lab.wait_for_convergence(Duration::from_secs(40))?;
    add("control planes killed", from_ns, false)?;
    Ok(failures)
}

/// Two instances: dark for a second at most. One: while it is away, errors; when it is back, within a second, and always otherwise, answers.
fn judge(report: &mut Report, failure: &Failure, two: &Outcome, only: &Outcome) {
    let what = failure.what;
    let during = two.due_between(failure.from_ns, failure.until_ns);
    report.figure(&format!("{what}: failed"), during.lost());
    let dark = dark_ms(&during);
    report.milliseconds(&format!("{what}: dark"), dark);
    bound(report, &format!("{what}: dark, ms,"), dark, DARK_MS);
    let tenths = |ms: f64| (ms * 10.0).round() / 10.0;
    let slowest = tenths(during.percentile_ms(100.0));
    report.detail(&format!("{what}: slowest ms"), slowest);

    let alone = only.due_between(failure.from_ns, failure.until_ns);
    let slowest = tenths(alone.percentile_ms(100.0));
    report.detail(&format!("{what}: one instance: slowest ms"), slowest);
    report.figure(&format!("{what}: one instance failed"), alone.lost());
    if failure.away {
        report.require(alone.lost() > 0, || {
            format!("{what}: nothing failed, so nothing was away")
        });
        let after = alone.recovery_ms(failure.mended_ns, u64::MAX);
        report.milliseconds(&format!("{what}: back after"), after);
        bound(report, &format!("{what}: back after, ms,"), after, DARK_MS);
        return;
    }
    for (calls, instances) in [(&during, "two instances"), (&alone, "one instance")] {
        report.require(calls.lost() == 0, || {
            format!("{what}: {instances}: failed: {}", calls.losses())
        });
    }
}

/// wrk tells of answers that are errors: these are clear ones, and counted. Of requests without an answer there are none, whatever is replaced or dies:
///
/// * An edge that is replaced hands on its listening sockets, so `connect` and `write` find somebody. It says `Connection: close` with the next answer on each
///   connection, after which wrk connects anew and counts nothing, and closes by itself only what was not used for a second after that; wrk has a
///   request under way on each connection all the time. A kept-alive connection that ends in any other way has cut a request, and counts as `read`.
/// * What dies is the other end's edge or program. The caller's own edge then asks the other instance, because GET may be repeated, or answers with an error.
fn of_wrk(report: &mut Report, text: &str) -> anyhow::Result<()> {
    let total = number_after(text, "Requests/sec:").unwrap_or(0.0);
    report.figure("wrk requests/s", total.round());
    let errors = number_after(text, "Non-2xx or 3xx responses:").unwrap_or(0.0);
    report.figure("wrk: answers that are errors", errors);
    report.require(total > 0.0, || format!("wrk: {text}"));
    let cut = SocketErrors::of(text)?;
    for (kind, count) in cut.kinds() {
        report.figure(&format!("wrk: {kind} errors"), count);
    }
    report.require(cut == SocketErrors::default(), || {
        format!("wrk: requests without an answer: {text}")
    });
    Ok(())
}
