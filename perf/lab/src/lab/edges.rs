//! Edges of a lab: started beside their gateways, waited for, killed, and replaced by new processes.

use std::collections::BTreeSet;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};

use super::Lab;
use crate::configs;
use crate::plan::EdgePodPlan;
use crate::process::{Process, Share, Spec};
use crate::{tools, wait};

/// Until all pods of an edge are registered.
const READY: Duration = Duration::from_secs(20);
/// Until an edge that is registered shares memory.
const SHARED: Duration = Duration::from_secs(10);
/// An edge that was taken over from lets what runs end, for 30 s at most.
const DRAINED: Duration = Duration::from_secs(40);

/// Hears from a daemon what systemd would hear.
struct Notified {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Notified {
    fn listen(path: PathBuf) -> anyhow::Result<Self> {
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path)
            .with_context(|| format!("cannot listen on {}", path.display()))?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path })
    }

    /// Whether a message since the last look had the line `READY=1`.
    fn ready(&self) -> bool {
        let mut bytes = [0; 4_096];
        while let Ok(length) = self.socket.recv(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if text.lines().any(|line| line == "READY=1") {
                return true;
            }
        }
        false
    }
}

impl Drop for Notified {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Lab {
    /// Starts every program and edge of the lab file that does not run, and waits until all routers have their names.
    ///
    /// # Errors
    /// What is missing on this machine, or what did not come up.
    pub fn start_edges(&mut self) -> anyhow::Result<()> {
        if self.plan.edges.is_empty() && self.plan.libraries.is_empty() {
            return Ok(());
        }
        if !self.has_edges() {
            self.programs.check_edges(&self.plan)?;
            tools::check_programs(&self.plan)?;
            self.resolvers()?;
        }
        self.start_workloads()?;
        self.edges.resize_with(self.plan.edges.len(), || None);
        for edge in 0..self.plan.edges.len() {
            if !self.edges[edge].as_mut().is_some_and(Process::alive) {
                self.edges[edge] = Some(self.start_edge(edge, &[])?);
            }
        }
        self.wait_for_names(&self.edge_prefixes(), Duration::from_secs(20))?;
        self.wait_for_shared(&self.shared_edge_pods())
    }

    /// Pods with an edge that meets the gateway in shared memory.
    #[must_use]
    pub fn shared_edge_pods(&self) -> Vec<usize> {
        let pods = self.plan.edges.iter().flat_map(|edge| &edge.pods);
        let is_shared = |pod: &&EdgePodPlan| {
            let shared = self.plan.pods[pod.pod].shared.as_ref();
            shared.is_some_and(|shared| shared.identity == pod.identity)
        };
        pods.filter(is_shared).map(|pod| pod.pod).collect()
    }

    /// Waits until the gateways of `pods` reach their shared identities in shared memory.
    ///
    /// # Errors
    /// When one is reached in another way, or not at all.
    pub fn wait_for_shared(&self, pods: &[usize]) -> anyhow::Result<()> {
        for pod in pods.iter().map(|pod| &self.plan.pods[*pod]) {
            let Some(shared) = &pod.shared else { continue };
            let what = format!("{} to be reached in shared memory", shared.identity);
            let mut gateway = self.operator(pod.gateway)?;
            wait::until(&what, SHARED, || {
                let there = gateway.pods()?.into_iter().any(|one| {
                    one.identity == shared.identity && one.port == shared.port && one.reachable
                });
                Ok(there.then_some(()))
            })?;
        }
        Ok(())
    }

    /// Whether the edges of the lab file were started.
    #[must_use]
    pub fn has_edges(&self) -> bool {
        !self.edges.is_empty()
    }

    /// A name behind an edge was revoked: no router is to know it from now on.
    pub fn is_revoked(&mut self, name: &str) {
        self.revoked.insert(name.into());
    }

