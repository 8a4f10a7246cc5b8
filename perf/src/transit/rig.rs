//! What a run has once: DPDK in this process, pools, a folder, two cores; routers come and go on it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use dmsc_dpdk::{Eal, EalConfig, Mempool, MempoolConfig};

use super::far::Far;
use super::frames::Mode;
use super::link::{LINKS, Pmd, Way};
use super::router::{Idle, Router, RouterPlan};
use crate::rig::Ground;

/// Memory of this process's EAL, MiB: two pools.
const OWN_MEMORY_MB: u32 = 160;
/// Memory of the router's EAL, MiB.
const ROUTER_MEMORY_MB: u32 = 160;
/// Buffers of a pool.
const BUFFERS: u32 = 8_191;

/// The rig.
pub struct Rig {
    eal: Eal,
    /// By bytes of data room: pools stay until the process ends.
    pools: BTreeMap<u16, Mempool>,
    dir: tempfile::TempDir,
    program: PathBuf,
    /// Core of the generator.
    pub own_core: usize,
    /// Core of the router's worker.
    pub router_core: usize,
}

/// Which router is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Ways through it. The first is this process's.
    pub ways: &'static [Way],
    /// Kind of all links.
    pub pmd: Pmd,
    /// MTU of all links.
    pub mtu: u16,
    /// What its worker does without traffic.
    pub idle: Idle,
    /// Prefixes in its table, for each way.
    pub prefixes: u32,
    /// By what it forwards: in mode mac its ports are cross-connected.
    pub mode: Mode,
}

impl Rig {
    /// Enters a network namespace for `command` and starts DPDK: to be called before there are other threads.
    ///
    /// # Errors
    /// What is missing, and what to do about it.
    pub fn new(command: &str, program: PathBuf) -> anyhow::Result<Rig> {
        let Ground {
            own_core,
            router_core,
        } = Ground::enter(command)?;
        let eal = Eal::init(&EalConfig {
            program: "dmsc-perf".into(),
            memory_mb: OWN_MEMORY_MB,
            ..EalConfig::default()
        })?;
        let dir = tempfile::Builder::new()
            .prefix("dmsc-perf-")
            .tempdir()
            .context("cannot make a folder for sockets and logs")?;
        Ok(Rig {
            eal,
            pools: BTreeMap::new(),
            dir,
            program,
            own_core,
            router_core,
        })
    }

    /// Folder of sockets and logs, removed at the end.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What memory DPDK has in this process.
    pub fn memory(&self) -> String {
        self.eal.memory().to_string()
    }

    /// Whether DPDK in this process has hugepages.
    pub fn has_hugepages(&self) -> bool {
        self.eal.memory() == dmsc_dpdk::Memory::Hugepages
    }

    /// Makes the calling thread one that polls.
    ///
    /// # Errors
    /// When DPDK has no place for it.
    pub fn register(&self) -> anyhow::Result<dmsc_dpdk::LcoreGuard> {
        Ok(self.eal.register_thread()?)
    }

    fn pool(&mut self, pmd: Pmd, mtu: u16) -> anyhow::Result<Mempool> {
        let room = LINKS[0]
            .far_device(pmd, mtu, self.dir.path())
            .min_data_room(mtu)
            .max(2_176);
        if let Some(pool) = self.pools.get(&room) {
            return Ok(pool.clone());
        }
        let config = MempoolConfig {
            count: if room > 4_096 { BUFFERS / 2 } else { BUFFERS },
            cache: 256,
            data_room: room,
        };
        let pool = Mempool::new(&self.eal, &format!("far-{room}"), config)?;
        self.pools.insert(room, pool.clone());
        Ok(pool)
    }

    /// Starts a router of one way and opens the far ends of its links; both neighbours are up when this returns.
    ///
    /// # Errors
    /// What could not be had.
    pub fn start(&mut self, wanted: Wanted) -> anyhow::Result<(Router, [Far; 2], Mempool)> {
        let (router, mut far, pool) = self.start_beside(wanted)?;
        router.wait_up(&mut far)?;
        Ok((router, far, pool))
    }

    /// Starts a router and opens the far ends of its first way; those of the others somebody else opens.
    ///
    /// # Errors
    /// What could not be had.
    pub fn start_beside(&mut self, wanted: Wanted) -> anyhow::Result<(Router, [Far; 2], Mempool)> {
        let Wanted { pmd, mtu, .. } = wanted;
        let pool = self.pool(pmd, mtu)?;
        let (router, far) = Router::start(&self.plan(wanted), self.dir.path(), || {
            self.clear_sockets(pmd);
            let open = |link| Far::open(&self.eal, &pool, link, pmd, mtu, self.dir.path());
            Ok([open(LINKS[0])?, open(LINKS[1])?])
        })?;
        Ok((router, far, pool))
    }

    fn plan(&self, wanted: Wanted) -> RouterPlan {
        RouterPlan {
            program: self.program.clone(),
            ways: wanted.ways,
            pmd: wanted.pmd,
            mtu: wanted.mtu,
            idle: wanted.idle,
            core: self.router_core,
            prefixes: wanted.prefixes,
            memory_mb: ROUTER_MEMORY_MB,
            is_crossed: wanted.mode == Mode::Mac,
        }
    }

    /// A listening vhost end makes its socket anew.
    fn clear_sockets(&self, pmd: Pmd) {
        if pmd == Pmd::Virtio {
            for link in LINKS {
                let _ = std::fs::remove_file(link.socket(self.dir.path())); // there is none the first time
            }
        }
    }
}
