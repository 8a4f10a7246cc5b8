//! Step `two-behind-far`: two pods with one service behind one far gateway share the calls, and one that dies is left at once.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use anyhow::bail;

use super::edge::{CALLER, each_call_ends};
use super::failures::bound;
use super::report::Report;
use super::stream::{HttpSpec, Outcome, Stream};
use crate::file::Program;
use crate::lab::Lab;
use crate::net;
use crate::wait::{self, monotonic_ns};

const HOST: &str = "pair.shop.dmsc";
const NAME: &str = "/shop/pair";
const OWNERS: &[&str] = &["pod4", "pod4b"];
/// The one that dies.
const MORTAL: &str = "pod4b";
const RATE: u32 = 200;
/// Calls end when everything was seen, or after this, s.
const LONGEST: f64 = 60.0;
/// How long something stays broken.
const BROKEN: Duration = Duration::from_secs(3);
/// Calls are answered as fast as ever after this, ms.
const NOTICED_MS: u64 = 2_000;
/// What that is, ms.
const FAST_MS: f64 = 500.0;

/// Calls while both are well, while a program is dead, and while a whole pod hears nothing.
pub fn run(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    both_attached(lab)?;
    let spec = HttpSpec {
        pod: CALLER,
        host: HOST,
        rate: RATE,
        seconds: LONGEST,
        post: false,
        owners: OWNERS,
    };
    let stream = Stream::http(lab, &spec)?;
    // The first server tells of the second.
    stream.at(1.0)?;
    let well_ns = monotonic_ns();
    stream.at(3.0)?;

    let program_ns = lab.workload(MORTAL, Program::Nginx)?.kill_hard();
    wait::pause(BROKEN)?;
    let program_mended_ns = monotonic_ns();
    lab.start_edges()?;
    both_attached(lab)?;
    wait::pause(Duration::from_secs(1))?;

    let namespace = lab.plan.pods[lab.plan.pod(MORTAL)?].namespace.clone();
    let pod_ns = monotonic_ns();
    deaf(&namespace, true)?;
    wait::pause(BROKEN)?;
    let pod_mended_ns = monotonic_ns();
    deaf(&namespace, false)?;
    both_attached(lab)?;
    let back_ns = monotonic_ns();
    wait::pause(Duration::from_secs(3))?;
    let outcome = stream.stop()?;

    each_call_ends(report, "", &outcome);
    report.require(outcome.lost() == 0, || {
        format!("lost {}: {}", outcome.lost(), outcome.losses())
    });
    shared(
        report,
        "both well",
        &outcome.due_between(well_ns, program_ns),
    );
    for (what, from_ns, mended_ns) in [
        ("program dead", program_ns, program_mended_ns),
        ("pod deaf", pod_ns, pod_mended_ns),
    ] {
        let slowest = |from_ns| {
            let during = outcome.due_between(from_ns, mended_ns);
            during.percentile_ms(100.0)
        };
        report.milliseconds(&format!("{what}: slowest"), slowest(from_ns));
        let later = slowest(from_ns + NOTICED_MS * 1_000_000);
        report.milliseconds(&format!("{what}: slowest after 2 s"), later);
        bound(
            report,
            &format!("{what}: slowest after 2 s, ms,"),
            later,
            FAST_MS,
        );
    }
    shared(
        report,
        "back",
        &outcome.due_between(back_ns + 2_000_000_000, u64::MAX),
    );
    Ok(())
}

/// Both have their share.
fn shared(report: &mut Report, when: &str, outcome: &Outcome) {
    let counts: BTreeMap<_, _> = outcome.by_instance();
    let all: usize = counts.values().sum();
    for owner in OWNERS {
        let count = counts.get(owner).copied().unwrap_or(0);
        report.figure(&format!("{when}: by {owner}"), count);
        report.require(count * 4 > all, || {
            format!("{when}: {owner} answered {count} of {all} calls")
        });
    }
}

/// Until the far gateway has both pods, with the name.
fn both_attached(lab: &Lab) -> anyhow::Result<()> {
    let gateway = lab.plan.node("sg4")?;
    let name = dmsc_wire::NameBuf::parse(NAME)?;
    wait::until(
        "both pods to serve the name",
        Duration::from_secs(20),
        || {
            let attachments = lab.agent(gateway)?.dump()?.attachments;
            let serving = attachments
                .iter()
                .filter(|one| one.state == "up" && one.serves.iter().any(|s| s == name.as_bytes()))
                .count();
            if serving != OWNERS.len() {
                bail!("{serving} serve it");
            }
            Ok(Some(()))
        },
    )
}

/// Nothing that is sent to a pod arrives there, or things do again. Within the pod all is well: its edge and its program hear each other.
fn deaf(namespace: &str, deaf: bool) -> anyhow::Result<()> {
    let rules = if deaf {
        "table inet deaf { chain input { type filter hook input priority 0; policy drop; iifname lo accept; }; }"
    } else {
        "delete table inet deaf"
    };
    net::inside(namespace, move || {
        let output = Command::new("nft").arg(rules).output()?;
        if !output.status.success() {
            bail!("nft {rules:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    })
}
