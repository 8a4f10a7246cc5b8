//! Part of step `programs`: a program that runs and answers, but says of itself that it is not well, gets no calls until it is well again.

use std::time::Duration;

use super::edge::{CALLER, each_call_ends, run, shown};
use super::failures::bound;
use super::report::Report;
use super::stream::{HttpSpec, Stream};
use crate::lab::Lab;
use crate::wait::{self, monotonic_ns};

/// Served by nginx in pod 2, which has nothing else to serve, and in pod 4; equally far.
const HOST: &str = "offers.shop.dmsc";
const NAME: &str = "/shop/offers";
const OWNERS: &[&str] = &["pod2", "pod4"];
const ILL: &str = "pod2";
const EDGE: &str = "sg2";
/// Answers that tell who has calls.
const LOOK: usize = 20;
/// How long calls are watched while it is ill, and when it is well again.
const WATCHED: Duration = Duration::from_millis(500);
/// Two checks, 250 ms apart, say that it is ill; its gateway and the caller's are told then. One says that it is well.
const LEFT_MS: f64 = 2_000.0;
const BACK_MS: f64 = 2_000.0;
/// Until it is given up.
const LIMIT: Duration = Duration::from_secs(8);

/// Calls go on all the time, and each is answered.
pub fn ill_and_well(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    let spec = HttpSpec {
        pod: CALLER,
        host: HOST,
        rate: 100,
        seconds: 4.0 * LIMIT.as_secs_f64(),
        post: false,
        owners: OWNERS,
    };
    let stream = Stream::http(lab, &spec)?;
    until(lab, "calls to it", is_called)?;

    let ill_ns = monotonic_ns();
    lab.set_ill(ILL, true)?;
    until(lab, "its edge to find it ill", |lab| is(lab, "down"))?;
    until(lab, "no calls to it", |lab| Ok(!is_called(lab)?))?;
    let left_ns = monotonic_ns();
    wait::pause(WATCHED)?;
    let well_ns = monotonic_ns();
    lab.set_ill(ILL, false)?;
    until(lab, "its edge to find it well", |lab| is(lab, "up"))?;
    until(lab, "calls to it again", is_called)?;
    let back_ns = monotonic_ns();
    wait::pause(WATCHED)?;
    let end_ns = monotonic_ns();
    let outcome = stream.stop()?;

    each_call_ends(report, "program ill and well", &outcome);
    report.require(outcome.lost() == 0, || {
        format!("a program fell ill: calls failed: {}", outcome.losses())
    });
    let between = |from, until| {
        let calls = outcome.due_between(from, until);
        calls.by_instance().get(ILL).copied().unwrap_or(0)
    };
    let ms = |from: u64, until: u64| (until - from) as f64 / 1e6;
    for (what, took, most) in [
        ("ill: without calls after", ms(ill_ns, left_ns), LEFT_MS),
        ("well: with calls after", ms(well_ns, back_ns), BACK_MS),
    ] {
        report.milliseconds(what, took);
        bound(report, &format!("{what}, ms,"), took, most);
    }
    let (during, after) = (between(left_ns, well_ns), between(back_ns, end_ns));
    report.figure("calls while ill", during);
    report.require(during == 0, || {
        format!("{during} calls went to a program that said it is not well")
    });
    report.require(after > 0, || "no calls came back to it".into());
    Ok(())
}

fn until(
    lab: &mut Lab,
    what: &str,
    mut holds: impl FnMut(&mut Lab) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let what = format!("{ILL} ill and well: {what}");
    wait::until(&what, LIMIT, || Ok(holds(lab)?.then_some(())))
}

/// Whether it answers any of the next calls.
fn is_called(lab: &mut Lab) -> anyhow::Result<bool> {
    let urls = format!("http://{HOST}/echo/[1-{LOOK}]");
    let command = ["curl", "-sS", "--noproxy", "*", "--max-time", "5", &urls];
    let text = run(lab, "curl", &command, LIMIT)?;
    let mut by = text.lines().filter_map(|line| line.split_once(' '));
    Ok(by.any(|(_, pod)| pod == ILL))
}

/// Whether its edge says so of it.
fn is(lab: &Lab, health: &str) -> anyhow::Result<bool> {
    let services = shown(lab, EDGE, "services")?;
    let mut own = services.iter().filter(|one| one["name"] == NAME);
    Ok(own.any(|one| one["direction"] == "in" && one["health"] == health))
}
