//! The far end of a link as a port of this process: a neighbour that keeps the link up while a generator uses its queues.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use dmsc_dpdk::{Burst, Eal, Mempool, Port, PortConfig, RxQueue, TxQueue};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::link::{Link, Pmd};
use super::neighbour::{self, INTERVAL_MS, Neighbour};
use crate::speaker;
use crate::torture::outer::Frame;

/// The far end of one link.
pub struct Far {
    link: Link,
    mtu: u16,
    /// What the router sent.
    pub rx: RxQueue,
    /// Towards the router.
    pub tx: TxQueue,
    pool: Mempool,
    neighbour: Neighbour,
    frame: Frame,
    next_hello: Instant,
}

impl Far {
    /// Opens it.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub fn open(
        eal: &Eal,
        pool: &Mempool,
        link: Link,
        pmd: Pmd,
        mtu: u16,
        dir: &Path,
    ) -> anyhow::Result<Far> {
        let device = link.far_device(pmd, mtu, dir);
        let port = Port::create(eal, &format!("far-{}", link.port), &device)
            .and_then(|port| port.start(PortConfig::new(pool)))
            .with_context(|| format!("the far end of link {:?} cannot be had", link.port))?;
        let (rx, tx) = port
            .queues
            .into_iter()
            .next()
            .context("a port has a queue")?;
        Ok(Far {
            link,
            mtu,
            rx,
            tx,
            pool: pool.clone(),
            neighbour: Neighbour::new(),
            frame: Frame::default(),
            next_hello: Instant::now(),
        })
    }

    /// Receives, listens for hellos, and says what is due.
    pub fn turn(&mut self) {
        let mut burst = Burst::new();
        self.rx.burst(&mut burst);
        for mbuf in burst.iter().filter(|mbuf| mbuf.is_contiguous()) {
            self.neighbour.hear(mbuf.data());
        }
        self.say_what_is_due(Instant::now());
    }

    /// Listens to a frame that somebody else received.
    pub fn hear(&mut self, frame: &[u8]) {
        self.neighbour.hear(frame);
    }

    /// Says hello, and where it is, if it is time to; what the driver does not take is said again later.
    pub fn say_what_is_due(&mut self, now: Instant) {
        if now < self.next_hello {
            return;
        }
        self.next_hello = now + Duration::from_millis(u64::from(INTERVAL_MS));
        let mut frame = std::mem::take(&mut self.frame);
        neighbour::introduction(self.link, &mut frame);
        speaker::send(&mut self.tx, &self.pool, &frame.bytes);
        self.neighbour.hello(self.link, self.mtu, &mut frame);
        speaker::send(&mut self.tx, &self.pool, &frame.bytes);
        self.frame = frame;
    }
}

/// Keeps the calling thread, and what it starts, on one core until this value goes.
#[derive(Debug)]
pub struct Pinned(CpuSet);

/// Keeps the calling thread on `core`.
///
/// # Errors
/// When the kernel refuses.
pub fn pin(core: usize) -> anyhow::Result<Pinned> {
    let own = Pid::from_raw(0);
    let before = sched_getaffinity(own)?;
    let mut set = CpuSet::new();
    set.set(core)?;
    sched_setaffinity(own, &set)
        .with_context(|| format!("this thread cannot run on core {core}"))?;
    Ok(Pinned(before))
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ = sched_setaffinity(Pid::from_raw(0), &self.0); // it was allowed before
    }
}
