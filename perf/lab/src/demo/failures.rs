//! Steps `link-failure`, `instance-failure` and `gateway-failure`: something dies under a stream.

use std::time::Duration;

use anyhow::Context;

use super::report::Report;
use super::restore::set_carrier;
use super::stream::{Outcome, Stream, StreamSpec};
use crate::agent::Sums;
use crate::lab::Lab;
use crate::plan::Middle;
use crate::wait::monotonic_ns;
use crate::wire::settings::Change;

const LINK: &str = "sr1-sr3";

/// Nothing above what is allowed.
pub fn bound(report: &mut Report, what: &str, value: f64, most: f64) {
    report.require(value <= most, || {
        format!("{what} {value:.0}, allowed {most:.0}")
    });
}

/// Nobody answered who does not own the name.
pub fn nothing_wrong(report: &mut Report, outcome: &Outcome) {
    let wrong = outcome.wrong();
    report.require(wrong == 0, || {
        format!(
            "wrong {wrong}: answers came from {:?}",
            outcome.by_instance()
        )
    });
}

fn cut(lab: &Lab, cut: bool) -> anyhow::Result<u64> {
    let change = Change {
        cut: Some(cut),
        ..Change::default()
    };
    Ok(lab.set_wire(LINK, change)?.at_ns)
}

/// The link is cut silently, then loses its carrier; each time it comes back.
pub fn link(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    let spec = StreamSpec::new("pod1", "pod1/a", "/shop/b", 5.0).pinned(4);
    let index = lab.plan.link(LINK)?;
    let Middle::Wire { namespace } = lab.plan.links[index].middle.clone() else {
        anyhow::bail!("link {LINK} of the lab has no wire");
    };

    let stream = Stream::start(lab, &spec)?;
    stream.at(1.0)?;
    let cut_ns = cut(lab, true)?;
    stream.at(2.5)?;
    let restored_ns = cut(lab, false)?;
    lab.wait_for_adjacencies(Duration::from_secs(5))?;
    let up_ns = monotonic_ns();
    let silent = stream.finish()?;
    let recovery = silent.recovery_ms(cut_ns, restored_ns);
    report.milliseconds("silent cut: recovery", recovery);
    report.figure("lost", silent.lost() - silent.lost_from(restored_ns));
    report.figure("restored: lost", silent.lost_from(restored_ns));
    report.detail("adjacency up again ms", (up_ns - restored_ns) as f64 / 1e6);
    bound(report, "recovery from a silent cut, ms,", recovery, 250.0);
    bound(report, "lost in a silent cut", silent.lost() as f64, 250.0);
    bound(
        report,
        "lost when the cut was restored",
        silent.lost_from(restored_ns) as f64,
        0.0,
    );
    nothing_wrong(report, &silent);

    let stream = Stream::start(lab, &spec)?;
    stream.at(1.0)?;
    let down_ns = monotonic_ns();
    set_carrier(&namespace, false)?;
    stream.at(2.5)?;
    let back_ns = monotonic_ns();
    set_carrier(&namespace, true)?;
    lab.wait_for_adjacencies(Duration::from_secs(5))?;
    let carrier = stream.finish()?;
    let recovery = carrier.recovery_ms(down_ns, back_ns);
    report.milliseconds("no carrier: recovery", recovery);
    report.figure(
        "lost without carrier",
        carrier.lost() - carrier.lost_from(back_ns),
    );
    report.figure("carrier restored: lost", carrier.lost_from(back_ns));
    bound(report, "recovery from a lost carrier, ms,", recovery, 50.0);
    bound(
        report,
        "lost when the carrier came back",
        carrier.lost_from(back_ns) as f64,
        0.0,
    );
    nothing_wrong(report, &carrier);
    report.figure("wrong", silent.wrong() + carrier.wrong());
    Ok(())
}

fn from_pod2() -> StreamSpec<'static> {
    StreamSpec::new("pod2", "pod2/caller", "/shop/b", 3.5)
}

/// Both instances must have had their share, or nothing was proven.
fn both_answered(report: &mut Report, outcome: &Outcome, until_ns: u64) {
    for instance in ["pod1/b", "pod4/b"] {
        let count = outcome
            .calls
            .iter()
            .filter(|c| c.due_ns < until_ns && c.instance == instance)
            .count();
        report.require(count > 100, || {
            format!("only {count} calls went to {instance} before the failure")
        });
    }
}

/// One of B's processes is killed.
pub fn instance(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    let stream = Stream::start(lab, &from_pod2())?;
    stream.at(1.0)?;
    let killed_ns = lab.server("pod4/b")?.kill_hard();
    let outcome = stream.finish()?;
    let late = outcome.lost_from(killed_ns + 300_000_000);
    report.milliseconds("recovery", outcome.recovery_ms(killed_ns, u64::MAX));
    report.figure("lost", outcome.lost());
    report.figure("lost after 300 ms", late);
    report.figure("wrong", outcome.wrong());
    both_answered(report, &outcome, killed_ns);
    bound(report, "lost after 300 ms", late as f64, 0.0);
    nothing_wrong(report, &outcome);
    Ok(())
}

fn sums(lab: &Lab, except: usize) -> anyhow::Result<Vec<Sums>> {
    (0..lab.plan.nodes.len())
        .filter(|node| *node != except)
        .map(|node| lab.agent(node)?.sums())
        .collect()
}

/// The dataplane of SG-4 is killed.
pub fn gateway(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    let sg4 = lab.plan.node("sg4")?;
    let before = sums(lab, sg4)?;
    let stream = Stream::start(lab, &from_pod2())?;
    stream.at(1.0)?;
    let killed_ns = lab.routers[sg4]
        .dataplane
        .as_mut()
        .context("SG-4 has no dataplane")?
        .kill_hard();
    let outcome = stream.finish()?;
    let after = sums(lab, sg4)?;
    let rebound: u64 = before
        .iter()
        .zip(&after)
        .map(|(before, after)| after.since(before).of("rebound"))
        .sum();
    let recovery = outcome.recovery_ms(killed_ns, u64::MAX);
    report.milliseconds("recovery", recovery);
    report.figure("lost", outcome.lost());
    report.figure("rebound", rebound);
    report.figure("wrong", outcome.wrong());
    both_answered(report, &outcome, killed_ns);
    bound(report, "recovery, ms,", recovery, 250.0);
    report.require(rebound > 0, || "no packet was counted as rebound".into());
    let later: Vec<_> = outcome
        .calls
        .iter()
        .filter(|c| c.due_ns > killed_ns + 250_000_000)
        .collect();
    report.require(later.iter().all(|c| c.instance == "pod1/b"), || {
        "after the failure not all calls were answered by B/1".into()
    });
    nothing_wrong(report, &outcome);
    Ok(())
}
