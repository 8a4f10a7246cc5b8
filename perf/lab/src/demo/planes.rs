//! Steps `control-plane-kill` and `everything-restarts`: control planes die under a stream, and come back; no packet is lost and no table changes.

use std::time::Duration;

use anyhow::Context;

use super::failures::nothing_wrong;
use super::flaps::FlapWatch;
use super::report::Report;
use super::stream::{Outcome, Stream, StreamSpec};
use crate::lab::Lab;
use crate::wait::monotonic_ns;

/// Dead for this long, s.
const DEAD: f64 = 2.0;
/// Calls end when everything was seen, or after this, s.
const LONGEST: f64 = 90.0;
/// Calls go on for this long after everything is as before.
const CALM: Duration = Duration::from_millis(800);

struct Killed {
    dead_ns: u64,
    back_ns: u64,
    reconciled_ns: u64,
}

fn kill_and_restart(lab: &mut Lab, nodes: &[usize], dead: f64) -> anyhow::Result<Killed> {
    let dead_ns = monotonic_ns();
    for node in nodes {
        lab.routers[*node]
            .controller
            .as_mut()
            .context("there is no control plane to kill")?
            .kill_hard();
    }
    crate::wait::pause(Duration::from_secs_f64(dead))?;
    let back_ns = monotonic_ns();
    for node in nodes {
        lab.start_controller(*node)?;
    }
    lab.wait_for_convergence(Duration::from_secs(40))?;
    Ok(Killed {
        dead_ns,
        back_ns,
        reconciled_ns: monotonic_ns(),
    })
}

fn judge(report: &mut Report, outcome: &Outcome, flaps: &[String]) {
    report.figure("lost", outcome.lost());
    report.figure("wrong", outcome.wrong());
    report.figure("table changes", flaps.len());
    report.require(outcome.lost() == 0, || {
        format!("lost {}: {}", outcome.lost(), outcome.losses())
    });
    report.require(flaps.is_empty(), || {
        format!("tables changed: {}", flaps.join(" | "))
    });
    nothing_wrong(report, outcome);
}

fn told(report: &mut Report, who: &str, outcome: &Outcome, killed: &Killed) {
    let lost = outcome.lost_from(killed.dead_ns) - outcome.lost_from(killed.back_ns);
    report.figure(&format!("{who} dead: lost"), lost);
    let back = outcome.lost_from(killed.back_ns) - outcome.lost_from(killed.reconciled_ns);
    report.figure(&format!("{who} returned: lost"), back);
    let ms = (killed.reconciled_ns - killed.back_ns) as f64 / 1e6;
    report.milliseconds(&format!("{who} reconciled in"), ms);
}

/// One of an SR, then one of an SG.
pub fn one_after_the_other(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    let spec = StreamSpec::new("pod1", "pod1/a", "/shop/b", LONGEST).pinned(4);
    let (sr1, sg4) = (lab.plan.node("sr1")?, lab.plan.node("sg4")?);
    let stream = Stream::start(lab, &spec)?;
    let flaps = FlapWatch::start(lab)?;
    stream.at(1.0)?;
    let first = kill_and_restart(lab, &[sr1], DEAD)?;
    crate::wait::pause(CALM)?;
    let second = kill_and_restart(lab, &[sg4], DEAD)?;
    crate::wait::pause(CALM)?;
    let outcome = stream.stop()?;
    let flaps = flaps.stop();
    told(report, "SR", &outcome, &first);
    told(report, "SG", &outcome, &second);
    judge(report, &outcome, &flaps);
    Ok(())
}

/// All of them, restarted at once.
pub fn everything(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    let spec = StreamSpec::new("pod1", "pod1/a", "/shop/b", LONGEST).pinned(4);
    let nodes: Vec<usize> = (0..lab.plan.nodes.len()).collect();
    let stream = Stream::start(lab, &spec)?;
    let flaps = FlapWatch::start(lab)?;
    stream.at(1.0)?;
    let killed = kill_and_restart(lab, &nodes, 0.0)?;
    crate::wait::pause(CALM)?;
    let outcome = stream.stop()?;
    let flaps = flaps.stop();
    report.figure("killed", nodes.len());
    told(report, "all", &outcome, &killed);
    judge(report, &outcome, &flaps);
    lab.wait_for_prefixes(Duration::from_secs(10))
}
