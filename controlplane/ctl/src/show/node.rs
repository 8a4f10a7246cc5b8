//! `show node`: who answers on this socket.

use serde::Serialize;

use crate::agent::Agent;
use crate::failure::Failure;
use crate::output::Output;

/// JSON of `show node`.
#[derive(Debug, Serialize)]
pub struct NodeView<'a> {
    node: u32,
    name: &'a str,
    role: &'a str,
    software: &'a str,
    api_version: u32,
    api_version_min: u32,
    api_version_max: u32,
    /// Hexadecimal: 64 bits do not fit a JSON number.
    boot_nonce: String,
    generation: u64,
    uptime_ms: u64,
    socket: String,
}

/// Prints it.
///
/// # Errors
/// When the output cannot be written.
pub fn run(agent: &Agent, output: &mut Output) -> Result<(), Failure> {
    let greeting = &agent.greeting;
    let view = NodeView {
        node: greeting.node,
        name: &greeting.node_name,
        role: &greeting.role,
        software: &greeting.software,
        api_version: greeting.version,
        api_version_min: greeting.version_min,
        api_version_max: greeting.version_max,
        boot_nonce: format!("{:016x}", greeting.boot_nonce),
        generation: greeting.generation,
        uptime_ms: greeting.uptime_ms,
        socket: agent.socket.display().to_string(),
    };
    if output.is_json() {
        return Ok(output.document(&view)?);
    }
    let role = match view.role {
        "sg" => "service gateway (sg)",
        "sr" => "service router (sr)",
        other => other,
    };
    for (title, value) in [
        ("node", format!("{} ({})", view.node, view.name)),
        ("role", role.to_owned()),
        ("software", view.software.to_owned()),
        (
            "agent API",
            format!(
                "version {} (the dataplane speaks {} to {})",
                view.api_version, view.api_version_min, view.api_version_max
            ),
        ),
        ("boot", view.boot_nonce.clone()),
        ("generation", view.generation.to_string()),
        ("uptime", format!("{:.1} s", view.uptime_ms as f64 / 1e3)),
        ("socket", view.socket.clone()),
    ] {
        output.line(&format!("{title:<11} {value}"))?;
    }
    Ok(())
}
