//! Routers and wires of a lab: started, waited for, killed, replaced and started again.

use std::time::Duration;

use anyhow::{Context, bail};

use super::{Lab, Router, wire_socket};
use crate::agent::Agent;
use crate::configs;
use crate::net::Batch;
use crate::plan::{Middle, PortEnd};
use crate::process::{Process, Share, Spec};
use crate::wait;
use crate::wire::control;
use crate::wire::settings::{Answer, Change, Command, Way};

impl Lab {
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

    /// Dataplanes first, then all control planes at once.
    pub(super) fn start_routers(&mut self) -> anyhow::Result<()> {
        for node in 0..self.plan.nodes.len() {
            let name = self.plan.nodes[node].name.clone();
            std::fs::write(
                self.paths().dataplane(&name),
                configs::dataplane_file(&self.plan, node, self.paths())?,
            )?;
            std::fs::create_dir_all(self.paths().state(&name))?;
            std::fs::write(
                self.paths().daemon(&name),
                configs::node_file(&self.plan, node, &self.changes, self.paths())?,
            )?;
            let dataplane = Some(self.dataplane(node, &[])?);
            self.routers.push(Router {
                dataplane,
                controller: None,
            });
        }
        for node in 0..self.plan.nodes.len() {
            self.wait_for_agent(node)?;
        }
        for node in 0..self.plan.nodes.len() {
            self.start_controller(node)?;
        }
        self.startup.last_started_ns = wait::monotonic_ns();
        self.wait_for_convergence(Duration::from_secs(60))?;
        self.startup.converged_ns = wait::monotonic_ns();
        Ok(())
    }

    fn dataplane(&self, node: usize, more: &[&str]) -> anyhow::Result<Process> {
        let plan = &self.plan.nodes[node];
        let mut command = vec![
            self.programs.path("dmsc-dataplane"),
            "--config".into(),
            self.paths().dataplane(&plan.name).display().to_string(),
        ];
        command.extend(more.iter().map(ToString::to_string));
        let spec = Spec {
            name: format!("{}.dataplane", plan.name),
            namespace: plan.namespace.clone(),
            command,
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
        let _ = std::fs::remove_file(self.paths().agent(&self.plan.nodes[node].name));
        self.routers[node].dataplane = Some(self.dataplane(node, &[])?);
        self.wait_for_agent(node)
    }

    /// Replaces the running dataplane of a router by a new process that takes over from it. Returns when the new one answers and the old one ended.
    ///
    /// # Errors
    /// When the new one does not come up, or the old one does not end well.
    pub fn take_over_dataplane(&mut self, node: usize) -> anyhow::Result<()> {
        let new = self.dataplane(node, &["--takeover"])?;
        let mut old = self.routers[node]
            .dataplane
            .replace(new)
            .context("there is no dataplane to take over from")?;
        let taken = wait::until("the old dataplane to end", Duration::from_secs(20), || {
            let new = self.routers[node].dataplane.as_mut();
            if old.alive() && new.is_some_and(|p| p.alive()) {
                return Ok(None);
            }
            Ok(Some(()))
        });
        let failed = self.routers[node]
            .dataplane
            .as_mut()
            .is_none_or(|p| !p.alive());
        if taken.is_err() || failed {
            let new = self.routers[node].dataplane.replace(old);
            let why = new.map_or(Ok(()), |mut new| {
                new.check()?;
                new.kill_hard();
                Ok::<_, anyhow::Error>(())
            });
            taken?;
            return why.context("the new dataplane did not take over");
        }
        let status = old.status();
        if !status.is_some_and(|s| s.success()) {
            bail!("the old dataplane ended with {status:?}");
        }
        self.wait_for_agent(node)
    }

    /// Starts the control plane of a router; returns at once.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_controller(&mut self, node: usize) -> anyhow::Result<()> {
        let plan = &self.plan.nodes[node];
        let _ = std::fs::remove_file(self.paths().operator(&plan.name));
        let command = vec![
            self.programs.path("dmsc-controlplane"),
            plan.role.text().into(),
            "--config".into(),
            self.paths().daemon(&plan.name).display().to_string(),
        ];
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
        let socket = self.paths().agent(&name);
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
        ended.map_or(Ok(()), Err)?;
        self.kernel_routes(node)
    }

    /// Neighbours beyond a foreign fabric: the kernel, which carries the link-state sessions, needs to know the way as an administrator would tell it.
    fn kernel_routes(&self, node: usize) -> anyhow::Result<()> {
        let plan = &self.plan.nodes[node];
        let mut batch = Batch::default();
        for port in &plan.ports {
            if let PortEnd::Router(adjacency) = &port.end
                && let Some(next_hop) = &adjacency.next_hop
            {
                batch.add(format!(
                    "route replace {}/32 via {next_hop} dev {}",
                    adjacency.remote,
                    configs::tap(&port.name)
                ));
            }
        }
        batch.run(Some(&plan.namespace))
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

    /// Makes the wire in a link a perfect cable again.
    ///
    /// # Errors
    /// When the link has no wire, or it refuses.
    pub fn mend_wire(&self, link: &str) -> anyhow::Result<Answer> {
        self.tell_wire(link, true, Change::default())
    }

    /// Changes the wire in a link. Returns when it had taken effect, ns of the monotonic clock.
    ///
    /// # Errors
    /// When the link has no wire, or it refuses.
    pub fn set_wire(&self, link: &str, change: Change) -> anyhow::Result<Answer> {
        self.tell_wire(link, false, change)
    }

    fn tell_wire(&self, link: &str, reset: bool, change: Change) -> anyhow::Result<Answer> {
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
            reset,
            change,
        };
        Ok(control::tell(
            &wire_socket(self.path(), &link.name),
            &command,
        )?)
    }
}
