//! A lab: everything of a plan made, started and watched; and removed again, whatever happens.

mod authorities;
mod build;
mod centers;
mod clients;
mod converge;
mod edges;
mod routers;
mod workloads;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;

pub use clients::Client;
pub use workloads::{PYTHON, page};

use crate::agent::Agent;
use crate::configs::Paths;
use crate::credentials::Issuer;
use crate::file::LabFile;
use crate::operator::Operator;
use crate::outside::OutsideHost;
use crate::plan::Plan;
use crate::process::{Process, tail};
use crate::routes::Changes;
use crate::state::{State, StateDir};
use crate::tools::{self, Programs};

/// How a lab is brought up.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Programs live on when the lab command ends, and nothing is removed.
    pub keep: bool,
    /// Folder of our programs; none: beside this one.
    pub programs: Option<PathBuf>,
    /// Seed of the wires.
    pub seed: u64,
    /// Changes against the lab file from the start.
    pub changes: Changes,
    /// The services of the lab file are not started: a scenario does.
    pub hold_services: bool,
}

/// How long it took until the routers agreed, ns of the monotonic clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct Startup {
    /// When the last process of a router was started.
    pub last_started_ns: u64,
    /// When all link-state digests were equal and all tables acknowledged.
    pub converged_ns: u64,
}

/// A router of the lab: two processes.
#[derive(Debug)]
pub struct Router {
    /// The dataplane; none while it is dead.
    pub dataplane: Option<Process>,
    /// Its control plane; none while it is dead.
    pub controller: Option<Process>,
}

/// A running lab. Dropped: everything is removed, unless it is kept.
#[derive(Debug)]
pub struct Lab {
    /// What was planned.
    pub plan: Plan,
    /// Our programs.
    pub programs: Programs,
    /// Logs of all processes.
    pub logs: PathBuf,
    /// Routers, as in the plan.
    pub routers: Vec<Router>,
    /// Prefix authorities, as in the plan; none while one is dead.
    pub authorities: Vec<Option<Process>>,
    /// Scheduling centers, as in the plan; none while one is dead.
    pub centers: Vec<Option<Process>>,
    /// How the start went.
    pub startup: Startup,
    issuer: Issuer,
    keep: bool,
    dir: StateDir,
    state: State,
    changes: Changes,
    wires: Vec<Process>,
    servers: BTreeMap<String, Process>,
    /// Programs that know nothing of names, and those that link the library of names.
    workloads: BTreeMap<String, Process>,
    /// Names behind edges that were revoked, and are nowhere any more.
    revoked: BTreeSet<String>,
    /// Edges, as in the plan; empty before they are started, none while one is dead.
    edges: Vec<Option<Process>>,
    outside: Option<OutsideHost>,
    clients: u32,
    failed: bool,
    gone: bool,
}

/// The agent's socket of a router of lab `name`.
#[must_use]
pub fn agent_socket(dir: &Path, node: &str) -> PathBuf {
    Paths(dir).agent(node)
}

/// The control socket of the wire in a link.
#[must_use]
pub fn wire_socket(dir: &Path, link: &str) -> PathBuf {
    dir.join(format!("wire-{link}.sock"))
}

