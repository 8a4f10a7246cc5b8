//! Step `noisy-pod`: one pod sends garbage as fast as it can; the others do not feel it.

use std::time::Duration;

use super::report::Report;
use super::stream::{Stream, StreamSpec};
use crate::lab::Lab;

pub fn run(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    let spec = StreamSpec::new("pod1", "pod1/a", "/shop/b", 4.0).pinned(4);
    let quiet = Stream::run(lab, &spec)?;
    let gateway = lab.plan.node("sg1")?;
    let noisy_pod = lab.plan.pod("pod1b")?;
    let before = lab.agent(gateway)?.sums()?;

    let command = lab.pod_command(
        noisy_pod,
        "pod1b/noise",
        &[
            "--json",
            "flood",
            "--rate",
            "max",
            "--seconds",
            "5",
            "--mode",
            "garbage",
        ],
    );
    // The noise must not win by taking the cores from the routers: on a real host a pod cannot.
    let mut flood = lab.start_in_pod(noisy_pod, "flood", command, 10)?;
    let loud = Stream::run(lab, &spec)?;
    flood.signal(nix::sys::signal::Signal::SIGTERM);
    let sent = flood.collect(Duration::from_secs(8))?;
    let counted = lab.agent(gateway)?.sums()?.since(&before);
    let dropped: u64 = counted.drops.values().sum();

    report.detail("drops", format!("{:?}", counted.drops));
    report.detail("flood", sent.trim());
    report.figure("garbage dropped", dropped);
    report.milliseconds("p99 before", quiet.percentile_ms(99.0));
    report.milliseconds("p99 with noise", loud.percentile_ms(99.0));
    report.figure("lost", loud.lost());
    report.figure("wrong", loud.wrong());
    report.require(dropped > 10_000, || {
        format!("only {dropped} frames of garbage were dropped: that was no noise")
    });
    report.require(quiet.lost() == 0, || {
        format!(
            "lost {} before there was noise: {}",
            quiet.lost(),
            quiet.losses()
        )
    });
    report.require(loud.lost() == 0, || {
        format!("lost {}: {}", loud.lost(), loud.losses())
    });
    report.require(loud.wrong() == 0, || format!("wrong {}", loud.wrong()));
    let (calm, noisy) = (quiet.percentile_ms(99.0), loud.percentile_ms(99.0));
    report.require(noisy <= 2.0 * calm, || {
        format!("p99 {noisy:.2} ms with noise is more than twice the {calm:.2} ms without")
    });
    Ok(())
}
