//! The router under test: configured, started, programmed, and asked what it did.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::ValueEnum;
use dmsc_proto::v1::{self, op::Op};
use dmsc_wire::NodeId;
use tokio::runtime::Runtime;

use super::far::Far;
use super::frames;
use super::link::{Pmd, Way};
use crate::torture::dataplane::{self, Dataplane};
use crate::torture::net;

/// The router's node id.
pub const NODE: NodeId = NodeId(1);
/// Prefixes in one transaction.
const BATCH: u32 = 20_000;
/// Longest wait for all neighbours to be up.
const PATIENCE: Duration = Duration::from_secs(20);
/// Name of the process's files.
const NAME: &str = "router";

/// What a worker does when nothing comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Idle {
    /// Polls on.
    Poll,
    /// Sleeps, as it is configured unless somebody changes it.
    Block,
}

/// Everything that decides what the router is.
#[derive(Debug, Clone)]
pub struct RouterPlan {
    /// The program.
    pub program: PathBuf,
    /// Ways through it.
    pub ways: &'static [Way],
    /// Kind of all links.
    pub pmd: Pmd,
    /// MTU of all links.
    pub mtu: u16,
    /// What its worker does without traffic.
    pub idle: Idle,
    /// Core of its worker.
    pub core: usize,
    /// Prefixes to program, for each way.
    pub prefixes: u32,
    /// Memory of its EAL, MiB.
    pub memory_mb: u32,
    /// Its ports are cross-connected: `crossed` runs in its place.
    pub is_crossed: bool,
}

impl RouterPlan {
    /// The command that takes `--config FILE`.
    fn command(&self) -> anyhow::Result<Vec<OsString>> {
        Ok(match self.is_crossed {
            true => vec![std::env::current_exe()?.into(), "crossed-router".into()],
            false => vec![self.program.clone().into()],
        })
    }
}

/// What a worker did, as sums since the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Work {
    /// Packets received.
    pub packets: u64,
    /// Polls that returned some.
    pub bursts: u64,
    /// Cycles of polls that returned some.
    pub busy_cycles: u64,
    /// The counter of cycles itself.
    pub now_cycles: u64,
}

impl Work {
    /// Packets per poll that returned some, since `before`.
    pub fn mean_burst(&self, before: &Work) -> Option<f64> {
        let bursts = self.bursts.saturating_sub(before.bursts);
        (bursts > 0).then(|| (self.packets - before.packets) as f64 / bursts as f64)
    }

    /// Share of the time since `before` that went into polls that returned some.
    pub fn busy(&self, before: &Work) -> Option<f64> {
        let all = self.now_cycles.saturating_sub(before.now_cycles);
        let busy = self.busy_cycles.saturating_sub(before.busy_cycles);
        (all > 0).then(|| busy as f64 / all as f64)
    }
}

/// A running router; killed and its interfaces removed when this value goes.
#[derive(Debug)]
pub struct Router {
    dataplane: Dataplane,
    runtime: Runtime,
    _interfaces: Option<Interfaces>,
}

/// The veth pairs of all links; removed when this value goes.
#[derive(Debug)]
struct Interfaces(&'static [Way]);

impl Interfaces {
    fn make(ways: &'static [Way], mtu: u16) -> anyhow::Result<Interfaces> {
        let made = Interfaces(ways); // also what was made before an error is removed
        for link in ways.as_flattened() {
            let (own, other) = (link.interface(), link.far_interface());
            net::veth_of(&own, &other, &link.mac().to_string(), mtu)?;
        }
        Ok(made)
    }
}

impl Drop for Interfaces {
    fn drop(&mut self) {
        for link in self.0.as_flattened() {
            net::unveth(&link.far_interface());
        }
    }
}

impl Router {
    /// Makes interfaces where they are needed, starts the program, and loads its tables. For [`Pmd::Virtio`] the far ends must
    /// be open before: `far` opens them, before or after.
    ///
    /// # Errors
    /// What could not be had, with the end of the router's log.
    pub fn start<T>(
        plan: &RouterPlan,
        dir: &Path,
        mut far: impl FnMut() -> anyhow::Result<T>,
    ) -> anyhow::Result<(Router, T)> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let interfaces = match plan.pmd {
            Pmd::AfPacket => Some(Interfaces::make(plan.ways, plan.mtu)?),
            _ => None,
        };
        let mut opened = None;
        if plan.pmd == Pmd::Virtio {
            opened = Some(far()?);
        }
        let (command, text) = (plan.command()?, configuration(plan, dir));
        let dataplane = loop {
            let start = Dataplane::start_by(&command, dir, NAME, &text);
            let dataplane = runtime.block_on(start)?;
            if plan.pmd != Pmd::AfPacket || !fanouts_collide(plan.ways, dataplane.id())? {
                break dataplane;
            }
            runtime.block_on(dataplane.stop())?; // its process id is an unlucky one
        };
        let opened = match opened {
            Some(opened) => opened,
            None => far()?,
        };
        let router = Router {
            dataplane,
            runtime,
            _interfaces: interfaces,
        };
        for way in plan.ways {
            router.program(*way, plan.prefixes)?;
        }
        Ok((router, opened))
    }

    fn program(&self, way: Way, prefixes: u32) -> anyhow::Result<()> {
        for ops in operations(way, prefixes) {
            self.runtime.block_on(self.dataplane.apply(ops))?;
        }
        Ok(())
    }

    /// Keeps the far ends talking until all neighbours are up.
    ///
    /// # Errors
    /// When they are not in time, with what is missing.
    pub fn wait_up(&self, far: &mut [Far]) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let soon = Instant::now() + Duration::from_millis(20);
            while Instant::now() < soon {
                far.iter_mut().for_each(Far::turn);
            }
            let missing = self.runtime.block_on(self.dataplane.unready(&[], &[]))?;
            if missing.is_empty() {
                return Ok(());
            }
            if Instant::now() > end {
                bail!(
                    "the router's neighbours are not up after {} s: {}",
                    PATIENCE.as_secs(),
                    missing.join(", ")
                );
            }
        }
    }

    /// Waits until somebody is connected to all links.
    ///
    /// # Errors
    /// When nobody is in time.
    pub fn wait_carrier(&self) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        while !self.runtime.block_on(self.dataplane.has_carrier())? {
            if Instant::now() > end {
                bail!(
                    "nobody connected to the router's links within {} s",
                    PATIENCE.as_secs()
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// What its worker did.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn work(&self) -> anyhow::Result<Work> {
        let workers = self.runtime.block_on(self.dataplane.workers())?;
        Ok(workers.iter().fold(Work::default(), |sum, worker| Work {
            packets: sum.packets + worker.packets,
            bursts: sum.bursts + worker.bursts,
            busy_cycles: sum.busy_cycles + worker.busy_cycles,
            now_cycles: worker.now_cycles,
        }))
    }

    /// What it dropped of what came in by the first link of a way, by reason.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn drops(&self, way: Way) -> anyhow::Result<Vec<(String, u64)>> {
        let ports = self.runtime.block_on(self.dataplane.counters())?;
        let port = ports.get(way[0].port);
        Ok(port.map_or_else(Vec::new, |port| port.drops.clone().into_iter().collect()))
    }

    /// Its boot nonce.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn boot_nonce(&self) -> anyhow::Result<u64> {
        self.runtime.block_on(self.dataplane.greet())
    }

    /// Asks it to end, and waits.
    ///
    /// # Errors
    /// When it does not end well.
    pub fn stop(self) -> anyhow::Result<()> {
        self.runtime.block_on(self.dataplane.stop())
    }
}