impl Lab {
    /// Brings up the lab of `file`: all routers programmed, all adjacencies up, all services registered.
    ///
    /// # Errors
    /// What is missing, or what did not come up; everything made so far is removed then.
    pub fn up(file: &Path, options: &Options) -> anyhow::Result<Self> {
        let lab_file = LabFile::read(file)?;
        let mut plan = Plan::new(&lab_file)?;
        if options.changes.files.is_some() {
            plan.one_authority();
        }
        plan.fits(std::thread::available_parallelism().map_or(1, usize::from))?;
        tools::check(plan.outside.is_some())?;
        let programs = Programs::locate(options.programs.as_deref())?;
        let dir = StateDir::lock(&plan.name)?;
        if let Some(stale) = dir.read() {
            eprintln!("lab {}: removing what an earlier run left", plan.name);
            report(&dir.clean(&stale));
        }
        let logs = std::env::temp_dir().join(format!("dmsc-lab-{}", plan.name));
        let _ = std::fs::remove_dir_all(&logs);
        std::fs::create_dir_all(&logs)
            .with_context(|| format!("cannot make {}", logs.display()))?;
        let state = State {
            file: file.canonicalize()?,
            programs: Path::new(&programs.path("x"))
                .parent()
                .map(Path::to_path_buf)
                .unwrap_or_default(),
            logs: logs.clone(),
            namespaces: plan.namespaces(),
            eal_prefixes: plan.nodes.iter().map(|n| n.namespace.clone()).collect(),
        };
        build::refuse_foreign(&plan)?;
        choose_memory(&mut plan);
        dir.write(&state)?;
        let issuer = Issuer::prepare(&plan, Paths(dir.path()))?;
        let mut lab = Self {
            plan,
            programs,
            logs,
            routers: Vec::new(),
            authorities: Vec::new(),
            centers: Vec::new(),
            startup: Startup::default(),
            issuer,
            keep: options.keep,
            dir,
            state,
            changes: options.changes.clone(),
            wires: Vec::new(),
            servers: BTreeMap::new(),
            workloads: BTreeMap::new(),
            revoked: BTreeSet::new(),
            edges: Vec::new(),
            outside: None,
            clients: 0,
            failed: false,
            gone: false,
        };
        // From here on `lab` removes everything when it is dropped.
        if let Err(error) = lab.bring_up(options) {
            return Err(lab.explain(error));
        }
        Ok(lab)
    }

    fn bring_up(&mut self, options: &Options) -> anyhow::Result<()> {
        let began = Instant::now();
        build::network(&self.plan)?;
        self.start_wires(options.seed)?;
        self.start_authorities()?;
        if options.hold_services {
            self.plan.centers_held = true;
        } else {
            self.start_centers()?;
        }
        self.start_routers()?;
        if let Some(outside) = self.plan.outside.clone() {
            self.outside = Some(OutsideHost::start(self, &outside)?);
        }
        self.wait_for_adjacencies(Duration::from_secs(30))?;
        if !options.hold_services && self.changes.files.is_none() {
            self.start_services()?;
            self.start_edges()?;
        }
        if let Some(outside) = &mut self.outside {
            outside.wait()?;
        }
        eprintln!(
            "lab {}: {} routers, {} links, {} pods up in {:.1} s",
            self.plan.name,
            self.plan.nodes.len(),
            self.plan.links.len(),
            self.plan.pods.len(),
            began.elapsed().as_secs_f32()
        );
        Ok(())
    }

