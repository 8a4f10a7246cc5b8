//! Step `foreign-fabric`: calls through somebody else's IP routers, with equal-cost paths of different MTU; and a page from outside.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};

use super::report::Report;
use super::stream::{Outcome, Stream, StreamSpec};
use crate::lab::Lab;
use crate::net::sent_packets;
use crate::outside::PAGE;
use crate::plan::{FabricPlan, Middle};
use crate::process::Share;
use crate::routes::Changes;

/// Fits the larger MTU, not the smaller.
const LARGE: usize = 4_000;

pub fn run(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    let link = lab.plan.link("sr1-sr2")?;
    let Middle::Fabric(fabric) = lab.plan.links[link].middle.clone() else {
        bail!("link sr1-sr2 of the lab has no fabric");
    };
    // From SG-1 to SG-2 there are three ways of equal cost; now only the one through the fabric is shortest.
    lab.reconfigure(&Changes {
        metrics: BTreeMap::from([
            (link, 1),
            (lab.plan.link("sg1-sr2")?, 1_000),
            (lab.plan.link("sg2-sr1")?, 1_000),
        ]),
        ..Changes::default()
    })?;

    let call = |seconds| StreamSpec::new("pod1", "pod1/a", "/shop/catalog", seconds);
    let before = path_counters(&fabric)?;
    let stream = Stream::start(lab, &call(3.0))?;
    let page = fetch_page(lab)?;
    let small = stream.finish()?;
    let used = used(&before, &path_counters(&fabric)?);
    report.figure("calls", small.calls.len());
    report.figure("lost", small.lost());
    report.figure("wrong", small.wrong());
    report.figure("packets on paths", format!("{used:?}"));
    report.figure("page from outside", page.as_str());
    report.require(small.lost() == 0, || {
        format!("lost {}: {}", small.lost(), small.losses())
    });
    report.require(small.wrong() == 0, || format!("wrong {}", small.wrong()));
    let total: u64 = used.iter().sum();
    report.require(total >= small.calls.len() as u64, || {
        "the calls did not take the fabric".into()
    });
    report.require(used.iter().all(|u| *u * 10 >= total), || {
        format!("not all paths carry calls: {used:?} packets")
    });
    report.require(page == "ok", || format!("the page from outside: {page}"));
    large_calls(lab, report, &fabric)
}

fn path_counters(fabric: &FabricPlan) -> anyhow::Result<Vec<u64>> {
    (1..=fabric.paths.len())
        .map(|path| sent_packets(&fabric.namespaces[0], &format!("p{path}")))
        .collect()
}

fn used(before: &[u64], after: &[u64]) -> Vec<u64> {
    after.iter().zip(before).map(|(a, b)| a - b).collect()
}

/// A pod resolves a name in DNS and fetches a page, through its gateway.
fn fetch_page(lab: &mut Lab) -> anyhow::Result<String> {
    let outside = lab
        .plan
        .outside
        .clone()
        .context("the lab has no [outside]")?;
    let pod = lab
        .plan
        .pods
        .iter()
        .position(|p| p.gateway == outside.gateway)
        .context("no pod is behind the gateway that leads outside")?;
    let command = [
        "curl",
        "-sS",
        "--max-time",
        "2",
        &format!("http://{}/", outside.host),
    ]
    .map(String::from)
    .to_vec();
    let mut curl = lab.start_in_pod(pod, "curl", command, Share::Plain)?;
    let text = curl.collect(Duration::from_secs(6))?;
    if text == PAGE {
        return Ok("ok".into());
    }
    Ok(format!("{text:?} {}", crate::process::tail(curl.log(), 2)))
}

/// Calls that fit one path and not the other: told so, with the size that fits, and at that size all pass on all paths.
fn large_calls(lab: &mut Lab, report: &mut Report, fabric: &FabricPlan) -> anyhow::Result<()> {
    let spec = |size| StreamSpec {
        rate: 200,
        size: Some(size),
        ..StreamSpec::new("pod1", "pod1/a", "/shop/catalog", 1.5)
    };
    let learning = Stream::run(lab, &spec(LARGE))?;
    let told = learning
        .calls
        .iter()
        .find(|c| c.outcome.starts_with("error:too-big"))
        .with_context(|| {
            format!(
                "calls of {LARGE} bytes were never told that they are too big: {}",
                learning.losses()
            )
        })?
        .due_ns;
    let silent = |outcome: &Outcome, from| {
        outcome
            .calls
            .iter()
            .filter(|c| c.outcome == "lost" && c.due_ns >= from)
            .count()
    };
    // What was under way when the first router said so may be lost; nothing after that.
    let holes = silent(&learning, told + 50_000_000);
    report.figure(
        "lost while the MTU was learned",
        silent(&learning, 0) - holes,
    );
    report.require(holes == 0, || {
        format!("{holes} large calls vanished after the MTU was known")
    });
    let max = largest(lab)?;
    report.figure("MTU told", max);
    let smallest = fabric.paths.iter().map(|(mtu, _)| *mtu).min().unwrap_or(0);
    report.require(max < usize::from(smallest), || {
        format!("{max} bytes of header and payload do not fit the path of {smallest}")
    });
    let size = max.saturating_sub(header_length("/shop/catalog", "/id/pod1/a")?);
    let before = path_counters(fabric)?;
    let fitting = Stream::run(lab, &spec(size))?;
    let used = used(&before, &path_counters(fabric)?);
    report.figure("calls of that size lost", fitting.lost());
    report.require(fitting.lost() == 0, || {
        format!(
            "of calls of {size} bytes, which were said to fit, {} were lost: {}",
            fitting.lost(),
            fitting.losses()
        )
    });
    let total: u64 = used.iter().sum();
    report.require(used.iter().all(|u| *u * 10 >= total), || {
        format!("large calls do not use all paths: {used:?} packets")
    });
    Ok(())
}

/// The largest header and payload, as an error says it.
fn largest(lab: &mut Lab) -> anyhow::Result<usize> {
    let pod = lab.plan.pod("pod1")?;
    let size = LARGE.to_string();
    let command = lab.pod_command(
        pod,
        "pod1/a",
        &[
            "--json",
            "call",
            "/shop/catalog",
            "--size",
            &size,
            "--timeout",
            "1000",
        ],
    )?;
    let mut call = lab.start_in_pod(pod, "large", command, Share::Plain)?;
    let text = call.collect(Duration::from_secs(5))?;
    text.lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|value| find_max(&value))
        .with_context(|| format!("a call of {LARGE} bytes was not told what fits: {text:?}"))
}

fn find_max(value: &serde_json::Value) -> Option<usize> {
    let object = value.as_object()?;
    object
        .get("max")
        .and_then(serde_json::Value::as_u64)
        .map(|max| max as usize)
        .or_else(|| object.values().find_map(find_max))
}

fn header_length(name: &str, source: &str) -> anyhow::Result<usize> {
    let (name, source) = (
        dmsc_wire::NameBuf::parse(name)?,
        dmsc_wire::NameBuf::parse(source)?,
    );
    let builder = dmsc_wire::PacketBuilder::new(dmsc_wire::Kind::Request)
        .destination(name.as_name())
        .source(source.as_name());
    Ok(builder.header_len())
}
