//! Step `priority`: a link of 50 Mbit/s has half again as many calls of class 0 as it carries; a stream of class 5 does not feel it.

use std::ops::Range;
use std::time::Duration;

use anyhow::Context;
use dmsc_proto::v1::ClassCounters;

use super::noise::settled_p99;
use super::report::Report;
use super::stream::{Stream, StreamSpec};
use crate::lab::Lab;
use crate::plan::PortEnd;
use crate::process::Share;
use crate::wait;

/// Of the link, Mbit/s.
const RATE_MBPS: u32 = 50;
/// Payload of the calls that fill it, bytes; they are answered with as many, the other way, where there is room.
const PAYLOAD: u32 = 1_200;
/// Their headers and outer headers, bytes, about.
const HEADERS: u32 = 120;
/// Calls/s of half again as much as the link carries.
const LOAD: u32 = RATE_MBPS * 1_000_000 / 8 * 3 / 2 / (PAYLOAD + HEADERS);
/// Calls/s of the streams that are looked at.
const CALLS: u32 = 100;
/// Windows of each kind.
const WINDOWS: usize = 6;
/// Length of a window, s.
const WINDOW: f64 = 1.0;
/// From the start of the load until the queue is full, s.
const FILL: f64 = 1.0;

/// Two streams at once over the link that gets full: one of class 5, and one of class 0 as there would be without classes. First there is nothing else, then
/// the load while the link carries all of it, then the link has its rate. The cores of this machine belong to all routers and pods, and what the calls cost
/// them is not the link's matter: judged is the full link against the empty one with the same programs calling as much; silence is told beside it.
pub fn run(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    let (near, far) = (lab.plan.node("sg1")?, lab.plan.node("sr1")?);
    let peer = lab.plan.nodes[far].id;
    let to_peer =
        |end: &PortEnd| matches!(end, PortEnd::Router(adjacency) if adjacency.peer == peer);
    let port = lab.plan.nodes[near].ports.iter().find(|p| to_peer(&p.end));
    let port = port.context("sg1 has no link to sr1")?.name.clone();
    let measured = measure(lab, report, near, &port);
    // Whatever came of it.
    lab.agent(near)?.set_rate(&port, 0)?;
    measured
}

fn measure(lab: &mut Lab, report: &mut Report, near: usize, port: &str) -> anyhow::Result<()> {
    let seconds = 3.0 * WINDOWS as f64 * WINDOW + 2.0 * FILL + 3.0;
    let spec = |class: u8, identity: &'static str| StreamSpec {
        class,
        rate: CALLS,
        ..StreamSpec::new("pod1", identity, "/shop/b", seconds).pinned(4)
    };
    let high = Stream::start(lab, &spec(5, "pod1/high"))?;
    let low = Stream::start(lab, &spec(0, "pod1/low"))?;
    let silent = windows()?;
    let mut load = start_load(lab)?;
    wait::pause(Duration::from_secs_f64(FILL))?;
    let empty = windows()?;
    let before = lab.agent(near)?.classes(port)?;
    lab.agent(near)?.set_rate(port, RATE_MBPS)?;
    wait::pause(Duration::from_secs_f64(FILL))?;
    let full = windows()?;
    let counted = lab.agent(near)?.classes(port)?;
    load.finish(Duration::from_secs(8))?;
    let (high, low) = (high.finish()?, low.finish()?);

    let since = |class: u32, get: fn(&ClassCounters) -> u64| {
        let of = |all: &[ClassCounters]| all.iter().find(|one| one.class == class).map_or(0, get);
        of(&counted) - of(&before)
    };
    let (came, dropped) = (since(0, |c| c.came), since(0, |c| c.dropped));
    let (empty_p99, full_p99) = (settled_p99(&high, &empty), settled_p99(&high, &full));
    let (plain_p99, low_p99) = (settled_p99(&low, &empty), settled_p99(&low, &full));
    report.milliseconds("p99 in silence", settled_p99(&high, &silent));
    report.milliseconds("p99 on the empty link", empty_p99);
    report.milliseconds("p99 on the full link, class 5", full_p99);
    report.figure("lost, class 5", high.lost());
    report.milliseconds("p99 on the full link, class 0", low_p99);
    report.figure("lost, class 0", low.lost());
    report.figure("percent dropped of class 0", dropped * 100 / came.max(1));
    report.require(came > u64::from(LOAD) * 5 && dropped > came / 5, || {
        format!("{came} calls came to the link and {dropped} were dropped: it was not full")
    });
    report.require(high.lost() == 0 && high.wrong() == 0, || {
        format!("class 5 lost {}: {}", high.lost(), high.losses())
    });
    report.require(since(5, |c| c.dropped) == 0, || {
        "class 5 was dropped at the link".into()
    });
    report.require(full_p99 <= 2.0 * empty_p99, || {
        format!("p99 of class 5 is {full_p99:.2} ms on the full link, more than twice the {empty_p99:.2} ms of the empty one")
    });
    report.require(low.lost() > 0 && low_p99 > 2.0 * plain_p99, || {
        format!(
            "class 0 lost {}, and its p99 is {low_p99:.2} ms after {plain_p99:.2} ms: classes were not needed",
            low.lost()
        )
    });
    Ok(())
}

/// Calls of class 0 that fill the link, from the pod beside.
fn start_load(lab: &mut Lab) -> anyhow::Result<crate::lab::Client> {
    let pod = lab.plan.pod("pod1b")?;
    let seconds = (2.0 * (FILL + WINDOWS as f64 * WINDOW) + 1.0).to_string();
    let (rate, size) = (LOAD.to_string(), PAYLOAD.to_string());
    let command = lab.pod_command(
        pod,
        "pod1b/load",
        &[
            "--json",
            "bench",
            "/shop/b",
            "--pin",
            "4",
            "--class",
            "0",
            "--rate",
            &rate,
            "--size",
            &size,
            "--duration",
            &seconds,
            "--timeout",
            "1000",
        ],
    )?;
    lab.start_in_pod(pod, "load", command, Share::Noise)
}

fn windows() -> anyhow::Result<Vec<Range<u64>>> {
    let one = |_| {
        let from = wait::monotonic_ns();
        wait::pause(Duration::from_secs_f64(WINDOW))?;
        Ok(from..wait::monotonic_ns())
    };
    (0..WINDOWS).map(one).collect()
}