    /// The folder with configurations and sockets.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Asks the agent of router `node`.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn agent(&self, node: usize) -> anyhow::Result<Agent> {
        Agent::connect(&agent_socket(self.path(), &self.plan.nodes[node].name))
    }

    /// Where its files and sockets are.
    #[must_use]
    pub fn paths(&self) -> Paths<'_> {
        Paths(self.path())
    }

    /// Asks the control plane of router `node`.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn operator(&self, node: usize) -> anyhow::Result<Operator> {
        Operator::connect(&self.paths().operator(&self.plan.nodes[node].name))
    }

    /// Changes against the lab file that are in force.
    #[must_use]
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Whether the lab outlives this process.
    #[must_use]
    pub fn kept(&self) -> bool {
        self.keep
    }

    /// Adds to an error what helps to find its cause: processes that ended, the last log lines, and counters of all routers in the log folder.
    pub fn explain(&mut self, error: anyhow::Error) -> anyhow::Error {
        self.failed = true;
        let said = format!("{error:#}");
        let mut hints = Vec::new();
        for process in self.processes() {
            if let Err(ended) = process.check() {
                let text = format!("{ended:#}");
                if !said.contains(&text) {
                    hints.push(text);
                }
            }
        }
        for process in self.processes() {
            let log = tail(process.log(), 3);
            let loud = ["error", "ERROR", "warn", "WARN", "panic"];
            if loud.iter().any(|word| log.contains(word)) {
                hints.push(format!("{}:\n{log}", process.log().display()));
            }
        }
        for node in 0..self.plan.nodes.len() {
            let name = &self.plan.nodes[node].name;
            let text = self
                .agent(node)
                .and_then(|mut agent| agent.everything())
                .unwrap_or_else(|error| format!("{error:#}"));
            let _ = std::fs::write(self.logs.join(format!("{name}.counters")), text);
            let text = self
                .operator(node)
                .and_then(|mut operator| operator.everything())
                .unwrap_or_else(|error| format!("{error:#}"));
            let _ = std::fs::write(self.logs.join(format!("{name}.linkstate")), text);
        }
        hints.push(format!(
            "logs of all processes, counters and link state of all routers: {}",
            self.logs.display()
        ));
        anyhow::anyhow!("{said}\n{}", hints.join("\n"))
    }

    fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        self.routers
            .iter_mut()
            .flat_map(|r| r.dataplane.iter_mut().chain(r.controller.iter_mut()))
            .chain(self.authorities.iter_mut().flatten())
            .chain(self.centers.iter_mut().flatten())
            .chain(self.wires.iter_mut())
            .chain(self.servers.values_mut())
            .chain(self.workloads.values_mut())
            .chain(self.edges.iter_mut().flatten())
            .chain(self.outside.iter_mut().flat_map(OutsideHost::processes))
    }

    /// Ends and removes everything now.
    pub fn down(&mut self) {
        if std::mem::replace(&mut self.gone, true) {
            return;
        }
        // Asked first, so that their last log lines tell why they ended.
        for process in self.processes() {
            process.signal(nix::sys::signal::Signal::SIGTERM);
        }
        let end = Instant::now() + Duration::from_secs(2);
        while Instant::now() < end && self.processes().any(Process::alive) {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.routers.clear();
        self.authorities.clear();
        self.centers.clear();
        self.wires.clear();
        self.servers.clear();
        self.workloads.clear();
        self.edges.clear();
        self.outside = None;
        report(&self.dir.clean(&self.state));
        if !self.failed && !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.logs);
        }
    }

    fn leave(&mut self) {
        self.gone = true;
        for router in std::mem::take(&mut self.routers) {
            router.dataplane.into_iter().for_each(Process::leave);
            router.controller.into_iter().for_each(Process::leave);
        }
        std::mem::take(&mut self.authorities)
            .into_iter()
            .chain(std::mem::take(&mut self.centers))
            .flatten()
            .for_each(Process::leave);
        std::mem::take(&mut self.wires)
            .into_iter()
            .for_each(Process::leave);
        std::mem::take(&mut self.servers)
            .into_values()
            .chain(std::mem::take(&mut self.workloads).into_values())
            .chain(std::mem::take(&mut self.edges).into_iter().flatten())
            .for_each(Process::leave);
        if let Some(outside) = self.outside.take() {
            outside.leave();
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.keep && !crate::wait::interrupted() && !self.failed {
            self.leave();
        } else {
            self.down();
        }
    }
}

/// Decides "auto" once for all routers: each for itself, at the same moment, would find pages free that another is about to take.
fn choose_memory(plan: &mut Plan) {
    if plan.router.huge != "auto" {
        return;
    }
    let number = |key: &str| -> u64 {
        let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        info.lines()
            .find_map(|line| line.strip_prefix(key))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|n| n.parse().ok())
            .unwrap_or(0)
    };
    let size_mb = (number("Hugepagesize:") / 1_024).max(1);
    let each = u64::from(plan.router.memory_mb).div_ceil(size_mb);
    // One more: a dataplane that takes over lives beside the one that it replaces.
    let needed = each * (plan.nodes.len() as u64 + 1);
    // The kernel gives pages of a lab that just ended back a moment later.
    let end = Instant::now() + Duration::from_secs(1);
    let mut free = number("HugePages_Free:");
    while free < needed && number("HugePages_Total:") >= needed && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
        free = number("HugePages_Free:");
    }
    plan.router.huge = if free >= needed { "yes" } else { "no" }.into();
    if free < needed {
        eprintln!(
            "lab {}: {free} huge pages are free and {needed} needed, so the routers run without them, more slowly; \
             `sysctl -w vm.nr_hugepages={}` reserves them",
            plan.name,
            number("HugePages_Total:") + needed - free
        );
    }
}

/// Removes a lab that was kept, or that crashed.
///
/// # Errors
/// When a living process still works on it.
pub fn remove(name: &str) -> anyhow::Result<bool> {
    let dir = StateDir::lock(name)?;
    let Some(state) = dir.read() else {
        let _ = std::fs::remove_dir_all(dir.path());
        return Ok(false);
    };
    report(&dir.clean(&state));
    let _ = std::fs::remove_dir_all(&state.logs);
    Ok(true)
}

/// Tells what could not be removed.
fn report(problems: &[String]) {
    for problem in problems {
        eprintln!("left behind: {problem}");
    }
}
