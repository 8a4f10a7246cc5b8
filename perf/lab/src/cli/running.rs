//! Labs that are up: which one is meant, how it is, what to try.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use dmsc_lab::agent::Agent;
use dmsc_lab::configs::Paths;
use dmsc_lab::file::LabFile;
use dmsc_lab::lab::{agent_socket, wire_socket};
use dmsc_lab::operator::Operator;
use dmsc_lab::plan::{Middle, Plan};
use dmsc_lab::state::{ROOT, State};
use dmsc_lab::wire::control;
use dmsc_lab::wire::settings::Command as WireCommand;

use super::{Cli, exit};

/// The lab that is meant: named, or the only one.
pub(super) fn running(cli: &Cli) -> anyhow::Result<String> {
    if let Some(name) = &cli.lab {
        return Ok(name.clone());
    }
    let names: Vec<String> = std::fs::read_dir(ROOT)
        .map(|entries| {
            entries
                .flatten()
                .filter(|e| e.path().join("state.json").is_file())
                .map(|e| e.file_name().to_string_lossy().into_owned())
                .collect()
        })
        .unwrap_or_default();
    match names.as_slice() {
        [one] => Ok(one.clone()),
        [] => bail!("no lab is up; bring one up with `dmsc-lab up conf/lab/figure2.toml --keep`"),
        many => bail!(
            "several labs are up, say which with --lab: {}",
            many.join(", ")
        ),
    }
}

pub(super) fn load(cli: &Cli) -> anyhow::Result<(PathBuf, State, Plan)> {
    let name = running(cli)?;
    let dir = Path::new(ROOT).join(&name);
    let text = std::fs::read_to_string(dir.join("state.json"))
        .with_context(|| format!("lab {name} is not up"))?;
    let state: State = serde_json::from_str(&text)?;
    let plan = Plan::new(&LabFile::read(&state.file)?)?;
    Ok((dir, state, plan))
}

pub(super) fn status(cli: &Cli, json: bool) -> anyhow::Result<ExitCode> {
    let (dir, _, plan) = load(cli)?;
    let (mut rows, mut whole) = (Vec::new(), true);
    for node in &plan.nodes {
        let answer = Agent::connect(&agent_socket(&dir, &node.name))
            .and_then(|mut agent| agent.adjacencies());
        let about = Operator::connect(&Paths(&dir).operator(&node.name))
            .and_then(|mut operator| operator.about());
        let (state, adjacencies, down) = match answer {
            Ok((count, down)) => ("answers", count, down),
            Err(_) => ("silent", 0, Vec::new()),
        };
        whole &= state == "answers" && down.is_empty();
        rows.push(serde_json::json!({
            "node": node.name, "id": node.id.0, "namespace": node.namespace, "agent": state,
            "adjacencies_up": adjacencies - down.len(), "adjacencies": adjacencies, "down_to_nodes": down,
            "control_plane": about.as_ref().map_or("silent", |a| a.state.as_str()),
            "digest": about.as_ref().map(|a| format!("{:016x}", a.digest)).ok(),
        }));
    }
    let mut wires = Vec::new();
    for link in &plan.links {
        if matches!(link.middle, Middle::Wire { .. }) {
            let answer = control::tell(&wire_socket(&dir, &link.name), &WireCommand::Get);
            wires.push(serde_json::json!({"link": link.name, "wire": answer.ok()}));
        }
    }
    if json {
        let all =
            serde_json::json!({"lab": plan.name, "whole": whole, "routers": rows, "wires": wires});
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        println!(
            "{:<10} {:>5} {:<14} {:<8} {:<13} {:<16} adjacencies up",
            "router", "id", "namespace", "agent", "control plane", "digest"
        );
        for (row, node) in rows.iter().zip(&plan.nodes) {
            println!(
                "{:<10} {:>5} {:<14} {:<8} {:<13} {:<16} {} of {}",
                node.name,
                node.id.0,
                node.namespace,
                row["agent"].as_str().unwrap_or(""),
                row["control_plane"].as_str().unwrap_or(""),
                row["digest"].as_str().unwrap_or("-"),
                row["adjacencies_up"],
                row["adjacencies"]
            );
        }
        for wire in &wires {
            println!(
                "wire {}: {}",
                wire["link"].as_str().unwrap_or(""),
                wire["wire"]["settings"]
            );
        }
    }
    Ok(exit(whole))
}

/// Five things to try on a lab that stays up.
pub(super) fn explore(cli: &Cli) -> anyhow::Result<()> {
    let (dir, state, plan) = load(cli)?;
    let programs = state.programs.display();
    let first = plan.nodes.first().context("the lab has no routers")?;
    let socket = agent_socket(&dir, &first.name);
    let name = plan
        .pods
        .iter()
        .rev()
        .flat_map(|p| &p.services)
        .flat_map(|s| &s.names)
        .map(ToString::to_string)
        .next()
        .unwrap_or_else(|| "/dmsc/1".into());
    // Whoever calls needs an identity, and only those of services are there already.
    let pods = plan.pods.iter();
    let mut caller = pods.filter_map(|pod| Some((pod, &pod.services.first()?.identity)));
    let mut text = String::from("The lab stays up. Try:\n");
    let mut say = |line: String| text.extend(["  ", &line, "\n"]);
    say(format!("{programs}/dmsc-lab status"));
    say(format!(
        "{programs}/dmscctl --agent {} trace {name}",
        socket.display()
    ));
    say(format!(
        "{programs}/dmscctl --agent {} explain {name} --flow 7",
        socket.display()
    ));
    say(format!(
        "{programs}/dmscctl --agent {} capture {} --count 10",
        socket.display(),
        first.ports.first().map_or("sr1", |p| p.name.as_str())
    ));
    let operator = Paths(&dir).operator(&first.name);
    for what in ["show nodes", "show prefixes", "show convergence"] {
        say(format!(
            "{programs}/dmscctl --node {} {what}",
            operator.display()
        ));
    }
    for center in &plan.centers {
        let operator = Paths(&dir).operator(&center.name);
        for what in ["show quality", "show policies", "show decisions"] {
            say(format!(
                "{programs}/dmscctl --node {} {what}",
                operator.display()
            ));
        }
        say(format!(
            "nsenter --net=/run/netns/{} chromium --no-sandbox http://{}/",
            plan.authority_namespace(),
            center.page()
        ));
    }
    if let Some((pod, identity)) = caller.next() {
        let credentials = Paths(&dir).credentials("pods");
        say(format!(
            "{programs}/dmsc-lab exec {} -- {programs}/dmsc-pod --gateway {} --identity {identity} --credentials {} call {name}",
            pod.name,
            pod.gateway_address,
            credentials.join(identity.replace('/', "+")).display()
        ));
    }
    text.push_str(&format!(
        "and when you are done: {programs}/dmsc-lab down\n"
    ));
    // Whoever reads only the first lines has read enough.
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    Ok(())
}
