//! Routers and wires of a lab: started, programmed, waited for, killed and started again.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use serde::Deserialize;

use super::{Lab, Router, agent_socket, wire_socket};
use crate::agent::Agent;
use crate::plan::Middle;
use crate::process::{Process, Share, Spec};
use crate::routes::{self, Changes};
use crate::wait;
use crate::wire::control;
use crate::wire::settings::{Answer, Change, Command, Way};

/// What a static controller writes about its last attempt to load its routes.
#[derive(Debug, Deserialize)]
struct Status {
    ok: bool,
    #[serde(default)]
    error: Option<String>,
}

impl Lab {
    fn config(&self, node: usize) -> PathBuf {
        self.path()
            .join(format!("{}.dataplane.toml", self.plan.nodes[node].name))
    }

    fn routes(&self, node: usize) -> PathBuf {
        self.path()
            .join(format!("{}.routes.toml", self.plan.nodes[node].name))
    }

    fn status(&self, node: usize) -> PathBuf {
        self.path()
            .join(format!("{}.status.json", self.plan.nodes[node].name))
    }

    pub(super) fn start_wires(&mut self, seed: u64) -> anyhow::Result<()> {
        let own = std::env::current_exe()?.display().to_string();
        for (index, link) in self.plan.links.iter().enumerate() {
            let Middle::Wire { namespace } = &link.middle else {
                continue;
            };
            let socket = wire_socket(self.path(), &link.name);
            let spec = Spec {
                name: format!("wire-{}", link.name),
                namespace: namespace.clone(),
                command: [
                    own.as_str(),
                    "wire",
                    "run",
                    "--a",
                    "a",
                    "--b",
                    "b",
                    "--control",
                    &socket.display().to_string(),
                    "--seed",
                    &(seed + index as u64).to_string(),
                ]
                .map(String::from)
                .to_vec(),
                share: Share::Router,
                survives: self.keep,
            };
            self.wires.push(Process::start(spec, &self.logs, false)?);
        }
        for link in &self.plan.links {
            if matches!(link.middle, Middle::Wire { .. }) {
                let socket = wire_socket(self.path(), &link.name);
                wait::until("a wire to answer", Duration::from_secs(5), || {
                    Ok(Some(control::tell(&socket, &Command::Get)?))
                })?;
            }
        }
        Ok(())
    }

    pub(super) fn start_routers(&mut self) -> anyhow::Result<()> {
        self.write_routes()?;
        for node in 0..self.plan.nodes.len() {
            let socket = agent_socket(self.path(), &self.plan.nodes[node].name);
            std::fs::write(
                self.config(node),
                routes::dataplane_file(&self.plan, node, &socket)?,
            )?;
            let dataplane = Some(self.dataplane(node)?);
            self.routers.push(Router {
                dataplane,
                controller: None,
            });
        }
        for node in 0..self.plan.nodes.len() {
            self.start_controller(node)?;
        }
        Ok(())
    }

    fn write_routes(&self) -> anyhow::Result<()> {
        for node in 0..self.plan.nodes.len() {
            let text = routes::routes_file(&self.plan, node, &self.changes)?;
            std::fs::write(self.routes(node), text)?;
        }
        Ok(())
    }

    fn dataplane(&self, node: usize) -> anyhow::Result<Process> {
        let plan = &self.plan.nodes[node];
        let spec = Spec {
            name: format!("{}.dataplane", plan.name),
            namespace: plan.namespace.clone(),
            command: vec![
                self.programs.path("dmsc-dataplane"),
                "--config".into(),
                self.config(node).display().to_string(),
            ],
            share: Share::Router,
            survives: self.keep,
        };
        Process::start(spec, &self.logs, false)
    }

