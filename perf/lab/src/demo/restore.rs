//! Makes a lab whole again after a step, whatever the step broke.

use std::time::Duration;

use anyhow::bail;

use crate::lab::Lab;
use crate::net::Batch;
use crate::plan::Middle;
use crate::routes::{self, Changes};
use crate::wait;

/// Perfect wires, carrier everywhere, every process alive and well, the lab file's routes, all adjacencies up and all services registered.
///
/// # Errors
/// What could not be restored.
pub fn restore(lab: &mut Lab) -> anyhow::Result<()> {
    for link in lab.plan.links.clone() {
        if let Middle::Wire { namespace } = &link.middle {
            lab.mend_wire(&link.name)?;
            set_carrier(namespace, true)?;
        }
    }
    lab.start_authorities()?;
    let mut restarted = false;
    for node in 0..lab.plan.nodes.len() {
        let router = &mut lab.routers[node];
        let dead_dataplane = !router.dataplane.as_mut().is_some_and(|p| p.alive());
        let dead_controller = !router.controller.as_mut().is_some_and(|p| p.alive());
        if dead_dataplane {
            lab.start_dataplane(node)?;
        }
        if dead_controller {
            lab.start_controller(node)?;
        }
        restarted |= dead_dataplane || dead_controller;
    }
    if restarted {
        lab.wait_for_convergence(Duration::from_secs(40))?;
    }
    lab.wait_for_adjacencies(Duration::from_secs(10))?;
    for node in 0..lab.plan.nodes.len() {
        let mut operator = lab.operator(node)?;
        if operator.about()?.state.starts_with("drain") {
            operator.undrain()?;
        }
    }
    lab.reconfigure(&Changes::default())?;
    if lab.has_services() {
        lab.start_services()?;
        wait_for_attachments(lab)?;
    }
    if lab.has_edges() {
        for pod in &lab.plan.pods {
            lab.set_ill(&pod.name, false)?;
        }
        lab.start_edges()?;
    }
    lab.wait_for_convergence(Duration::from_secs(20))
}

/// Waits until every gateway has every service of its pods attached.
fn wait_for_attachments(lab: &Lab) -> anyhow::Result<()> {
    for (index, node) in lab.plan.nodes.iter().enumerate() {
        let wanted: Vec<&str> = routes::services(&lab.plan)
            .filter(|(pod, _)| lab.plan.pods[*pod].gateway == index)
            .map(|(_, service)| service.identity.as_str())
            .collect();
        if wanted.is_empty() {
            continue;
        }
        let mut agent = lab.agent(index)?;
        wait::until(
            &format!("the pods of {} to be attached", node.name),
            Duration::from_secs(15),
            || {
                let attached = agent.dump()?.attachments;
                let missing: Vec<&&str> = wanted
                    .iter()
                    .filter(|identity| {
                        !attached.iter().any(|a| {
                            a.identity == **identity && a.state == "up" && !a.serves.is_empty()
                        })
                    })
                    .collect();
                if !missing.is_empty() {
                    bail!("missing: {missing:?}");
                }
                Ok(Some(()))
            },
        )?;
    }
    Ok(())
}

/// Gives both ends of a wire their carrier, or takes it, as if somebody pulled the cable.
///
/// # Errors
/// When the interfaces cannot be changed.
pub fn set_carrier(namespace: &str, up: bool) -> anyhow::Result<()> {
    let mut batch = Batch::default();
    for interface in ["a", "b"] {
        batch.add(format!(
            "link set dev {interface} {}",
            if up { "up" } else { "down" }
        ));
    }
    batch.run(Some(namespace))
}
