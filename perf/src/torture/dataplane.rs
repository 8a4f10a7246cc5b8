//! The dataplane under fire: started, asked over its agent's socket, and stopped.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use dmsc_proto::v1::{self, dataplane_agent_client::DataplaneAgentClient};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tonic::transport::Channel;

/// Longest start and longest answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running dataplane; killed when this value goes.
#[derive(Debug)]
pub struct Dataplane {
    child: Child,
    log: PathBuf,
    client: DataplaneAgentClient<Channel>,
    boot: u64,
}

impl Dataplane {
    /// Starts `program` with a configuration, which is written to `dir`, and waits until its agent greets.
    ///
    /// # Errors
    /// When it ends, or does not answer: with the end of its log.
    pub async fn start(
        program: &Path,
        dir: &Path,
        name: &str,
        configuration: &str,
    ) -> anyhow::Result<Dataplane> {
        Dataplane::start_by(&[program.into()], dir, name, configuration).await
    }

    /// As [`Dataplane::start`], by a command that takes `--config FILE`.
    ///
    /// # Errors
    /// As there.
    pub async fn start_by(
        command: &[OsString],
        dir: &Path,
        name: &str,
        configuration: &str,
    ) -> anyhow::Result<Dataplane> {
        let (config, log) = (
            dir.join(format!("{name}.toml")),
            dir.join(format!("{name}.log")),
        );
        std::fs::write(&config, configuration)
            .with_context(|| format!("cannot write {}", config.display()))?;
        let output = std::fs::File::create(&log)?;
        // The kernel ends it when this process dies, however it dies; setpriv becomes the program.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .args(command)
            // As the unit of systemd starts it: tables in huge pages.
            .env("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .context("cannot run setpriv: install util-linux")?;
        let end = Instant::now() + PATIENCE;
        let socket = socket(dir, name);
        let client = loop {
            if let Ok(channel) = dmsc_proto::connect_unix(&socket).await {
                break DataplaneAgentClient::new(channel).max_decoding_message_size(64 << 20);
            }
            let ended = child.try_wait()?;
            if ended.is_some() || Instant::now() > end {
                let _ = child.kill();
                let _ = child.wait();
                bail!(
                    "the dataplane did not start; end of {}:\n{}",
                    log.display(),
                    tail(&log)
                );
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        let mut dataplane = Dataplane {
            child,
            log,
            client,
            boot: 0,
        };
        dataplane.boot = dataplane.greet().await?;
        Ok(dataplane)
    }

    /// An error if it ended, with the end of its log.
    pub fn check(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!(
                "the dataplane ended: {status}; end of {}:\n{}",
                self.log.display(),
                tail(&self.log)
            );
        }
        Ok(())
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    async fn ask<T, F>(
        &self,
        what: &str,
        call: impl FnOnce(DataplaneAgentClient<Channel>) -> F,
    ) -> anyhow::Result<T>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        tokio::time::timeout(PATIENCE, call(self.client.clone()))
            .await
            .with_context(|| format!("the agent did not answer {what} within {PATIENCE:?}"))?
            .map(tonic::Response::into_inner)
            .map_err(|status| anyhow::anyhow!("the agent refused {what}: {}", status.message()))
    }

    /// Its agent.
    pub fn client(&self) -> DataplaneAgentClient<Channel> {
        self.client.clone()
    }

    /// Its boot nonce.
    pub async fn greet(&self) -> anyhow::Result<u64> {
        let (version_min, version_max) = dmsc_proto::AGENT_VERSIONS;
        let request = v1::GreetRequest {
            version_min,
            version_max,
            client: "dmsc-perf".into(),
        };
        let greeted = self.ask("Greet", |mut c| async move { c.greet(request).await });
        Ok(greeted.await?.boot_nonce)
    }

    /// An error unless it is still the process that was started.
    pub async fn is_same(&mut self) -> anyhow::Result<()> {
        self.check()?;
        let boot = self.greet().await?;
        if boot != self.boot {
            bail!(
                "the dataplane is another one: boot nonce {boot:#x}, was {:#x}",
                self.boot
            );
        }
        Ok(())
    }

    /// Programs its tables.
    pub async fn apply(&self, ops: Vec<v1::Op>) -> anyhow::Result<()> {
        let transaction = v1::Transaction {
            programmer: "dmsc-perf".into(),
            ops,
        };
        let applied = self.ask("Apply", |mut c| async move { c.apply(transaction).await });
        applied.await.map(|_| ())
    }

    /// Counters by port.
    pub async fn counters(&self) -> anyhow::Result<BTreeMap<String, v1::PortCounters>> {
        let request = v1::ListCountersRequest {
            port: String::new(),
        };
        let reply = self
            .ask("ListCounters", |mut c| async move {
                c.list_counters(request).await
            })
            .await?;
        Ok(reply
            .ports
            .into_iter()
            .map(|p| (p.port.clone(), p))
            .collect())
    }

    /// Frames that never reached the dataplane, by port.
    pub async fn missed(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let request = v1::ListPortsRequest {};
        let reply = self
            .ask(
                "ListPorts",
                |mut c| async move { c.list_ports(request).await },
            )
            .await?;
        Ok(reply
            .ports
            .into_iter()
            .map(|p| (p.name, p.rx_missed))
            .collect())
    }

    /// Whether all ports have a carrier.
    pub async fn has_carrier(&self) -> anyhow::Result<bool> {
        let request = v1::ListPortsRequest {};
        let reply = self.ask(
            "ListPorts",
            |mut c| async move { c.list_ports(request).await },
        );
        Ok(reply.await?.ports.iter().all(|port| port.carrier))
    }

    /// What its workers did.
    pub async fn workers(&self) -> anyhow::Result<Vec<v1::Worker>> {
        let request = v1::ListWorkersRequest {};
        let reply = self.ask("ListWorkers", |mut c| async move {
            c.list_workers(request).await
        });
        Ok(reply.await?.workers)
    }

    /// Neighbours and pods that cannot be reached yet, without the adjacencies `silent` and the pods of the ports `mute`.
    pub async fn unready(&self, silent: &[u32], mute: &[&str]) -> anyhow::Result<Vec<String>> {
        let request = v1::DumpRequest { prefixes: false };
        let dump = self
            .ask("Dump", |mut c| async move { c.dump(request).await })
            .await?;
        let neighbours = dump
            .adjacencies
            .iter()
            .filter(|a| a.state != "up" && !silent.contains(&a.id));
        let neighbours =
            neighbours.map(|a| format!("adjacency {} of {} is {}", a.id, a.port, a.state));
        let pods = dump
            .attachments
            .iter()
            .filter(|a| a.state != "up" && !mute.contains(&a.port.as_str()));
        let pods = pods.map(|a| format!("attachment {} of {} is {}", a.id, a.port, a.state));
        Ok(neighbours.chain(pods).collect())
    }

    /// Memory of its tables, by its own reckoning.
    pub async fn table_bytes(&self) -> anyhow::Result<u64> {
        let request = v1::DumpRequest { prefixes: false };
        let dump = self.ask("Dump", |mut c| async move { c.dump(request).await });
        Ok(dump.await?.table_bytes)
    }

    /// Resident memory, KiB.
    pub fn rss_kib(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|text| text.trim().trim_end_matches("kB").trim().parse().ok())
            .context("no VmRSS in /proc: the dataplane is gone")
    }

    /// Asks it to end, and waits.
    ///
    /// # Errors
    /// When it does not end by itself, or not well.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM)?;
        let end = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!(
                    "the dataplane ended badly on SIGTERM: {status}:\n{}",
                    tail(&self.log)
                ),
                None if Instant::now() > end => bail!("the dataplane did not end on SIGTERM"),
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The agent's socket of the dataplane `name`.
pub fn socket(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.agent"))
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
