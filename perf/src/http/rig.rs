//! What a column runs on: the server and all that is between, started, ready, and ended when dropped.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use dmsc_lab::lab::Lab;
use dmsc_lab::process::{Process, Share, Spec};
use dmsc_lab::{net, wait};

use super::args::Attach;
use super::certificates::Certificates;
use super::column::{Column, Protocol, host};
use super::cost::{Member, Part, Side, softirq_threads};
use super::haproxy::Mode;
use super::load::{self, Question, Target};
use super::site::{CLIENT, SERVER, SERVER_ADDRESS, Site};
use super::{envoy, haproxy, iperf, ours};

/// Services that are called, of those that there are: a caller has a connection for each name, and 256 at most to one pod.
const CALLED: usize = 200;

/// Programs that are compared with, where they are there.
#[derive(Debug, Clone, Default)]
pub struct Programs {
    /// This program: it is the server, too.
    pub own: PathBuf,
    /// Folder of our other programs.
    pub ours: PathBuf,
    /// Envoy.
    pub envoy: Option<PathBuf>,
}

impl Programs {
    /// The command of the server.
    fn server(&self, size: usize, more: Vec<String>) -> Vec<String> {
        let mut command = vec![self.own.display().to_string(), "http-server".into()];
        command.extend(["--size".into(), size.to_string()]);
        command.extend(more);
        command
    }
}

/// Where the server listens, unless it is on names.
fn listen() -> Vec<String> {
    vec!["--listen".into(), format!("0.0.0.0:{}", haproxy::SERVER)]
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
    /// How our pods meet their gateways.
    pub attach: Attach,
}

/// A running column.
#[derive(Debug)]
pub struct Rig {
    /// Where the client runs.
    pub namespace: String,
    /// What it calls.
    pub target: Target,
    /// What it asks.
    pub question: Question,
    /// Where iperf3 connects, if bytes can pass.
    pub iperf: Option<SocketAddr>,
    members: Vec<Member>,
    processes: Vec<Process>,
    lab: Option<Lab>,
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
        let mut rig = Self {
            namespace: CLIENT.into(),
            target: Target::Address(ours::entry()?),
            question: Question {
                protocol: wanted.protocol,
                hosts: (0..wanted.services.min(CALLED)).map(host).collect(),
                size: wanted.size,
            },
            iperf: None,
            members: softirq_threads(),
            processes: Vec::new(),
            lab: None,
        };
        rig.member(Part::Client, Side::Near, std::process::id());
        if wanted.column.is_ours() {
            rig.ours(wanted, site, programs)?;
        } else {
            let server = programs.server(wanted.size, listen());
            rig.launch(site, Part::Server, Side::Far, "server", server)?;
            rig.others(wanted, site, files, programs)?;
        }
        rig.wait().map_err(|error| rig.explain(error))?;
        Ok(rig)
    }

    /// Nothing, or a pair of proxies.
    fn others(
        &mut self,
        wanted: Wanted,
        site: &Site,
        files: &Certificates,
        programs: &Programs,
    ) -> anyhow::Result<()> {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let far =
            |port| -> anyhow::Result<_> { Ok(SocketAddr::new(SERVER_ADDRESS.parse()?, port)) };
        let mode = match wanted.column {
            Column::Envoy => {
                self.target = Target::Address(local(envoy::ENTRY));
                let program = programs
                    .envoy
                    .as_ref()
                    .context("there is no Envoy here")?
                    .display()
                    .to_string();
                let texts = envoy::pair(wanted.services, files).map(|value| value.to_string());
                return self.proxies(site, "envoy.json", texts, |file| {
                    let mut command = vec![program.clone()];
                    command.extend(envoy::arguments(file));
                    command
                });
            }
            Column::HaproxyHttp => Mode::Http(wanted.protocol),
            Column::HaproxyTcp => {
                self.iperf = Some(local(haproxy::IPERF_ENTRY));
                // One port is one service.
                self.question.hosts.truncate(1);
                Mode::Tcp
            }
            _ => {
                self.target = Target::Address(far(haproxy::SERVER)?);
                self.iperf = Some(far(haproxy::IPERF)?);
                return Ok(());
            }
        };
        self.target = Target::Address(local(haproxy::ENTRY));
        let texts = haproxy::pair(mode, wanted.services, files);
        self.proxies(site, "haproxy.cfg", texts, |file| {
            let file = file.display().to_string();
            ["haproxy", "-db", "-f", &file].map(String::from).to_vec()
        })
    }

    /// A lab with two gateways, the server in its second pod.
    fn ours(&mut self, wanted: Wanted, site: &Site, programs: &Programs) -> anyhow::Result<()> {
        let Wanted {
            column,
            services,
            attach,
            ..
        } = wanted;
        let lab = ours::up(column, services, attach, site.path(), &programs.ours)?;
        let lab = self.lab.insert(lab);
        let [client, far] = ours::PODS;
        self.namespace.clone_from(&lab.plan.pods[client].namespace);
        let mut more = listen();
        if column == Column::Library {
            self.target = Target::Names(ours::membership(lab, client, ours::CLIENT)?);
            more = ours::membership(lab, far, ours::SERVED_BY)?.words();
            more.extend(["--services".into(), services.to_string()]);
        } else {
            self.iperf = Some(ours::iperf()?);
        }
        let server = programs.server(wanted.size, more);
        let server = lab.start_in_pod(far, "server", server, Share::Plain)?;
        let process = server.id();
        self.processes.push(server);
        let mut start = || {
            lab.start_edges()?;
            if column == Column::Library {
                lab.wait_for_shared(&[far])?;
            }
            ours::members(lab, column)
        };
        let started = start();
        let members = started.map_err(|error| lab.explain(error))?;
        self.members.extend(members);
        self.member(Part::Server, Side::Far, process);
        Ok(())
    }

    fn explain(&mut self, error: anyhow::Error) -> anyhow::Error {
        match &mut self.lab {
            Some(lab) => lab.explain(error),
            None => error,
        }
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
        // In the lab it was started with the edges.
        let server = self.lab.is_none().then_some(SERVER);
        iperf::measure(&self.namespace, server, target, seconds, site.logs())
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
        let (target, question) = (self.target.clone(), self.question.clone());
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
                let (target, question) = (target.clone(), question.clone());
                net::inside(&namespace, move || load::probe(&target, &question))?;
                Ok(Some(()))
            },
        )?;
        ended.map_or(Ok(()), Err)
    }
}
