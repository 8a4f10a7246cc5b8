//! What a column runs on: the server and all that is between, started, ready, and ended when dropped.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use dmsc_lab::process::{Process, Share, Spec};
use dmsc_lab::{net, wait};

use super::certificates::Certificates;
use super::column::{Column, Protocol, host};
use super::cost::{Member, Part, Side, softirq_threads};
use super::haproxy::Mode;
use super::load::{self, Question};
use super::site::{CLIENT, SERVER, SERVER_ADDRESS, Site};
use super::{envoy, haproxy, iperf};

/// Programs that are compared with, where they are there.
#[derive(Debug, Clone, Default)]
pub struct Programs {
    /// This program: it is the server, too.
    pub own: PathBuf,
    /// Envoy.
    pub envoy: Option<PathBuf>,
}

/// What is to be started.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// The way.
    pub column: Column,
    /// What is spoken.
    pub protocol: Protocol,
    /// Services that the configurations have.
    pub services: usize,
    /// Length of an answer, bytes.
    pub size: usize,
}

/// A running column.
#[derive(Debug)]
pub struct Rig {
    /// Where the client runs.
    pub namespace: String,
    /// Where it connects.
    pub target: SocketAddr,
    /// What it asks.
    pub question: Question,
    /// Where iperf3 connects, if bytes can pass.
    pub iperf: Option<SocketAddr>,
    members: Vec<Member>,
    processes: Vec<Process>,
}

impl Rig {
    /// Starts the processes of `wanted` and returns when a call to every service is answered.
    ///
    /// # Errors
    /// What did not start, with the end of its log.
    pub fn start(
        wanted: Wanted,
        site: &Site,
        files: &Certificates,
        programs: &Programs,
    ) -> anyhow::Result<Self> {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let far =
            |port| -> anyhow::Result<_> { Ok(SocketAddr::new(SERVER_ADDRESS.parse()?, port)) };
        let (target, iperf) = match wanted.column {
            Column::Direct => (far(haproxy::SERVER)?, Some(far(haproxy::IPERF)?)),
            Column::Envoy => (local(envoy::ENTRY), None),
            Column::HaproxyTcp => (local(haproxy::ENTRY), Some(local(haproxy::IPERF_ENTRY))),
            _ => (local(haproxy::ENTRY), None),
        };
        let one_port = wanted.column == Column::HaproxyTcp;
        let mut rig = Self {
            namespace: CLIENT.into(),
            target,
            question: Question {
                protocol: wanted.protocol,
                hosts: (0..if one_port { 1 } else { wanted.services })
                    .map(host)
                    .collect(),
                size: wanted.size,
            },
            iperf,
            members: softirq_threads(),
            processes: Vec::new(),
        };
        rig.member(Part::Client, Side::Near, std::process::id());
        let size = wanted.size.to_string();
        let listen = format!("0.0.0.0:{}", haproxy::SERVER);
        let words = ["http-server", "--listen", &listen, "--size", &size];
        let mut command = vec![programs.own.display().to_string()];
        command.extend(words.map(String::from));
        rig.launch(site, Part::Server, Side::Far, "server", command)?;
        match wanted.column {
            Column::Envoy => {
                let program = programs
                    .envoy
                    .as_ref()
                    .context("there is no Envoy here")?
                    .display()
                    .to_string();
                let texts = envoy::pair(wanted.services, files).map(|value| value.to_string());
                rig.proxies(site, "envoy.json", texts, |file| {
                    let mut command = vec![program.clone()];
                    command.extend(envoy::arguments(file));
                    command
                })?;
            }
            Column::HaproxyHttp | Column::HaproxyTcp => {
                let mode = if one_port {
                    Mode::Tcp
                } else {
                    Mode::Http(wanted.protocol)
                };
                let texts = haproxy::pair(mode, wanted.services, files);
                rig.proxies(site, "haproxy.cfg", texts, |file| {
                    let file = file.display().to_string();
                    ["haproxy", "-db", "-f", &file].map(String::from).to_vec()
                })?;
            }
            _ => {}
        }
        rig.wait()?;
        Ok(rig)
    }

    /// All processes on the path.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// An error if a process ended that should run.
    ///
    /// # Errors
    /// With the end of its log.
    pub fn check(&mut self) -> anyhow::Result<()> {
        self.processes.iter_mut().try_for_each(Process::check)
    }

    /// Gbit/s of one connection to `target`.
    ///
    /// # Errors
    /// When iperf3 fails.
    pub fn throughput(
        &mut self,
        site: &Site,
        target: SocketAddr,
        seconds: f64,
    ) -> anyhow::Result<f64> {
        let port = haproxy::IPERF;
        iperf::measure(&self.namespace, SERVER, target, port, seconds, site.logs())
    }

    fn member(&mut self, part: Part, side: Side, process: u32) {
        self.members.push(Member {
            part,
            side,
            process,
        });
    }

    /// One proxy at each end, with its text as its file.
    fn proxies(
        &mut self,
        site: &Site,
        file: &str,
        texts: [String; 2],
        command: impl Fn(&std::path::Path) -> Vec<String>,
    ) -> anyhow::Result<()> {
        for (side, (name, text)) in [Side::Near, Side::Far]
            .into_iter()
            .zip(["near", "far"].into_iter().zip(texts))
        {
            let path = site.path().join(format!("{name}.{file}"));
            std::fs::write(&path, text)
                .with_context(|| format!("cannot write {}", path.display()))?;
            self.launch(site, Part::Proxy, side, name, command(&path))?;
        }
        Ok(())
    }

    fn launch(
        &mut self,
        site: &Site,
        part: Part,
        side: Side,
        name: &str,
        command: Vec<String>,
    ) -> anyhow::Result<()> {
        let namespace = match side {
            Side::Near => CLIENT,
            Side::Far => SERVER,
        };
        let spec = Spec {
            name: name.into(),
            namespace: namespace.into(),
            command,
            share: Share::Plain,
            survives: false,
        };
        let process = Process::start(spec, site.logs(), false)?;
        self.member(part, side, process.id());
        self.processes.push(process);
        Ok(())
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        let (target, question) = (self.target, self.question.clone());
        let namespace = self.namespace.clone();
        let mut ended = None;
        wait::until(
            "an answer by every service",
            Duration::from_secs(30),
            || {
                if let Err(error) = self.check() {
                    ended = Some(error);
                    return Ok(Some(()));
                }
                let question = question.clone();
                net::inside(&namespace, move || load::probe(target, &question))?;
                Ok(Some(()))
            },
        )?;
        ended.map_or(Ok(()), Err)
    }
}