/// What is programmed, transaction by transaction: both neighbours, the way to them, and prefixes that are all behind the second.
pub fn operations(way: Way, prefixes: u32) -> impl Iterator<Item = Vec<v1::Op>> {
    let domain = way[0].domain().0;
    // Every way has a group of its own, too.
    let group = domain;
    let mut ops: Vec<Op> = way
        .into_iter()
        .map(|link| {
            Op::PutAdjacency(v1::Adjacency {
                id: link.adjacency(),
                port: link.port.into(),
                peer: link.far_node().0,
                encapsulation: "udp".into(),
                local_address: link.address().to_string(),
                remote_address: link.far_address().to_string(),
                ..v1::Adjacency::default()
            })
        })
        .collect();
    ops.extend(way.into_iter().map(|link| {
        Op::PutGateway(v1::Gateway {
            topology: 0,
            gateway: link.far_node().0,
            metric: 10,
            next_hops: vec![link.adjacency()],
            ..v1::Gateway::default()
        })
    }));
    ops.push(Op::PutGroup(v1::Group {
        id: group,
        members: vec![v1::Member {
            gateway: way[1].far_node().0,
            metric: 10,
            weight: 1,
            delay_weight: 0,
        }],
        weighted: false,
    }));
    let batches = (0..prefixes).step_by(BATCH as usize).map(move |first| {
        let numbers = first..prefixes.min(first + BATCH);
        let puts = numbers.map(|number| {
            Op::PutPrefix(v1::Prefix {
                domain,
                name: frames::prefix(number).as_bytes().to_vec(),
                group,
            })
        });
        puts.collect()
    });
    std::iter::once(ops)
        .chain(batches)
        .map(|ops: Vec<Op>| ops.into_iter().map(|op| v1::Op { op: Some(op) }).collect())
}

/// The router's program: in `dir`, else beside this one.
///
/// # Errors
/// When it is not there, with how to build it.
pub fn find_dataplane(dir: Option<&Path>) -> anyhow::Result<PathBuf> {
    let dir = match dir {
        Some(dir) => dir.into(),
        None => std::env::current_exe()?
            .parent()
            .map(PathBuf::from)
            .unwrap_or_default(),
    };
    let program = dir.join("dmsc-dataplane");
    if !program.is_file() {
        bail!(
            "dmsc-dataplane is not in {}: build it with `cargo build --release -p dmsc-dataplane`, or name its folder with --bin-dir",
            dir.display()
        );
    }
    Ok(program.canonicalize()?)
}

fn configuration(plan: &RouterPlan, dir: &Path) -> String {
    let idle = match plan.idle {
        Idle::Poll => "poll",
        Idle::Block => "block",
    };
    let mut text = format!(
        "[node]\nid = {NODE}\nname = \"router\"\nrole = \"sr\"\n\n[eal]\nmemory_mb = {}\nfile_prefix = \"dmsc-perf-{}\"\n\n[workers]\ncores = [{}]\nidle = \"{idle}\"\n\n[agent]\nsocket = \"{}\"\n\n",
        plan.memory_mb,
        std::process::id(),
        plan.core,
        dataplane::socket(dir, NAME).display(),
    );
    for link in plan.ways.as_flattened() {
        text.push_str(&link.section(plan.pmd, plan.mtu, dir));
    }
    text
}

fn fanouts_collide(ways: &[Way], process: u32) -> anyhow::Result<bool> {
    let links = ways.as_flattened().iter();
    let theirs: Vec<String> = links.clone().map(|link| link.interface()).collect();
    let ours: Vec<String> = links.map(|link| link.far_interface()).collect();
    net::groups_collide(&theirs, process, &ours)
}
