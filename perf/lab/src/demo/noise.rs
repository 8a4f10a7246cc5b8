//! Step `noisy-pod`: one pod sends garbage as fast as it can; the others do not feel it.

use std::ops::Range;
use std::time::Duration;

use super::report::Report;
use super::stream::{Outcome, Stream, StreamSpec};
use crate::lab::Lab;
use crate::process::Share;
use crate::wait;

/// Rounds, each of three windows: silence, the flood with its packets going nowhere, the flood towards the gateway.
const ROUNDS: u32 = 9;
/// Length of a window, s.
const WINDOW: f64 = 1.0;

/// One stream, noise on and off under it, paired in one run, so that what else happens on the machine falls on both.
/// The machine's cores belong to all pods, and what a busy program takes of them is the scheduler's matter: what is judged are the packets,
/// against the same program doing the same work with packets that never reach the gateway. What its computing costs is told beside it.
pub fn run(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    let seconds = f64::from(ROUNDS) * (3.0 * WINDOW + 1.0) + 0.5;
    let spec = StreamSpec::new("pod1", "pod1/a", "/shop/b", seconds).pinned(4);
    let gateway = lab.plan.node("sg1")?;
    let before = lab.agent(gateway)?.sums()?;
    let stream = Stream::start(lab, &spec)?;
    let (mut silent, mut calm, mut noisy) = (Vec::new(), Vec::new(), Vec::new());
    let (mut nowhere, mut sent) = (0, 0);
    for _ in 0..ROUNDS {
        let from = wait::monotonic_ns();
        wait::pause(Duration::from_secs_f64(WINDOW))?;
        silent.push(from..wait::monotonic_ns());
        nowhere += flood(lab, &["--nowhere"], &mut calm)?;
        sent += flood(lab, &[], &mut noisy)?;
    }
    let outcome = stream.finish()?;
    let counted = lab.agent(gateway)?.sums()?.since(&before);
    let dropped: u64 = counted.drops.values().sum();

    let (calm_p99, loud_p99) = (settled_p99(&outcome, &calm), settled_p99(&outcome, &noisy));
    report.figure("sent nowhere", nowhere);
    report.figure("garbage sent", sent);
    report.figure("read and dropped", dropped);
    report.detail("drops", format!("{:?}", counted.drops));
    report.milliseconds("p99 in silence", settled_p99(&outcome, &silent));
    report.milliseconds("p99 without", calm_p99);
    report.milliseconds("p99 with noise", loud_p99);
    report.figure("lost", outcome.lost());
    report.figure("wrong", outcome.wrong());
    report.require(nowhere > 100_000, || {
        format!("only {nowhere} packets sent nowhere: that was no load to compare with")
    });
    report.require(sent > 100_000 && dropped > 10_000, || {
        format!("{sent} packets sent and {dropped} dropped: that was no noise")
    });
    report.require(outcome.lost() == 0, || {
        format!("lost {}: {}", outcome.lost(), outcome.losses())
    });
    report.require(outcome.wrong() == 0, || {
        format!("wrong {}", outcome.wrong())
    });
    report.require(loud_p99 <= 2.0 * calm_p99, || {
        format!("p99 {loud_p99:.2} ms with noise is more than twice the {calm_p99:.2} ms without its packets")
    });
    Ok(())
}

/// One window under the flood: packets sent.
fn flood(lab: &mut Lab, how: &[&str], windows: &mut Vec<Range<u64>>) -> anyhow::Result<u64> {
    let mut arguments = vec!["--json", "flood", "--rate", "max", "--seconds", "1"];
    arguments.extend(["--mode", "garbage"]);
    arguments.extend(how);
    let pod = lab.plan.pod("pod1b")?;
    let command = lab.pod_command(pod, "pod1b/noise", &arguments)?;
    let from = wait::monotonic_ns();
    let mut flood = lab.start_in_pod(pod, "flood", command, Share::Noise)?;
    let text = flood.finish(Duration::from_secs(8))?;
    windows.push(from..wait::monotonic_ns());
    let told: serde_json::Value = serde_json::from_str(text.trim())?;
    Ok(told["sent"].as_u64().unwrap_or(0))
}

/// The p99 of all calls of these windows but of the worst quarter of them: a stall of the machine, which hits one window or two, decides nothing, and
/// windows that are a little better or worse by chance even out, which a median of them does not do.
pub(super) fn settled_p99(outcome: &Outcome, windows: &[Range<u64>]) -> f64 {
    let p99 = |windows: &[Range<u64>]| {
        outcome.percentile_of(99.0, |call| {
            windows.iter().any(|window| window.contains(&call.due_ns))
        })
    };
    let mut all = windows.to_vec();
    all.sort_by(|a, b| p99(std::slice::from_ref(a)).total_cmp(&p99(std::slice::from_ref(b))));
    all.truncate(all.len() - all.len() / 4);
    p99(&all)
}
