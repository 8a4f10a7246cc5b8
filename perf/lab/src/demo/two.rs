//! Step `two-behind-one`: two pods with one service behind one gateway, two callers of one identity, and an attachment that changes hands.

use std::time::Duration;

use anyhow::Context;
use dmsc_proto::v1;

use super::report::Report;
use super::stream::{Stream, StreamSpec};
use crate::lab::Lab;
use crate::process::Share;
use crate::wait;

pub fn run(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    let spec = |pod| StreamSpec {
        rate: 500,
        ..StreamSpec::new(pod, "shop/caller", "/shop/cart/v1", 2.0)
    };
    let first = Stream::start(lab, &spec("pod1"))?;
    let second = Stream::start(lab, &spec("pod1b"))?;
    let (first, second) = (first.finish()?, second.finish()?);
    let lost = first.lost() + second.lost();
    let wrong = first.wrong() + second.wrong();
    report.figure("calls", first.calls.len() + second.calls.len());
    for instance in ["pod1/shop", "pod1b/shop"] {
        let count = [&first, &second].map(|o| o.by_instance().get(instance).copied().unwrap_or(0));
        report.figure(&format!("by {instance}"), count[0] + count[1]);
        report.require(count.iter().all(|c| *c > 0), || {
            format!(
                "{instance} answered {} and {} calls of the two callers",
                count[0], count[1]
            )
        });
    }
    report.figure("lost", lost);
    report.figure("wrong", wrong);
    report.require(lost == 0, || {
        format!("lost {lost}: {} {}", first.losses(), second.losses())
    });
    report.require(wrong == 0, || format!("wrong {wrong}"));
    reused_attachment(lab, report)
}

/// A caller is killed while its answer is on the way; its attachment is forced to another pod; the answer must not reach that pod.
fn reused_attachment(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    const SINK_PORT: u32 = 40_001;
    let gateway = lab.plan.node("sg1")?;
    let (pod1, pod1b) = (lab.plan.pod("pod1")?, lab.plan.pod("pod1b")?);
    let own = std::env::current_exe()?.display().to_string();
    let sink = ["sink", "--port", &SINK_PORT.to_string(), "--seconds", "10"];
    let command = std::iter::once(own).chain(sink.map(String::from)).collect();
    let mut sink = lab.start_in_pod(pod1b, "sink", command, Share::Plain)?;
    wait::until("the sink to listen", Duration::from_secs(5), || {
        let text = std::fs::read_to_string(sink.log()).unwrap_or_default();
        Ok(text.contains("listening").then_some(()))
    })?;

    let command = lab.pod_command(
        pod1,
        "pod1/victim",
        &["call", "/shop/report", "--timeout", "5000"],
    )?;
    let mut agent = lab.agent(gateway)?;
    let before_call = agent.sums()?;
    let mut victim = lab.start_in_pod(pod1, "victim", command, Share::Plain)?;
    let attachment = wait::until("the caller to register", Duration::from_secs(5), || {
        let all = agent.dump()?.attachments;
        Ok(all.into_iter().find(|a| a.identity == "pod1/victim"))
    })?;
    // The call leaves right after the registration, and the server takes 500 ms: in the middle of that the caller dies.
    wait::pause(Duration::from_millis(150))?;
    victim
        .check()
        .context("the caller should wait for its answer at this moment")?;
    victim.kill_hard();
    let before = agent.sums()?;
    let heir = dmsc_wire::NameBuf::parse("/id/pod1b/heir")?;
    agent.apply(vec![v1::op::Op::Attach(v1::Attachment {
        id: attachment.id,
        port: lab.plan.pods[pod1b].name.clone(),
        address: lab.plan.pods[pod1b].address.clone(),
        udp_port: SINK_PORT,
        domain: 1,
        identity: "pod1b/heir".into(),
        owns: vec![heir.as_bytes().to_vec()],
        force: true,
        ..v1::Attachment::default()
    })])?;
    let dropped = wait::until(
        "the late answer to be dropped and counted as attachment-lacks-name",
        Duration::from_secs(3),
        || {
            let count = agent.sums()?.since(&before).of("attachment-lacks-name");
            Ok((count > 0).then_some(count))
        },
    );
    sink.signal(nix::sys::signal::Signal::SIGTERM);
    let delivered: u64 = sink
        .collect(Duration::from_secs(3))?
        .trim()
        .parse()
        .context("the sink did not count")?;
    agent.apply(vec![v1::op::Op::Detach(attachment.id)])?;
    report.figure(
        "late answers dropped",
        dropped.as_ref().copied().unwrap_or(0),
    );
    report.figure("delivered to the heir", delivered);
    report.require(delivered == 0, || {
        format!("{delivered} packets reached the pod that took over the attachment")
    });
    if let Err(error) = dropped {
        let since = agent.sums()?.since(&before_call);
        report.require(false, || format!("{error:#}; counted meanwhile: {since:?}"));
    }
    Ok(())
}
