//! What the tests of ports share. Each test file is one process, because EAL starts once.
#![allow(dead_code)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use dmsc_dpdk::{Burst, Eal, EalConfig, Huge, Mempool, PortHandle, RxQueue, StartedPort, TxQueue};

/// What EAL's folder of a test process is named after, together with its id.
const PROGRAM: &str = "dmsc-test";

/// EAL on ordinary pages.
pub fn eal(memory_mb: u32) -> Eal {
    sweep(Path::new("/var/run/dpdk"));
    let config = EalConfig {
        program: PROGRAM.into(),
        memory_mb,
        huge: Huge::No,
        ..EalConfig::default()
    };
    Eal::init(&config).unwrap()
}

/// Removes what test processes left in the folder of DPDK when they were killed: `dmsc-test-PID` of a process that is no more.
fn sweep(runtime: &Path) {
    for entry in std::fs::read_dir(runtime).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let process = name
            .strip_prefix(PROGRAM)
            .and_then(|rest| rest.strip_prefix('-')?.parse::<u32>().ok());
        if process.is_some_and(|id| !Path::new("/proc").join(id.to_string()).exists()) {
            // Somebody else may sweep, too.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Calls `ready` until it says yes, for 10 s.
pub fn wait_for(what: &str, mut ready: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !ready() {
        assert!(Instant::now() < end, "no {what} within 10 s");
        std::thread::yield_now();
    }
}

/// Handle and first queue pair of a port.
pub fn pair(port: StartedPort) -> (PortHandle, RxQueue, TxQueue) {
    let (rx, tx) = port.queues.into_iter().next().unwrap();
    (port.handle, rx, tx)
}

/// A frame of a local experimental type, to a multicast address, of this many bytes.
pub fn frame(len: usize) -> Vec<u8> {
    let mut frame = vec![0x5a; len];
    frame[..14].copy_from_slice(&[3, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    frame
}

/// Sends these bytes.
pub fn send(pool: &Mempool, tx: &mut TxQueue, bytes: &[u8]) {
    let mut burst = Burst::new();
    let mut mbuf = pool.alloc().unwrap();
    assert!(mbuf.copy_from(bytes));
    burst.push(mbuf).unwrap();
    wait_for("room to send", || tx.burst(&mut burst) == 1);
}

/// The next frame of our type, if one was received; others (the kernel's neighbour discovery) are dropped.
pub fn try_receive(rx: &mut RxQueue) -> Option<Vec<u8>> {
    let mut burst = Burst::new();
    rx.burst(&mut burst);
    burst
        .drain()
        .filter(|mbuf| mbuf.data().get(12..14) == Some(&[0x88, 0xb5]))
        .map(|mbuf| {
            assert!(mbuf.is_contiguous() && mbuf.is_sound());
            mbuf.data().to_vec()
        })
        .next()
}

/// The next frame of our type.
pub fn receive(rx: &mut RxQueue) -> Vec<u8> {
    let mut found = None;
    wait_for("frame", || {
        found = try_receive(rx);
        found.is_some()
    });
    found.unwrap()
}

/// A veth pair, up at both ends, removed when dropped.
pub struct Veth {
    pub a: String,
    pub b: String,
}

impl Veth {
    /// `None`, with the reason on stderr, where interfaces cannot be made.
    pub fn new(tag: &str, mtu: u16) -> Option<Self> {
        let id = std::process::id() % 1_000_000;
        let veth = Self {
            a: format!("dt{tag}{id}a"),
            b: format!("dt{tag}{id}b"),
        };
        let mtu = mtu.to_string();
        let made = ip(&[
            "link", "add", &veth.a, "mtu", &mtu, "type", "veth", "peer", "name", &veth.b, "mtu",
            &mtu,
        ]);
        if !made {
            eprintln!("skipped: a veth pair cannot be made here (needs root and iproute2)");
            return None;
        }
        veth.set(&veth.a, "up");
        veth.set(&veth.b, "up");
        Some(veth)
    }

    pub fn set(&self, iface: &str, state: &str) {
        assert!(ip(&["link", "set", iface, state]));
    }
}

impl Drop for Veth {
    fn drop(&mut self) {
        ip(&["link", "del", &self.a]);
    }
}

fn ip(args: &[&str]) -> bool {
    Command::new("ip")
        .args(args)
        .status()
        .is_ok_and(|status| status.success())
}
