//! Step `call`: the nearest instance answers, two at equal distance share calls, a pinned call takes the shortest path.

use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;

use super::report::Report;
use super::stream::{Stream, StreamSpec};
use crate::lab::Lab;

/// What `dmsc-pod --json ping --record` tells; only what is needed of it.
#[derive(Debug, Deserialize)]
struct Ping {
    #[serde(default)]
    hops: Vec<Hop>,
}

#[derive(Debug, Deserialize)]
struct Hop {
    node: u32,
}

pub fn run(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    let call = |seconds| StreamSpec::new("pod1", "pod1/a", "/shop/b", seconds);
    let (mut lost, mut wrong) = (0, 0);

    let near = Stream::run(lab, &call(2.0))?;
    lost += near.lost();
    wrong += near.wrong();
    let own = near.by_instance().get("pod1/b").copied().unwrap_or(0);
    report.figure("nearest", format!("{own}/{} by B/1", near.calls.len()));
    report.require(own == near.calls.len(), || {
        format!(
            "B/1 is nearest, but answers came from {:?}",
            near.by_instance()
        )
    });
    report.milliseconds("p50", near.percentile_ms(50.0));
    report.milliseconds("p99", near.percentile_ms(99.0));

    // From SG-2 the instances of B at SG-1 and SG-4 are equally far: 30 each, by the metrics that the routers announce.
    let sg2 = lab.plan.node("sg2")?;
    let routes = lab.operator(sg2)?.routes()?;
    let metric = |gateway| routes.get(&gateway).map(|r| r.metric);
    report.require(metric(1).is_some() && metric(1) == metric(4), || {
        format!(
            "from SG-2 the distances of SG-1 and SG-4 are {:?} and {:?}",
            metric(1),
            metric(4)
        )
    });
    let spread = Stream::run(lab, &StreamSpec::new("pod2", "pod2/caller", "/shop/b", 1.0))?;
    lost += spread.lost();
    wrong += spread.wrong();
    let share = |instance| {
        let count = spread.by_instance().get(instance).copied().unwrap_or(0);
        count as f64 / spread.calls.len() as f64 * 100.0
    };
    let (one, four) = (share("pod1/b"), share("pod4/b"));
    report.figure("equally near", format!("{one:.1} % : {four:.1} %"));
    report.detail("share B/1 percent", one);
    report.detail("share B/4 percent", four);
    report.require(
        (one - 50.0).abs() <= 2.5 && (four - 50.0).abs() <= 2.5,
        || format!("{one:.1} % and {four:.1} % are not equal shares within 5 % of each"),
    );

    let pinned = Stream::run(lab, &call(2.0).pinned(4))?;
    lost += pinned.lost();
    wrong += pinned.wrong();
    report.require(
        pinned.by_instance().get("pod4/b") == Some(&(pinned.calls.len() - pinned.lost())),
        || {
            format!(
                "pinned to B/4, but answers came from {:?}",
                pinned.by_instance()
            )
        },
    );
    report.milliseconds("pinned p50", pinned.percentile_ms(50.0));
    report.milliseconds("pinned p99", pinned.percentile_ms(99.0));

    let path = path_to(lab, "/shop/b", 4)?;
    report.figure("path", path.join(" "));
    report.require(path == ["sg1", "sr1", "sr3", "sg4"], || {
        "the shortest path is sg1 sr1 sr3 sg4".into()
    });
    report.figure("lost", lost);
    report.figure("wrong", wrong);
    report.require(lost == 0, || {
        format!(
            "lost {lost}: nearest {}; equally near {}; pinned {}",
            near.losses(),
            spread.losses(),
            pinned.losses()
        )
    });
    report.require(wrong == 0, || format!("wrong {wrong}"));
    Ok(())
}

/// The routers on the way from A/1 to the instance of `name` at `gateway`, as they wrote themselves into an echo.
pub fn path_to(lab: &mut Lab, name: &str, gateway: u32) -> anyhow::Result<Vec<String>> {
    let pod = lab.plan.pod("pod1")?;
    let pin = gateway.to_string();
    let text = lab.run_in_pod(
        pod,
        "pod1/a",
        &[
            "--json", "ping", name, "--pin", &pin, "--record", "--count", "1",
        ],
        Duration::from_secs(10),
    )?;
    let answer = text
        .lines()
        .find_map(|line| {
            serde_json::from_str::<Ping>(line)
                .ok()
                .filter(|p| !p.hops.is_empty())
        })
        .with_context(|| format!("no recorded hops in {text:?}"))?;
    let router = |hop: &Hop| {
        let node = lab.plan.nodes.iter().find(|n| n.id.0 == hop.node);
        node.map_or(format!("node {}", hop.node), |n| n.name.clone())
    };
    // There and back again; the way there ends at the pinned gateway.
    let mut path = Vec::new();
    for hop in &answer.hops {
        path.push(router(hop));
        if hop.node == gateway {
            break;
        }
    }
    Ok(path)
}
