//! A gateway with two attachments of one kind, and the processes that are attached.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use dmsc_lab::wait;
use dmsc_proto::v1::{self, op::Op};
use tokio::runtime::Runtime;

use super::order::{Answer, Load, Order, Seen};
use super::process::Process;
use super::site::{By, GATEWAY, MTU, Side};
use crate::http::cost::{Cost, Member, Part, Snapshot, softirq_threads};
use crate::http::memory;
use crate::torture::dataplane::{self, Dataplane};
use crate::torture::net;

/// Name of the gateway's files.
const NAME: &str = "gateway";
/// Memory of the gateway's EAL, MiB.
const MEMORY_MB: u32 = 64;
/// Longest wait until both are attached.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where everything runs.
#[derive(Debug, Clone)]
pub struct Place {
    /// The gateway's program.
    pub program: PathBuf,
    /// Core of both processes and of all that is no worker.
    pub end_core: usize,
    /// Core of the gateway's worker.
    pub gateway_core: usize,
}

/// All that runs for one kind; ended and removed when this value goes.
pub struct Rig {
    /// Caller and server; ended before the gateway.
    ends: Vec<Process>,
    gateway: Dataplane,
    runtime: Runtime,
    _pairs: Vec<Pair>,
    cores: [usize; 2],
    _dir: tempfile::TempDir,
}

/// Memory, MB: share of what is shared, and huge pages. What both ends map counts at both.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub struct Memory {
    /// The gateway.
    pub gateway_mb: f64,
    /// One process.
    pub end_mb: f64,
}

impl Rig {
    /// Starts it; returns when both processes are attached.
    ///
    /// # Errors
    /// What could not be had.
    pub fn start(place: &Place, by: By) -> anyhow::Result<Rig> {
        let dir = tempfile::Builder::new()
            .prefix("dmsc-perf-")
            .tempdir()
            .context("cannot make a folder for sockets and logs")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut ends = Vec::new();
        for side in Side::BOTH {
            ends.push(Process::start(by, side, dir.path(), place.end_core)?);
        }
        let mut pairs = Vec::new();
        if by == By::Udp {
            for (side, end) in Side::BOTH.into_iter().zip(&ends) {
                pairs.push(Pair::make(side, end.id())?);
            }
        }
        let text = configuration(place, by, dir.path());
        let start = Dataplane::start(&place.program, dir.path(), NAME, &text);
        let gateway = runtime.block_on(start)?;
        for end in &mut ends {
            end.ask(Order::Open)?;
        }
        let ops = Side::BOTH.map(|side| v1::Op {
            op: Some(Op::Attach(side.attachment())),
        });
        runtime.block_on(gateway.apply(ops.into()))?;
        wait::until("both attachments", PATIENCE, || {
            let missing = runtime.block_on(gateway.unready(&[], &[]))?;
            if missing.is_empty() {
                return Ok(Some(()));
            }
            bail!("{}", missing.join(", "))
        })?;
        Ok(Rig {
            ends,
            gateway,
            runtime,
            _pairs: pairs,
            cores: [place.end_core, place.gateway_core],
            _dir: dir,
        })
    }

    fn members(&self) -> Vec<Member> {
        let parts = [Part::Client, Part::Server];
        let sides = [crate::http::cost::Side::Near, crate::http::cost::Side::Far];
        let ends = parts.into_iter().zip(sides).zip(&self.ends);
        let mut members: Vec<Member> = ends
            .map(|((part, side), end)| Member {
                part,
                side,
                process: end.id(),
            })
            .collect();
        members.push(Member {
            part: Part::Gateway,
            side: crate::http::cost::Side::Near,
            process: self.gateway.id(),
        });
        members.extend(softirq_threads());
        members
    }

    /// Has the caller do this, and tells what it saw and what it cost.
    ///
    /// # Errors
    /// When nothing was answered, or somebody asked to stop.
    pub fn run(&mut self, load: Load) -> anyhow::Result<(Seen, Cost)> {
        let members = self.members();
        let before = Snapshot::take(&members, &self.cores);
        let caller = self.ends.first_mut().context("there is a caller")?;
        let answer = caller.ask(Order::Run(load))?;
        let cost = Snapshot::take(&members, &self.cores).since(&before);
        match answer {
            Answer::Ran(seen) if seen.done > 0 => Ok((seen, cost)),
            _ => bail!(
                "nothing of {load:?} was answered; the gateway dropped {:?}",
                self.drops()?
            ),
        }
    }

    /// What the gateway dropped since its start, by reason.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn drops(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let ports = self.runtime.block_on(self.gateway.counters())?;
        let mut sum = BTreeMap::new();
        for (reason, count) in ports.into_values().flat_map(|port| port.drops) {
            *sum.entry(reason).or_default() += count;
        }
        Ok(sum)
    }

    /// What the gateway and the larger of the two processes have now.
    pub fn memory(&self) -> Memory {
        let ends = self.ends.iter().map(|end| memory::of(end.id()));
        Memory {
            gateway_mb: memory::of(self.gateway.id()),
            end_mb: ends.fold(0.0, f64::max),
        }
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// When something does not end well.
    pub fn stop(self) -> anyhow::Result<()> {
        for end in self.ends {
            end.stop()?;
        }
        self.runtime.block_on(self.gateway.stop())
    }
}

/// A veth pair, the process's end in its namespace; removed when this value goes.
struct Pair(Side);

impl Pair {
    fn make(side: Side, process: u32) -> anyhow::Result<Pair> {
        let (own, far) = (side.gateway_interface(), side.interface());
        net::veth_of(&own, &far, &side.gateway_mac().to_string(), MTU)?;
        let pair = Pair(side);
        let output = Command::new("ip")
            .args(["link", "set", &far, "netns", &process.to_string()])
            .output()
            .context("cannot run ip: install iproute2")?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            bail!("{far} cannot be moved into a namespace: {}", error.trim());
        }
        Ok(pair)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // Not left to the end of the process's namespace, which comes some time after the process's.
        net::unveth(&self.0.gateway_interface());
    }
}

fn configuration(place: &Place, by: By, dir: &Path) -> String {
    let mut text = format!(
        "[node]\nid = {GATEWAY}\nname = \"{NAME}\"\nrole = \"sg\"\n\n[eal]\nmemory_mb = {MEMORY_MB}\nfile_prefix = \"dmsc-attach-{}\"\n\n[workers]\ncores = [{}]\nidle = \"block\"\n\n[agent]\nsocket = \"{}\"\n\n",
        std::process::id(),
        place.gateway_core,
        dataplane::socket(dir, NAME).display(),
    );
    for side in Side::BOTH {
        text.push_str(&side.section(by, dir));
    }
    text
}
