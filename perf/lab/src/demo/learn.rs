//! Steps `converge` and `announce`: the routers agree with each other, and learn every service.

use std::collections::BTreeSet;
use std::time::Duration;

use super::report::Report;
use crate::lab::Lab;
use crate::wait::monotonic_ns;

/// From the start of the last process of a router until all agree.
const CONVERGE_MS: f64 = 3_000.0;

/// The lab was started for this step; how long that took was written down.
pub fn converge(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    let startup = lab.startup;
    let ms = (startup.converged_ns - startup.last_started_ns) as f64 / 1e6;
    report.milliseconds("converged in", ms);
    let mut objects = BTreeSet::new();
    let mut digests = BTreeSet::new();
    for node in 0..lab.plan.nodes.len() {
        let about = lab.operator(node)?.about()?;
        objects.insert(about.objects);
        digests.insert(about.digest);
    }
    report.figure("routers", lab.plan.nodes.len());
    report.figure("objects", format!("{objects:?}"));
    report.figure("digests", digests.len());
    report.require(ms <= CONVERGE_MS, || {
        format!("converged after {ms:.0} ms, allowed {CONVERGE_MS:.0}")
    });
    report.require(digests.len() == 1, || {
        format!("{} different digests", digests.len())
    });
    lab.wait_for_routes(Duration::from_secs(5))
}

/// All services are announced.
pub fn announce(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    let wanted = lab.wanted_prefixes();
    let began_ns = monotonic_ns();
    lab.start_services()?;
    let all_ms = (monotonic_ns() - began_ns) as f64 / 1e6;
    let names: BTreeSet<&String> = wanted.iter().map(|(name, _)| name).collect();
    let (mut p50, mut max, mut count): (u64, u64, u64) = (0, 0, 0);
    for (index, node) in lab.plan.nodes.iter().enumerate() {
        let mut operator = lab.operator(index)?;
        let found = operator.prefixes()?;
        report.require(found.len() == wanted.len(), || {
            format!(
                "{} has {} prefixes, expected {}",
                node.name,
                found.len(),
                wanted.len()
            )
        });
        let programmed = lab.agent(index)?.dump()?.prefix_count;
        report.require(programmed >= names.len() as u64, || {
            format!(
                "the dataplane of {} has {programmed} prefixes, expected {}",
                node.name,
                names.len()
            )
        });
        if let Some(stage) = operator.convergence()?.get("announced-programmed") {
            p50 = p50.max(stage.p50_us);
            max = max.max(stage.max_us);
            count += stage.count;
        }
    }
    report.figure("services", lab_services(lab));
    report.figure("names", names.len());
    report.figure("routers", lab.plan.nodes.len());
    // Of the slowest router.
    report.milliseconds("announced to acknowledged p50", p50 as f64 / 1e3);
    report.milliseconds("max", max as f64 / 1e3);
    report.milliseconds("all started and known everywhere in", all_ms);
    report.require(count > 0, || {
        "no router measured from announcement to acknowledgement".into()
    });
    Ok(())
}

fn lab_services(lab: &Lab) -> usize {
    crate::routes::services(&lab.plan).count()
}
