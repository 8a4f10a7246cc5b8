//! What `load`, `churn`, `failover` and `idle` have in common: a real dataplane, programmed over its agent's socket, with this
//! program at the other end of its ports, and clocks that can be believed.

mod gaps;
mod ground;
mod looped;
mod names;
mod neighbour;
mod occupied;
mod threads;
mod transactions;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use dmsc_dpdk::{Eal, EalConfig, Mempool, MempoolConfig};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

pub use gaps::{GapUs, Sampler, Samples};
pub use ground::Ground;
pub use looped::{Looped, Traffic, behind, next_hops, route};
pub use names::{domain, prefix, put_prefix};
pub use neighbour::{Call, HELLO, Neighbour, Place, af_packet, gateway, number, until_up};
use occupied::Occupied;
pub use threads::CpuClock;
pub use transactions::{Plan, apply_all, apply_paced};

use crate::torture::dataplane::Dataplane;
use crate::torture::net;
use crate::transit::find_dataplane;

/// Arguments of all four commands.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Rounds; medians of them are shown
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,
    /// Write all figures to FILE as JSON; without FILE: to standard output, instead of the table
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub json: Option<PathBuf>,
    /// Folder of dmsc-dataplane [default: that of dmsc-perf]
    #[arg(long, value_name = "DIR")]
    pub bin_dir: Option<PathBuf>,
}

/// Core of everything but the worker: agent, client, generator.
pub const CONTROL_CORE: usize = 0;
/// Core of the worker.
pub const WORKER_CORE: usize = 1;

/// Where a command runs: a network namespace, DPDK, a folder; all of it goes with this value or the process.
pub struct Bench {
    /// The program that is measured.
    pub program: PathBuf,
    /// Configurations, logs and sockets.
    pub dir: PathBuf,
    /// DPDK in this process, for the other ends of ports.
    pub eal: Arc<Eal>,
    /// Buffers for them.
    pub pool: Mempool,
    cores: CpuSet,
    interrupted: Arc<AtomicBool>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir); // what is left of it does no harm
    }
}

impl Bench {
    /// Prepares everything; to be called before any other thread is there.
    ///
    /// # Errors
    /// What is missing: root, the program, a second core, DPDK.
    pub fn new(common: &Common, name: &str) -> anyhow::Result<Bench> {
        let program = find_dataplane(common.bin_dir.as_deref())?;
        let cores = sched_getaffinity(Pid::from_raw(0)).context("allowed cores cannot be read")?;
        // These commands name the cores themselves: the first two there are.
        Ground::enter(name)?;
        let eal = Eal::init(&EalConfig {
            program: "dmsc-perf".into(),
            memory_mb: 128,
            ..EalConfig::default()
        })?;
        let config = MempoolConfig {
            count: 16_383,
            cache: 256,
            data_room: 2_304,
        };
        let pool = Mempool::new(&eal, "perf", config)?;
        let dir = std::env::temp_dir().join(format!("dmsc-perf-{name}-{}", std::process::id()));
        std::fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Bench {
            program,
            dir,
            eal: Arc::new(eal),
            pool,
            cores,
            interrupted: Arc::default(),
        })
    }

    /// Runs `work` to its end on this thread; signals interrupt it at its next [`Bench::check`].
    pub fn run<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let (mut term, mut int) = (
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
            );
            let interrupted = Arc::clone(&self.interrupted);
            tokio::spawn(async move {
                tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
                interrupted.store(true, Relaxed);
            });
            work.await
        })
    }

    /// Undoes [`pin`]: a dataplane that is started may run on all cores again.
    pub fn unpin(&self) -> anyhow::Result<()> {
        sched_setaffinity(Pid::from_raw(0), &self.cores).context("the allowed cores are others now")
    }

    /// An error once a signal came.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.interrupted.load(Relaxed) {
            bail!("interrupted by a signal; everything was ended and removed");
        }
        Ok(())
    }

    /// Waits; an error once a signal came.
    pub async fn pause(&self, time: Duration) -> anyhow::Result<()> {
        let end = tokio::time::Instant::now() + time;
        while tokio::time::Instant::now() < end {
            self.check()?;
            let step = tokio::time::Instant::now() + Duration::from_millis(100);
            tokio::time::sleep_until(end.min(step)).await;
        }
        self.check()
    }
}

/// Starts a dataplane over veth pairs, which are made here; the calling thread is on the control core from then on.
///
/// # Errors
/// When it does not start.
pub async fn start_on_veth(
    bench: &Bench,
    name: &str,
    text: &str,
    places: &[Place],
) -> anyhow::Result<Dataplane> {
    for place in places {
        let (own, far) = (place.interface(), place.far_interface());
        net::veth(&own, &far, &place.mac().to_string())?;
    }
    let theirs: Vec<String> = places.iter().map(|place| place.interface()).collect();
    let ours: Vec<String> = places.iter().map(|place| place.far_interface()).collect();
    loop {
        bench.unpin()?;
        let dataplane = Dataplane::start(&bench.program, &bench.dir, name, text).await?;
        pin(CONTROL_CORE)?;
        if !net::groups_collide(&theirs, dataplane.id(), &ours)? {
            return Ok(dataplane);
        }
        // An unlucky process id: the kernel would take our sockets and theirs for one group.
        dataplane.stop().await?;
        bench.check()?;
    }
}

/// Keeps the calling thread, and those that it starts from now on, on one core.
pub fn pin(core: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(core)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .with_context(|| {
            format!("core {core} cannot be used: is it allowed for this process (taskset -p)?")
        })
}

/// Head of a dataplane's configuration.
pub fn head(dir: &Path, name: &str, idle: &str, memory_mb: u32) -> String {
    format!(
        "[node]\nid = 1\nname = \"{name}\"\nrole = \"sg\"\n\n[eal]\nmemory_mb = {memory_mb}\nfile_prefix = \"dmsc-{name}-{}\"\n\n[workers]\ncores = [{WORKER_CORE}]\nidle = \"{idle}\"\n\n[agent]\nsocket = \"{}\"\n\n",
        std::process::id(),
        crate::torture::dataplane::socket(dir, name).display()
    )
}
