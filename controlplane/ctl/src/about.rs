//! `about`: who a control plane is, what it has computed, and what is wrong.

use dmsc_proto::v1::{AboutReply, AboutRequest};
use serde::Serialize;

use crate::failure::Failure;
use crate::operator::Operator;
use crate::output::Output;

/// JSON of `about`.
#[derive(Debug, Serialize)]
pub struct AboutView {
    daemon: String,
    /// 0 at an spa or scsc.
    node: u32,
    area: u32,
    name: String,
    software: String,
    uptime_ms: u64,
    state: String,
    alarms: Vec<String>,
    /// Of the link-state database, hexadecimal: equal at all routers when they agree.
    digest: String,
    objects: u32,
    routes_version: u64,
    programmed_version: u64,
    generation: u64,
    sessions: u32,
    synced: u32,
    your_role: String,
}

impl From<AboutReply> for AboutView {
    fn from(about: AboutReply) -> Self {
        Self {
            daemon: about.daemon,
            node: about.node,
            area: about.area,
            name: about.name,
            software: about.software,
            uptime_ms: about.uptime_ms,
            state: about.state,
            alarms: about.alarms,
            digest: format!("{:016x}", about.digest),
            objects: about.objects,
            routes_version: about.routes_version,
            programmed_version: about.programmed_version,
            generation: about.generation,
            sessions: about.sessions,
            synced: about.synced,
            your_role: about.your_role,
        }
    }
}

/// Asks and prints.
///
/// # Errors
/// When the control plane refuses or the output cannot be written.
pub async fn run(operator: &mut Operator, output: &mut Output) -> Result<(), Failure> {
    let reply = operator.client.about(AboutRequest {}).await;
    let view = AboutView::from(operator.answer(reply)?);
    if output.is_json() {
        return Ok(output.document(&view)?);
    }
    let daemon = match view.daemon.as_str() {
        "sg" => "control plane of a service gateway (sg)",
        "sr" => "control plane of a service router (sr)",
        "spa" => "service prefix authority (spa)",
        "scsc" => "scheduling center (scsc)",
        other => other,
    };
    let mut lines = vec![
        ("daemon", daemon.to_owned()),
        ("name", view.name.clone()),
        ("software", view.software.clone()),
        ("state", view.state.clone()),
        ("uptime", format!("{:.1} s", view.uptime_ms as f64 / 1e3)),
        ("your role", view.your_role.clone()),
    ];
    if view.daemon == "scsc" {
        lines.insert(1, ("area", view.area.to_string()));
        lines.push((
            "connected",
            format!("{} gateways and routers", view.sessions),
        ));
    }
    if view.node != 0 {
        let behind = if view.routes_version == view.programmed_version {
            "all programmed".to_owned()
        } else {
            format!("programmed up to {}", view.programmed_version)
        };
        lines.insert(1, ("node", format!("{}, area {}", view.node, view.area)));
        lines.extend([
            (
                "sessions",
                format!("{}, of them {} in sync", view.sessions, view.synced),
            ),
            (
                "database",
                format!("{} objects, digest {}", view.objects, view.digest),
            ),
            (
                "routes",
                format!("version {}, {behind}", view.routes_version),
            ),
            ("generation", view.generation.to_string()),
        ]);
    }
    for (title, value) in lines {
        output.line(&format!("{title:<11} {value}"))?;
    }
    for alarm in &view.alarms {
        output.line(&format!("{:<11} {alarm}", "alarm"))?;
    }
    Ok(())
}
