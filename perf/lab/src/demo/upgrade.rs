//! Steps `upgrade` and `drain`: a dataplane is replaced by a new process; routers are taken out of service in order.

use std::time::Duration;

use anyhow::Context;

use super::failures::{bound, nothing_wrong};
use super::report::Report;
use super::stream::{Outcome, Stream, StreamSpec};
use crate::lab::Lab;
use crate::wait::monotonic_ns;

/// No forwarding for at most this long, ms.
const DARK_MS: f64 = 500.0;
/// Calls end when everything was seen, or after this, s.
const LONGEST: f64 = 90.0;
/// Calls go on for this long after everything is as before.
const CALM: Duration = Duration::from_millis(1_000);
/// What a drain may take.
const DRAIN: Duration = Duration::from_secs(15);

/// The gateway's dataplane is replaced under the stream; then again, drained before.
pub fn upgrade(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    let sg4 = lab.plan.node("sg4")?;
    let before = lab.agent(sg4)?.dump()?;
    let tables = lab.agent(sg4)?.tables()?;

    let spec = StreamSpec::new("pod1", "pod1/a", "/shop/b", LONGEST).pinned(4);
    let stream = Stream::start(lab, &spec)?;
    stream.at(1.0)?;
    let began_ns = monotonic_ns();
    lab.take_over_dataplane(sg4)?;
    let ended_ns = monotonic_ns();
    crate::wait::pause(CALM)?;
    let hot = stream.stop()?;
    let after = lab.agent(sg4)?.dump()?;
    let now = lab.agent(sg4)?.tables()?;
    report.require(now == tables, || {
        format!("the tables changed: {}", tables.difference(&now))
    });
    let dark = dark_ms(&hot);
    report.milliseconds("dark", dark);
    report.figure("lost", hot.lost());
    report.milliseconds("handed over in", (ended_ns - began_ns) as f64 / 1e6);
    bound(report, "dark, ms,", dark, DARK_MS);
    report.require(hot.lost_from(ended_ns + 100_000_000) == 0, || {
        format!("calls were lost afterwards: {}", hot.losses())
    });
    nothing_wrong(report, &hot);
    report.require(after.generation >= before.generation, || {
        format!(
            "the generation went from {} back to {}",
            before.generation, after.generation
        )
    });
    let attachments = |dump: &dmsc_proto::v1::DumpReply| -> Vec<(u32, String)> {
        let mut all: Vec<_> = dump
            .attachments
            .iter()
            .filter(|a| !a.serves.is_empty())
            .map(|a| (a.id, a.identity.clone()))
            .collect();
        all.sort();
        all
    };
    report.require(attachments(&before) == attachments(&after), || {
        format!(
            "attachments were {:?} and are {:?}",
            attachments(&before),
            attachments(&after)
        )
    });
    lab.wait_for_adjacencies(Duration::from_secs(5))?;

    let stream = Stream::start(lab, &from_pod2())?;
    stream.at(1.0)?;
    lab.operator(sg4)?.drain(DRAIN)?;
    lab.take_over_dataplane(sg4)?;
    lab.operator(sg4)?.undrain()?;
    crate::wait::pause(CALM)?;
    let drained = stream.stop()?;
    report.figure("drained first: lost", drained.lost());
    report.require(drained.lost() == 0, || {
        format!(
            "drained first, lost {}: {}",
            drained.lost(),
            drained.losses()
        )
    });
    nothing_wrong(report, &drained);
    report.figure("wrong", hot.wrong() + drained.wrong());
    Ok(())
}

/// The longest time from the due time of a lost call to that of the next answered one.
pub fn dark_ms(outcome: &Outcome) -> f64 {
    let (mut dark, mut since) = (0, None);
    for call in &outcome.calls {
        if call.outcome == "ok" {
            if let Some(since) = since.take() {
                dark = dark.max(call.due_ns - since);
            }
        } else if since.is_none() {
            since = Some(call.due_ns);
        }
    }
    if let (Some(since), Some(last)) = (since, outcome.calls.last()) {
        dark = dark.max(last.due_ns - since);
    }
    dark as f64 / 1e6
}

/// Two instances of B are equally far from pod 2: one at SG-1, one at SG-4.
fn from_pod2() -> StreamSpec<'static> {
    StreamSpec::new("pod2", "pod2/caller", "/shop/b", LONGEST)
}

/// Both processes of a router end; the order does not matter after a drain.
fn stop(lab: &mut Lab, node: usize) -> anyhow::Result<()> {
    let router = &mut lab.routers[node];
    for process in [router.controller.take(), router.dataplane.take()] {
        process
            .context("the router does not run")?
            .stop(Duration::from_secs(3));
    }
    Ok(())
}

fn start(lab: &mut Lab, node: usize) -> anyhow::Result<()> {
    lab.start_dataplane(node)?;
    lab.start_controller(node)?;
    // A node that was drained stays it over a restart, until somebody takes that back.
    crate::wait::until(
        "a drained node to be taken back",
        Duration::from_secs(10),
        || {
            lab.operator(node)?.undrain()?;
            Ok(Some(()))
        },
    )?;
    lab.wait_for_convergence(Duration::from_secs(40))?;
    lab.wait_for_adjacencies(Duration::from_secs(10))
}

/// An SR, then a gateway with the only other instance elsewhere, is drained, stopped, and started again.
pub fn drain(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    let pinned = StreamSpec::new("pod1", "pod1/a", "/shop/b", LONGEST).pinned(4);
    let (mut lost, mut wrong) = (0, 0);
    for (name, spec) in [("sr1", pinned), ("sg4", from_pod2())] {
        let node = lab.plan.node(name)?;
        let stream = Stream::start(lab, &spec)?;
        stream.at(1.0)?;
        let began_ns = monotonic_ns();
        let said = lab.operator(node)?.drain(DRAIN)?;
        let drained_ns = monotonic_ns();
        report.require(said.stage == "drained", || {
            format!("{name}: {}: {}", said.stage, said.what)
        });
        stop(lab, node)?;
        let stopped_ns = monotonic_ns();
        crate::wait::pause(Duration::from_millis(800))?;
        start(lab, node)?;
        crate::wait::pause(CALM)?;
        let outcome = stream.stop()?;
        let label = name.to_uppercase();
        report.milliseconds(
            &format!("{label} drained in"),
            (drained_ns - began_ns) as f64 / 1e6,
        );
        report.figure(&format!("{label}: lost"), outcome.lost());
        report.require(outcome.lost() == 0, || {
            format!(
                "{name}: lost {}, {} of them after it stopped: {}",
                outcome.lost(),
                outcome.lost_from(stopped_ns),
                outcome.losses()
            )
        });
        nothing_wrong(report, &outcome);
        lost += outcome.lost();
        wrong += outcome.wrong();
        // A gateway that starts anew has its pods back before the next one goes.
        lab.start_services()?;
    }
    report.figure("lost", lost);
    report.figure("wrong", wrong);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dark_is_the_longest_gap() {
        let text = "0 1000000 9 ok 4 2 x\n1 2000000 0 lost 0 0 -\n2 3000000 0 lost 0 0 -\n3 4000000 9 ok 4 2 x\n4 5000000 0 lost 0 0 -\n5 6000000 9 ok 4 2 x";
        let outcome = Outcome::from_records(text, &["x"]).unwrap();
        assert!((dark_ms(&outcome) - 2.0).abs() < 1e-9);
        let never = Outcome::from_records("0 1000000 9 lost 0 0 -\n1 6000000 9 lost 0 0 -", &[]);
        assert!((dark_ms(&never.unwrap()) - 5.0).abs() < 1e-9);
    }
}