    /// Starts the dataplane of a router whose dataplane is dead, and returns when its agent answers.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_dataplane(&mut self, node: usize) -> anyhow::Result<()> {
        let _ = std::fs::remove_file(agent_socket(self.path(), &self.plan.nodes[node].name));
        self.routers[node].dataplane = Some(self.dataplane(node)?);
        self.wait_for_agent(node)
    }

    /// Starts what programs a router; returns at once.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_controller(&mut self, node: usize) -> anyhow::Result<()> {
        let plan = &self.plan.nodes[node];
        self.forget_status(node);
        let mut command = vec![
            self.programs.path("dmsc-controlplane"),
            "static".into(),
            "--routes".into(),
            self.routes(node).display().to_string(),
            "--agent".into(),
            agent_socket(self.path(), &plan.name).display().to_string(),
            "--status".into(),
            self.status(node).display().to_string(),
        ];
        if plan.role == crate::file::Role::Sg {
            command.extend(["--listen".into(), "0.0.0.0:35030".into()]);
        }
        let spec = Spec {
            name: format!("{}.controller", plan.name),
            namespace: plan.namespace.clone(),
            command,
            share: Share::Plain,
            survives: self.keep,
        };
        self.routers[node].controller = Some(Process::start(spec, &self.logs, false)?);
        Ok(())
    }

    fn wait_for_agent(&mut self, node: usize) -> anyhow::Result<()> {
        let name = self.plan.nodes[node].name.clone();
        let socket = agent_socket(self.path(), &name);
        let process = self.routers[node]
            .dataplane
            .as_mut()
            .context("the dataplane was not started")?;
        let mut ended = None;
        wait::until(
            &format!("the dataplane of {name} to answer on its agent socket"),
            Duration::from_secs(30),
            || {
                if let Err(error) = process.check() {
                    ended = Some(error);
                    return Ok(Some(()));
                }
                Agent::connect(&socket)?;
                Ok(Some(()))
            },
        )?;
        match ended {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Forgets what the program of a router reported, so that the next report is a new one.
    pub fn forget_status(&self, node: usize) {
        let _ = std::fs::remove_file(self.status(node));
    }

    /// Waits until what programs a router reports that it is done.
    ///
    /// # Errors
    /// When it reports a mistake, ends, or says nothing.
    pub fn wait_for_controller(&mut self, node: usize) -> anyhow::Result<()> {
        let path = self.status(node);
        let name = self.plan.nodes[node].name.clone();
        let process = self.routers[node]
            .controller
            .as_mut()
            .context("nothing programs this router")?;
        let mut ended = None;
        wait::until(
            &format!("{name} to be programmed"),
            Duration::from_secs(20),
            || {
                if let Err(error) = process.check() {
                    ended = Some(error);
                    return Ok(Some(()));
                }
                let Ok(text) = std::fs::read_to_string(&path) else {
                    return Ok(None);
                };
                let status: Status = serde_json::from_str(&text)?;
                if !status.ok {
                    // It tries again by itself; the last reason is told if it never succeeds.
                    bail!("{}", status.error.unwrap_or_default());
                }
                Ok(Some(()))
            },
        )?;
        ended.map_or(Ok(()), Err)
    }

    pub(super) fn wait_for_routers(&mut self) -> anyhow::Result<()> {
        for node in 0..self.plan.nodes.len() {
            self.wait_for_agent(node)?;
        }
        for node in 0..self.plan.nodes.len() {
            self.wait_for_controller(node)?;
        }
        Ok(())
    }

    /// Waits until every adjacency of every living router is up.
    ///
    /// # Errors
    /// Names the adjacencies that are not.
    pub fn wait_for_adjacencies(&self, limit: Duration) -> anyhow::Result<()> {
        for (index, node) in self.plan.nodes.iter().enumerate() {
            let mut agent = self.agent(index)?;
            let wanted = node
                .ports
                .iter()
                .filter(|p| matches!(p.end, crate::plan::PortEnd::Router(_)))
                .count();
            wait::until(&format!("the adjacencies of {}", node.name), limit, || {
                let (count, down) = agent.adjacencies()?;
                if count < wanted || !down.is_empty() {
                    bail!("{count} of {wanted} programmed; not up are those to nodes {down:?}");
                }
                Ok(Some(()))
            })?;
        }
        Ok(())
    }

    /// Computes the routes of all routers with other `changes`, makes their programs load them, and waits until they have.
    ///
    /// # Errors
    /// When one of them refuses.
    pub fn reprogram(&mut self, changes: &Changes) -> anyhow::Result<()> {
        self.changes = changes.clone();
        self.write_routes()?;
        for node in 0..self.plan.nodes.len() {
            self.forget_status(node);
            if let Some(controller) = &mut self.routers[node].controller {
                controller.signal(Signal::SIGHUP);
            }
        }
        for node in 0..self.plan.nodes.len() {
            self.wait_for_controller(node)?;
        }
        Ok(())
    }

    /// Changes the wire in a link. Returns when it had taken effect, ns of the monotonic clock.
    ///
    /// # Errors
    /// When the link has no wire, or it refuses.
    pub fn set_wire(&self, link: &str, change: Change) -> anyhow::Result<Answer> {
        let index = self.plan.link(link)?;
        let link = &self.plan.links[index];
        if !matches!(link.middle, Middle::Wire { .. }) {
            bail!(
                "link {} has no wire; set `wire = true` in the lab file",
                link.name
            );
        }
        let command = Command::Set {
            way: Way::Both,
            reset: false,
            change,
        };
        Ok(control::tell(
            &wire_socket(self.path(), &link.name),
            &command,
        )?)
    }
}
