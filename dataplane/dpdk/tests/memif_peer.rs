//! A peer of a memif port goes away under traffic, again and again: the port lives, and serves the next one.
//!
//! `DMSC_KILLS` is how often, per role; the peer is this program once more, killed by SIGKILL.

mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use common::{eal, wait_for};
use dmsc_dpdk::{
    Burst, Device, Eal, MemifRole, Mempool, MempoolConfig, Port, PortConfig, PortHandle, RxQueue,
    TxQueue,
};

/// Kills per role where `DMSC_KILLS` does not say.
const KILLS: u32 = 10;
/// Large frames: bursts are long, and the peer goes in the middle of one.
const FRAME: usize = 9_000;
const SOCKET: &str = "DMSC_TEST_MEMIF";

#[test]
fn killed_peers() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("memif.sock");
    let kills = std::env::var("DMSC_KILLS").map_or(KILLS, |n| n.parse().unwrap());
    let eal = eal(256);
    let pool = pool(&eal);

    // As the server: one port, one peer after the other.
    let port = Traffic::start(&eal, &pool, &socket, MemifRole::Server);
    for _ in 0..kills {
        let peer = Peer::start(&socket, MemifRole::Client);
        port.meet_and_lose(peer);
    }
    drop(port);

    // As the client, which connects when its port starts.
    for _ in 0..kills {
        let peer = Peer::start(&socket, MemifRole::Server);
        Traffic::start(&eal, &pool, &socket, MemifRole::Client).meet_and_lose(peer);
        // A killed server leaves its socket.
        std::fs::remove_file(&socket).unwrap();
    }
    wait_for("buffers back", || pool.in_use() == 0);
}

/// Not a test: the peer, until it is killed.
#[test]
#[ignore = "started by killed_peers"]
fn peer() {
    let (Ok(socket), role) = (std::env::var(SOCKET), std::env::var("DMSC_TEST_ROLE")) else {
        return;
    };
    let role = match role.as_deref() {
        Ok("server") => MemifRole::Server,
        _ => MemifRole::Client,
    };
    let eal = eal(128);
    let pool = pool(&eal);
    let _traffic = Traffic::start(&eal, &pool, Path::new(&socket), role);
    println!("ready");
    loop {
        std::thread::park();
    }
}

fn pool(eal: &Eal) -> Mempool {
    let config = MempoolConfig {
        count: 4095,
        cache: 0,
        data_room: 9216,
    };
    Mempool::new(eal, "p", config).unwrap()
}

/// A memif port, and a thread that sends and receives on it for all that it can.
struct Traffic {
    handle: PortHandle,
    received: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    worker: Option<std::thread::JoinHandle<()>>,
}

impl Traffic {
    fn start(eal: &Eal, pool: &Mempool, socket: &Path, role: MemifRole) -> Self {
        let device = Device::Memif {
            role,
            socket: socket.to_str().unwrap().to_owned(),
            id: 3,
            ring_size_log2: 9,
            buffer_size: 2048,
            mac: None,
            zero_copy: false,
        };
        let config = PortConfig {
            mtu: Some(9000),
            ..PortConfig::new(pool)
        };
        let port = Port::create(eal, "m", &device).unwrap();
        let (handle, rx, tx) = common::pair(port.start(config).unwrap());
        let (received, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let worker = std::thread::spawn({
            let (pool, received, stop) = (pool.clone(), Arc::clone(&received), Arc::clone(&stop));
            move || work(&pool, rx, tx, &received, &stop)
        });
        Self {
            handle,
            received,
            stop,
            worker: Some(worker),
        }
    }

    /// Waits until frames come from `peer`, kills it, and waits until the port has noticed.
    fn meet_and_lose(&self, peer: Peer) {
        wait_for("connection", || self.handle.link_up());
        let before = self.received.load(Relaxed);
        wait_for("frames", || self.received.load(Relaxed) > before + 2_000);
        drop(peer);
        wait_for("disconnection", || !self.handle.link_up());
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

fn work(pool: &Mempool, mut rx: RxQueue, mut tx: TxQueue, received: &AtomicU64, stop: &AtomicBool) {
    let bytes = common::frame(FRAME);
    let (mut came, mut goes) = (Burst::new(), Burst::new());
    while !stop.load(Relaxed) {
        received.fetch_add(rx.burst(&mut came) as u64, Relaxed);
        came.clear();
        while goes.len() < 32 {
            let Some(mut mbuf) = pool.alloc() else { break };
            assert!(mbuf.copy_from(&bytes));
            let _ = goes.push(mbuf);
        }
        tx.burst(&mut goes);
    }
}

/// Another process, killed when this is dropped.
struct Peer(Child);

impl Peer {
    fn start(socket: &Path, role: MemifRole) -> Self {
        let role = match role {
            MemifRole::Server => "server",
            MemifRole::Client => "client",
        };
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--ignored", "--exact", "peer", "--nocapture"])
            .env(SOCKET, socket)
            .env("DMSC_TEST_ROLE", role)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut ready = lines.map_while(Result::ok);
        assert!(ready.any(|line| line.contains("ready")), "the peer ended");
        Self(child)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
