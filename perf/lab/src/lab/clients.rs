//! Programs in pods: the lab's services, and callers that scenarios start.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

use super::Lab;
use crate::process::{Process, Share, Spec};
use crate::wait;

/// A program in a pod that was started by a scenario.
pub type Client = Process;

impl Lab {
    /// The folder with credentials of a pod's identity.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn pod_credentials(&self, identity: &str) -> anyhow::Result<PathBuf> {
        self.issuer.pod(identity)
    }

    /// Where the gateway of pod `pod` waits on its port `port` of shared memory.
    #[must_use]
    pub fn shared_socket(&self, pod: usize, port: &str) -> PathBuf {
        let gateway = &self.plan.nodes[self.plan.pods[pod].gateway];
        self.paths().shared(&gateway.name, port)
    }

    /// A `dmsc-pod` command in pod `pod` with `identity` and its credentials.
    ///
    /// # Errors
    /// When the credentials cannot be made.
    pub fn pod_command(
        &self,
        pod: usize,
        identity: &str,
        args: &[&str],
    ) -> anyhow::Result<Vec<String>> {
        let credentials = self.issuer.pod(identity)?;
        let mut command = vec![
            self.programs.path("dmsc-pod"),
            "--gateway".into(),
            self.plan.pods[pod].gateway_address.clone(),
            "--identity".into(),
            identity.into(),
            "--credentials".into(),
            credentials.display().to_string(),
        ];
        command.extend(args.iter().map(ToString::to_string));
        Ok(command)
    }

    /// Starts any program in pod `pod`; its standard output can be collected.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_in_pod(
        &mut self,
        pod: usize,
        name: &str,
        command: Vec<String>,
        share: Share,
    ) -> anyhow::Result<Client> {
        self.clients += 1;
        let spec = Spec {
            name: format!("{name}-{}", self.clients),
            namespace: self.plan.pods[pod].namespace.clone(),
            command,
            share,
            survives: false,
        };
        Process::start(spec, &self.logs, true)
    }

    /// Runs a `dmsc-pod` command to its end and returns what it printed.
    ///
    /// # Errors
    /// When it fails.
    pub fn run_in_pod(
        &mut self,
        pod: usize,
        identity: &str,
        args: &[&str],
        limit: Duration,
    ) -> anyhow::Result<String> {
        let command = self.pod_command(pod, identity, args)?;
        self.start_in_pod(pod, "client", command, Share::Plain)?
            .finish(limit)
    }

    /// Starts a server that lives until it is stopped by [`Lab::stop_server`], and waits until its names can be called.
    ///
    /// # Errors
    /// When it does not register.
    pub fn start_server(
        &mut self,
        pod: usize,
        identity: &str,
        args: &[&str],
        limit: Duration,
    ) -> anyhow::Result<()> {
        self.launch_server(pod, identity, args)?;
        self.wait_for_server(identity, limit)
    }

    /// Starts a server and does not wait for it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch_server(
        &mut self,
        pod: usize,
        identity: &str,
        args: &[&str],
    ) -> anyhow::Result<()> {
        let mut all = vec!["serve"];
        all.extend(args);
        let command = self.pod_command(pod, identity, &all)?;
        self.launch(pod, identity, command)
    }

    /// Starts a pod that knows no probes, [`crate::old_pod`], and does not wait for it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch_old_pod(&mut self, pod: usize, identity: &str, name: &str) -> anyhow::Result<()> {
        let credentials = self.issuer.pod(identity)?.display().to_string();
        let own = std::env::current_exe()?.display().to_string();
        let gateway = &self.plan.pods[pod].gateway_address;
        let command = [
            own.as_str(),
            "old-pod",
            "--gateway",
            gateway,
            "--identity",
            identity,
            "--credentials",
            &credentials,
            "--name",
            name,
        ]
        .map(String::from)
        .to_vec();
        self.launch(pod, identity, command)
    }

    fn launch(&mut self, pod: usize, identity: &str, command: Vec<String>) -> anyhow::Result<()> {
        let spec = Spec {
            name: format!("serve-{}", identity.replace('/', "-")),
            namespace: self.plan.pods[pod].namespace.clone(),
            command,
            share: Share::Plain,
            survives: self.keep,
        };
        // What a server says when it is ready must not be found in the log of an earlier one.
        let _ = std::fs::remove_file(self.logs.join(format!("{}.log", spec.name)));
        let server = Process::start(spec, &self.logs, false)?;
        self.servers.insert(identity.to_string(), server);
        Ok(())
    }

    /// Waits until a server that was launched says that it serves.
    ///
    /// # Errors
    /// When it does not register.
    pub fn wait_for_server(&mut self, identity: &str, limit: Duration) -> anyhow::Result<()> {
        let server = self
            .servers
            .get_mut(identity)
            .with_context(|| format!("no server {identity} was started"))?;
        let log = server.log().to_path_buf();
        let mut ended = None;
        wait::until(&format!("{identity} to register"), limit, || {
            if let Err(error) = server.check() {
                ended = Some(error);
                return Ok(Some(()));
            }
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            Ok(text.contains("serving ").then_some(()))
        })?;
        ended.map_or(Ok(()), Err)
    }

    /// Starts every service of the lab file that does not run, and waits until all routers have their names.
    ///
    /// # Errors
    /// When one does not register, or a router does not learn a name.
    pub fn start_services(&mut self) -> anyhow::Result<()> {
        let services: Vec<_> = crate::routes::services(&self.plan)
            .map(|(pod, service)| (pod, service.clone()))
            .collect();
        let mut started = Vec::new();
        for (pod, service) in &services {
            if !self
                .servers
                .get_mut(&service.identity)
                .is_some_and(Process::alive)
            {
                self.launch_service(*pod, service)?;
                started.push(service.identity.clone());
            }
        }
        for identity in &started {
            self.wait_for_server(identity, Duration::from_secs(20))?;
        }
        self.wait_for_prefixes(Duration::from_secs(20))
    }

    /// Whether the services of the lab file were started.
    #[must_use]
    pub fn has_services(&self) -> bool {
        !self.servers.is_empty()
    }

    fn launch_service(
        &mut self,
        pod: usize,
        service: &crate::plan::ServicePlan,
    ) -> anyhow::Result<()> {
        let names: Vec<String> = service.names.iter().map(ToString::to_string).collect();
        let delay = service.delay_ms.to_string();
        let mut args = Vec::new();
        for name in &names {
            args.extend(["--name", name]);
        }
        if service.delay_ms > 0 {
            args.extend(["--delay-ms", &delay]);
        }
        self.launch_server(pod, &service.identity, &args)
    }

    /// The server of `identity`.
    ///
    /// # Errors
    /// When there is none.
    pub fn server(&mut self, identity: &str) -> anyhow::Result<&mut Process> {
        self.servers
            .get_mut(identity)
            .with_context(|| format!("no server {identity} runs"))
    }

    /// Ends a server: it withdraws its names.
    pub fn stop_server(&mut self, identity: &str) {
        if let Some(mut server) = self.servers.remove(identity) {
            server.stop(Duration::from_secs(2));
        }
    }
}
