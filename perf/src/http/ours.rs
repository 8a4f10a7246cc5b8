//! The lab that our own columns run in: client, gateway, gateway, server; with an edge beside each gateway, or programs that are on names themselves.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use dmsc_lab::lab::{Lab, Options};
use dmsc_lab::plan::EdgePlan;
use dmsc_pod::SharedAttachment;

use super::args::Attach;
use super::column::Column;
use super::cost::{Member, Part, Side};
use super::haproxy::{IPERF, SERVER};
use super::membership::Membership;

/// Packet memory of a gateway, MB: what two ports need.
const MEMORY_MB: u32 = 64;
/// An address that stands for the name of iperf3.
const IPERF_ADDRESS: &str = "10.96.0.12:5201";
/// Identity of the client's pod.
pub const CLIENT: &str = "pod1/client";
/// Identity of the server's pod.
pub const SERVED_BY: &str = "pod2/server";
/// Indices of the pods.
pub const PODS: [usize; 2] = [0, 1];

/// The name of service `number`.
pub fn name(number: usize) -> String {
    format!("/perf/s{number:03}")
}

/// The lab file for `column` with `services` services, its pods attached so.
fn lab_file(column: Column, services: usize, attach: Attach) -> String {
    let shared = |identity: &str| match attach {
        Attach::Shared => format!("shared = \"{identity}\"\n"),
        Attach::Udp => String::new(),
    };
    let mut text = format!(
        "name = \"hperf\"
[router]
memory_mb = {MEMORY_MB}
budget_pps = 4000000
budget_mbps = 40000
[[node]]
id = 1
name = \"sg1\"
role = \"sg\"
[[node]]
id = 2
name = \"sg2\"
role = \"sg\"
[[link]]
a = \"sg1\"
b = \"sg2\"
metric = 10
[[pod]]
name = \"pod1\"
gateway = \"sg1\"
{}[[pod]]
name = \"pod2\"
gateway = \"sg2\"
{}",
        shared(CLIENT),
        shared(SERVED_BY),
    );
    if column == Column::Library {
        let _ = write!(
            text,
            "[[policy]]\nidentity = \"{SERVED_BY}\"\nnames = [\"/perf\"]\n"
        );
        return text;
    }
    let _ = write!(
        text,
        "[[edge]]
node = \"sg1\"
access_log = false
[[edge.pod]]
pod = \"pod1\"
identity = \"{CLIENT}\"
outbound = true
redirect = [{{ address = \"{IPERF_ADDRESS}\", name = \"/perf/iperf\" }}]
[[edge]]
node = \"sg2\"
access_log = false
[[edge.pod]]
pod = \"pod2\"
identity = \"{SERVED_BY}\"
serve = [
    {{ prefix = \"/perf/iperf\", port = {IPERF}, program = \"iperf3\" }},
"
    );
    for number in 0..services {
        let _ = writeln!(
            text,
            "    {{ prefix = \"{}\", port = {SERVER} }},",
            name(number)
        );
    }
    text.push_str("]\n");
    text
}

/// A pod of the lab that is on names by itself.
///
/// # Errors
/// When its credentials cannot be made.
pub fn membership(lab: &Lab, pod: usize, identity: &str) -> anyhow::Result<Membership> {
    let plan = &lab.plan.pods[pod];
    let shared = match &plan.shared {
        None => None,
        Some(shared) => Some(SharedAttachment {
            socket: lab.shared_socket(pod, &shared.port),
            port: shared.port.clone(),
            address: shared.address.parse()?,
        }),
    };
    Ok(Membership {
        gateway: plan.gateway_address.parse()?,
        identity: identity.into(),
        credentials: lab.pod_credentials(identity)?,
        shared,
    })
}

/// Where clients of the edge connect.
///
/// # Errors
/// Never: the lab's constants are addresses.
pub fn entry() -> anyhow::Result<SocketAddr> {
    Ok(EdgePlan::OUTBOUND[0].parse()?)
}

/// Where iperf3 connects.
///
/// # Errors
/// Never: it is an address.
pub fn iperf() -> anyhow::Result<SocketAddr> {
    Ok(IPERF_ADDRESS.parse()?)
}

/// Brings up the gateways. Programs come next, and edges after them: they look first whether somebody listens.
///
/// # Errors
/// What did not come up.
pub fn up(
    column: Column,
    services: usize,
    attach: Attach,
    folder: &Path,
    programs: &Path,
) -> anyhow::Result<Lab> {
    let file = folder.join("hperf.toml");
    std::fs::write(&file, lab_file(column, services, attach))
        .with_context(|| format!("cannot write {}", file.display()))?;
    let options = Options {
        programs: Some(programs.to_path_buf()),
        hold_services: true,
        ..Options::default()
    };
    Lab::up(&file, &options)
}

/// What runs of it between client and server. The authority is asked by both nodes and belongs to neither.
///
/// # Errors
/// When an edge does not run.
pub fn members(lab: &mut Lab, column: Column) -> anyhow::Result<Vec<Member>> {
    let sides = [Side::Near, Side::Far];
    let mut members = Vec::new();
    for (router, side) in lab.routers.iter().zip(sides) {
        let parts = [
            (Part::Gateway, &router.dataplane),
            (Part::Control, &router.controller),
        ];
        members.extend(parts.into_iter().filter_map(|(part, process)| {
            let process = process.as_ref()?.id();
            Some(Member {
                part,
                side,
                process,
            })
        }));
    }
    if column == Column::Edge {
        for (edge, side) in sides.into_iter().enumerate() {
            members.push(Member {
                part: Part::Proxy,
                side,
                process: lab.edge(edge)?.id(),
            });
        }
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dmsc_lab::file::LabFile;
    use dmsc_lab::plan::Plan;

    fn plan(column: Column) -> Plan {
        let text = lab_file(column, 100, Attach::Shared);
        let file = LabFile::parse(Path::new("hperf.toml"), &text).expect("a lab file");
        Plan::new(&file).expect("a plan")
    }

    #[test]
    fn the_lab_of_edges_serves_every_service() {
        let plan = plan(Column::Edge);
        assert_eq!(plan.edges.len(), 2);
        assert!(plan.edges.iter().all(|edge| !edge.access_log));
        assert!(plan.edges[0].pods[0].outbound);
        let serves = &plan.edges[1].pods[0].serves;
        assert_eq!(serves.len(), 101);
        assert_eq!(serves[100].prefix.to_string(), name(99));
        assert_eq!(plan.pods[PODS[1]].name, "pod2");
        let shared = plan.pods.iter().filter_map(|pod| pod.shared.as_ref());
        let shared: Vec<&str> = shared.map(|one| one.identity.as_str()).collect();
        assert_eq!(shared, [CLIENT, SERVED_BY]);
        assert!(entry().is_ok() && iperf().is_ok());
    }

    #[test]
    fn the_lab_of_the_library_has_no_edges() {
        let plan = plan(Column::Library);
        assert!(plan.edges.is_empty());
        assert_eq!(plan.policies[0].0, SERVED_BY);
    }
}
