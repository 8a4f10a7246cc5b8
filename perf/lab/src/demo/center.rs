//! Step `no-center`: all prefix authorities are dead for longer than anything that they signed lives.

use std::time::Duration;

use anyhow::{Context, bail};

use super::failures::nothing_wrong;
use super::report::Report;
use super::stream::{Stream, StreamSpec};
use crate::lab::Lab;
use crate::wait::{self, monotonic_ns};

/// Life of authorisations in this step, s.
pub const LIFE: u32 = 20;
/// Calls go on for this long after all have expired, s.
const AFTER: f64 = 60.0;

const REVOKED: (&str, &str) = ("pod2/gone", "/shop/gone");
const LATE: (&str, &str) = ("pod2/late", "/shop/late");

/// Kills the authorities, lets everything expire, and brings them back.
pub fn run(lab: &mut Lab, report: &mut Report) -> anyhow::Result<()> {
    lab.set_authorisation_seconds(LIFE)?;
    let pod2 = lab.plan.pod("pod2")?;
    let sg2 = lab.plan.pods[pod2].gateway;
    let gateway = lab.plan.nodes[sg2].id.0;
    lab.start_server(
        pod2,
        REVOKED.0,
        &["--name", REVOKED.1],
        Duration::from_secs(10),
    )?;
    everywhere(lab, REVOKED.1, Duration::from_secs(5), Some("valid"))?;
    short_lives(lab)?;
    let revoked_ms = revoke(lab, gateway)?;
    report.milliseconds("revoked everywhere in", revoked_ms);

    let spec = StreamSpec {
        rate: 500,
        ..StreamSpec::new("pod1", "pod1/a", "/shop/catalog", 200.0)
    };
    let stream = Stream::start(lab, &spec)?;
    stream.at(0.5)?;
    lab.kill_authorities();
    let killed_ns = monotonic_ns();
    let expired_ns = all_expired(lab)?;
    report.milliseconds(
        "killed to all expired",
        (expired_ns - killed_ns) as f64 / 1e6,
    );
    all_in_state(lab, "stale")?;
    report.figure("stale", lab.wanted_prefixes().len());

    // Started while nobody can say whether it may: it waits.
    lab.launch_server(pod2, LATE.0, &["--name", LATE.1])?;
    let reason = waiting(lab, sg2)?;
    report.figure("a new prefix waits", reason);
    wait::pause_until(expired_ns + (AFTER * 1e9) as u64)?;
    nowhere(lab, LATE.1)?;
    nowhere(lab, REVOKED.1)?;
    all_in_state(lab, "stale")?;
    let until_ns = monotonic_ns();
    let outlived = (until_ns - expired_ns) as f64 / 1e9;
    report.figure("s after all had expired", outlived.floor());

    lab.start_authorities()?;
    let back_ns = monotonic_ns();
    everywhere(lab, LATE.1, Duration::from_secs(20), Some("valid"))?;
    report.milliseconds("admitted in", (monotonic_ns() - back_ns) as f64 / 1e6);
    lab.wait_for_prefixes(Duration::from_secs(20))?;
    nowhere(lab, REVOKED.1)?;
    let outcome = stream.stop()?;
    report.figure("lost", outcome.lost());
    report.figure("wrong", outcome.wrong());
    report.require(outcome.lost() == 0, || {
        format!("lost {}: {}", outcome.lost(), outcome.losses())
    });
    nothing_wrong(report, &outcome);
    lab.stop_server(LATE.0);
    lab.stop_server(REVOKED.0);
    lab.reset_authorisation_seconds()
}

/// Waits until what gateways hold was signed with the short life: at a third of the life of what they had before.
fn short_lives(lab: &Lab) -> anyhow::Result<()> {
    let limit = lab
        .plan
        .authorities
        .iter()
        .map(|a| a.authorisation_seconds)
        .max()
        .unwrap_or(LIFE);
    wait::until(
        "all gateways to hold authorisations of the short life",
        Duration::from_secs(u64::from(limit)),
        || {
            for node in lab.plan.gateways() {
                let all = lab.operator(node)?.authorisations()?.authorisations;
                let name = &lab.plan.nodes[node].name;
                if let Some(long) = all
                    .iter()
                    .find(|a| a.state == "valid" && a.expires_in_s > i64::from(LIFE) + 1)
                    // An older one that was replaced may be kept beside its successor.
                    .filter(|long| {
                        !all.iter().any(|a| {
                            a.gateway == long.gateway
                                && a.identity == long.identity
                                && a.authority == long.authority
                                && a.serial > long.serial
                        })
                    })
                {
                    bail!(
                        "{name} holds one for {} that lives {} s",
                        long.identity,
                        long.expires_in_s
                    );
                }
            }
            Ok(Some(()))
        },
    )
}