    /// What every router should know once edges and programs run: name and gateway.
    #[must_use]
    pub fn edge_prefixes(&self) -> BTreeSet<(String, u32)> {
        let mut all = BTreeSet::new();
        for (pod, _, names) in self.plan.edge_names() {
            let gateway = self.plan.nodes[self.plan.pods[pod].gateway].id.0;
            let names = names.iter().map(ToString::to_string);
            let names = names.filter(|name| !self.revoked.contains(name));
            all.extend(names.map(|name| (name, gateway)));
        }
        all
    }

    /// The name servers of pods that call names are their edges; `ip netns exec` puts this file in place of /etc/resolv.conf.
    fn resolvers(&self) -> anyhow::Result<()> {
        for pod in self.plan.edges.iter().flat_map(|e| &e.pods) {
            if pod.outbound {
                let dir = Path::new("/etc/netns").join(&self.plan.pods[pod.pod].namespace);
                std::fs::create_dir_all(&dir)?;
                std::fs::write(dir.join("resolv.conf"), "nameserver 127.0.0.1\n")?;
            }
        }
        Ok(())
    }

    /// Starts edge `edge` and returns once it says that it is ready.
    fn start_edge(&mut self, edge: usize, more: &[&str]) -> anyhow::Result<Process> {
        let node = &self.plan.nodes[self.plan.edges[edge].node];
        let paths = self.paths();
        let config = paths.edge(&node.name);
        let text = configs::edge_file(&self.plan, edge, paths, &self.logs, |identity| {
            self.issuer.pod(identity)
        })?;
        std::fs::write(&config, text)?;
        self.clients += 1;
        let path = self
            .path()
            .join(format!("{}.edge.ready-{}", node.name, self.clients));
        let notified = Notified::listen(path.clone())?;
        let mut command = vec![
            "env".into(),
            format!("NOTIFY_SOCKET={}", path.display()),
            self.programs.path("dmsc-edge"),
            "--config".into(),
            config.display().to_string(),
        ];
        command.extend(more.iter().map(ToString::to_string));
        let spec = Spec {
            name: format!("{}.edge", node.name),
            namespace: node.namespace.clone(),
            command,
            share: Share::Plain,
            survives: self.keep,
        };
        let mut process = Process::start(spec, &self.logs, false)?;
        let mut ended = None;
        wait::until(
            &format!("the edge of {} to be ready", node.name),
            READY,
            || {
                if let Err(error) = process.check() {
                    ended = Some(error);
                    return Ok(Some(()));
                }
                Ok(notified.ready().then_some(()))
            },
        )?;
        ended.map_or(Ok(process), Err)
    }

    /// The running edge `edge`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn edge(&mut self, edge: usize) -> anyhow::Result<&mut Process> {
        let process = self.edges.get_mut(edge).and_then(Option::as_mut);
        process.context("the edge does not run")
    }

    /// Starts edge `edge` again after it was killed, and waits until all routers have its names.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart_edge(&mut self, edge: usize) -> anyhow::Result<()> {
        self.edges[edge] = Some(self.start_edge(edge, &[])?);
        self.wait_for_names(&self.edge_prefixes(), Duration::from_secs(20))
    }

    /// Replaces edge `edge` by a new process that takes over from it. Returns once the new one is ready and the old one has let everything end.
    ///
    /// # Errors
    /// When the new one does not come up, or the old one does not end well.
    pub fn take_over_edge(&mut self, edge: usize) -> anyhow::Result<()> {
        let new = self.start_edge(edge, &["--takeover"])?;
        let slot = self.edges.get_mut(edge).context("no edge was started")?;
        let mut old = slot
            .replace(new)
            .context("there is no edge to take over from")?;
        wait::until("the old edge to end", DRAINED, || {
            Ok((!old.alive()).then_some(()))
        })?;
        let status = old.status();
        if !status.is_some_and(|s| s.success()) {
            bail!("the old edge ended with {status:?}");
        }
        self.edge(edge)?.check()
    }
}
