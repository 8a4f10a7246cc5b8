//! Step `noisy-pod`: one pod sends garbage as fast as it can; the others do not feel it.

use std::ops::Range;
use std::time::Duration;

use super::report::Report;
use super::stream::{Outcome, Stream, StreamSpec};
use crate::lab::Lab;
use crate::process::Share;
use crate::wait;

/// Bursts of noise, each as long as the silence before it.
const BURSTS: u32 = 5;
/// Length of a burst, s.
const BURST: f64 = 1.0;

/// One stream, noise on and off under it: calm and noisy calls are paired in one run, so that what else happens on the machine falls on both.
pub fn run(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    let seconds = f64::from(BURSTS) * (2.0 * BURST + 0.5) + 0.5;
    let spec = StreamSpec::new("pod1", "pod1/a", "/shop/b", seconds).pinned(4);
    let gateway = lab.plan.node("sg1")?;
    let noisy_pod = lab.plan.pod("pod1b")?;
    let before = lab.agent(gateway)?.sums()?;
    let stream = Stream::start(lab, &spec)?;
    let (mut calm, mut noisy, mut sent) = (Vec::new(), Vec::new(), 0);
    for _ in 0..BURSTS {
        let from = wait::monotonic_ns();
        wait::pause(Duration::from_secs_f64(BURST))?;
        let command = lab.pod_command(
            noisy_pod,
            "pod1b/noise",
            &[
                "--json",
                "flood",
                "--rate",
                "max",
                "--seconds",
                "1",
                "--mode",
                "garbage",
            ],
        )?;
        calm.push(from..wait::monotonic_ns());
        let from = wait::monotonic_ns();
        let mut flood = lab.start_in_pod(noisy_pod, "flood", command, Share::Noise)?;
        let text = flood.finish(Duration::from_secs(8))?;
        noisy.push(from..wait::monotonic_ns());
        let told: serde_json::Value = serde_json::from_str(text.trim())?;
        sent += told["sent"].as_u64().unwrap_or(0);
    }
    let outcome = stream.finish()?;
    let counted = lab.agent(gateway)?.sums()?.since(&before);
    let dropped: u64 = counted.drops.values().sum();

    let (calm_p99, loud_p99) = (median_p99(&outcome, &calm), median_p99(&outcome, &noisy));
    report.figure("garbage sent", sent);
    report.figure("read and dropped", dropped);
    report.detail("drops", format!("{:?}", counted.drops));
    report.milliseconds("p99 without", calm_p99);
    report.milliseconds("p99 with noise", loud_p99);
    report.figure("lost", outcome.lost());
    report.figure("wrong", outcome.wrong());
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
        format!("p99 {loud_p99:.2} ms with noise is more than twice the {calm_p99:.2} ms without")
    });
    Ok(())
}

/// The p99 of each window, and of these the median: one stall of the machine, which hits one window, decides nothing.
fn median_p99(outcome: &Outcome, windows: &[Range<u64>]) -> f64 {
    let mut all: Vec<f64> = windows
        .iter()
        .map(|window| outcome.percentile_of(99.0, |call| window.contains(&call.due_ns)))
        .collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}