/// Revokes one prefix and waits until no router has it. Returns how long that took, ms.
fn revoke(lab: &Lab, gateway: u32) -> anyhow::Result<f64> {
    let name = dmsc_wire::NameBuf::parse(REVOKED.1)?;
    let authority = lab
        .plan
        .authority_of(&name)
        .context("no authority has the policy of the name to be revoked")?;
    let began_ns = monotonic_ns();
    lab.authority(authority)?
        .revoke(REVOKED.1, gateway, REVOKED.0, "a step of the demo")?;
    wait::until(
        "the revoked prefix to be gone everywhere",
        Duration::from_secs(10),
        || nowhere(lab, REVOKED.1).map(Some),
    )?;
    Ok((monotonic_ns() - began_ns) as f64 / 1e6)
}

/// Waits until every router has the prefix, in `state` if one is given.
fn everywhere(lab: &Lab, name: &str, limit: Duration, state: Option<&str>) -> anyhow::Result<()> {
    wait::until(&format!("{name} at all routers"), limit, || {
        for (index, node) in lab.plan.nodes.iter().enumerate() {
            let found = lab.operator(index)?.prefixes()?;
            let one = found.iter().find(|a| a.name == name);
            if one.is_none_or(|a| state.is_some_and(|state| a.state != state)) {
                bail!("{} has {one:?}", node.name);
            }
        }
        Ok(Some(()))
    })
}

/// An error if a router has the prefix: in its RIB as anything but waiting, or in its dataplane.
fn nowhere(lab: &Lab, name: &str) -> anyhow::Result<()> {
    let bytes = dmsc_wire::NameBuf::parse(name)?.as_bytes().to_vec();
    for (index, node) in lab.plan.nodes.iter().enumerate() {
        let found = lab.operator(index)?.prefixes()?;
        let known = found.iter().find(|a| a.name == name);
        if let Some(one) = known.filter(|a| a.state != "waiting") {
            bail!("{} has {one:?}", node.name);
        }
        let tables = lab.agent(index)?.tables()?;
        if tables.prefixes.iter().any(|p| p.name == bytes) {
            bail!("the dataplane of {} has {name}", node.name);
        }
    }
    Ok(())
}

/// Waits until nothing that was signed is valid any more at any router. Returns when, ns.
fn all_expired(lab: &Lab) -> anyhow::Result<u64> {
    wait::until(
        "all authorisations to expire everywhere",
        Duration::from_secs(u64::from(LIFE) + 10),
        || {
            for (index, node) in lab.plan.nodes.iter().enumerate() {
                let all = lab.operator(index)?.authorisations()?.authorisations;
                if let Some(valid) = all.iter().find(|a| a.state == "valid") {
                    bail!(
                        "{} has one for {} that lives {} s",
                        node.name,
                        valid.identity,
                        valid.expires_in_s
                    );
                }
            }
            Ok(Some(()))
        },
    )?;
    Ok(monotonic_ns())
}

/// Waits until every prefix of the services is in `state` at every router.
fn all_in_state(lab: &Lab, state: &str) -> anyhow::Result<()> {
    let wanted = lab.wanted_prefixes();
    wait::until(
        &format!("all prefixes to be {state} everywhere"),
        Duration::from_secs(5),
        || {
            for (index, node) in lab.plan.nodes.iter().enumerate() {
                let found = lab.operator(index)?.prefixes()?;
                for (name, gateway) in &wanted {
                    let one = found
                        .iter()
                        .find(|a| a.name == *name && a.gateway == *gateway);
                    if one.is_none_or(|a| a.state != state) {
                        bail!("{} has {name} of gateway {gateway} as {one:?}", node.name);
                    }
                }
            }
            Ok(Some(()))
        },
    )
}

/// Waits until the gateway says that the late prefix waits, and why.
fn waiting(lab: &Lab, gateway: usize) -> anyhow::Result<String> {
    wait::until(
        "the gateway to say why the new prefix waits",
        Duration::from_secs(10),
        || {
            let pods = lab.operator(gateway)?.pods()?;
            let pod = pods
                .iter()
                .find(|p| p.identity == LATE.0)
                .with_context(|| format!("{} is not registered", LATE.0))?;
            if pod.waiting != 1 || pod.announced != 0 || pod.reason.is_empty() {
                bail!(
                    "announced {}, waiting {}, because {:?}",
                    pod.announced,
                    pod.waiting,
                    pod.reason
                );
            }
            Ok(Some(pod.reason.clone()))
        },
    )
}
