//! The network that direct and proxies run in: client, two nodes whose kernels forward, server; as many hops as a lab with two gateways has.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use dmsc_lab::net::Batch;
use dmsc_lab::state::{State, StateDir};

/// Namespaces of client, its node, the server's node, server.
pub const NAMESPACES: [&str; 4] = ["dperf-c", "dperf-1", "dperf-2", "dperf-s"];
/// Where the client runs.
pub const CLIENT: &str = NAMESPACES[0];
/// Where the server runs.
pub const SERVER: &str = NAMESPACES[3];
/// Address of the server's namespace.
pub const SERVER_ADDRESS: &str = "10.61.2.2";
/// Of all links, bytes: as the labs have it.
const MTU: u16 = 9_000;

/// The network, and a folder for what runs in it. Dropped: all of it is removed.
#[derive(Debug)]
pub struct Site {
    dir: StateDir,
    state: State,
    logs: PathBuf,
}

impl Site {
    /// Makes it; removes first what a run left that was killed.
    ///
    /// # Errors
    /// When another run is under way, or the kernel refuses.
    pub fn make() -> anyhow::Result<Self> {
        let dir = StateDir::lock("dperf")?;
        if let Some(stale) = dir.read() {
            for problem in dir.clean(&stale) {
                eprintln!("left behind: {problem}");
            }
        }
        let logs = std::env::temp_dir().join("dmsc-perf-http");
        let _ = std::fs::remove_dir_all(&logs); // of an earlier run; most often not there
        std::fs::create_dir_all(&logs)
            .with_context(|| format!("cannot make {}", logs.display()))?;
        let state = State {
            logs: logs.clone(),
            namespaces: NAMESPACES.map(String::from).to_vec(),
            ..State::default()
        };
        dir.write(&state)?;
        let site = Self { dir, state, logs };
        batches()
            .into_iter()
            .try_for_each(|(namespace, batch)| batch.run(namespace))
            .context("cannot make the network")?;
        for node in &NAMESPACES[1..3] {
            dmsc_lab::net::run_in(node, "sysctl", &["-q", "-w", "net.ipv4.ip_forward=1"])?;
        }
        Ok(site)
    }

    /// Configurations and certificates.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Logs of all processes; they stay when something failed.
    pub fn logs(&self) -> &Path {
        &self.logs
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for problem in self.dir.clean(&self.state) {
            eprintln!("left behind: {problem}");
        }
    }
}

fn batches() -> Vec<(Option<&'static str>, Batch)> {
    let mut all = Batch::default();
    for namespace in NAMESPACES {
        all.add(format!("netns add {namespace}"));
    }
    let links = [
        (CLIENT, "eth0", NAMESPACES[1], "pod"),
        (NAMESPACES[1], "up", NAMESPACES[2], "up"),
        (SERVER, "eth0", NAMESPACES[2], "pod"),
    ];
    for (here, own, there, far) in links {
        all.add(format!(
            "link add {own} netns {here} mtu {MTU} type veth peer name {far} netns {there} mtu {MTU}"
        ));
    }
    let inside = |lines: &[&str]| {
        let mut batch = Batch::default();
        batch.add("link set dev lo up");
        lines.iter().for_each(|line| batch.add(line));
        batch
    };
    let pod = |address: &str, gateway: &str| {
        inside(&[
            &format!("address add {address}/24 dev eth0"),
            "link set dev eth0 up",
            &format!("route add default via {gateway}"),
        ])
    };
    let node = |pod: &str, up: &str, far_net: &str, far: &str| {
        inside(&[
            &format!("address add {pod}/24 dev pod"),
            &format!("address add {up}/31 dev up"),
            "link set dev pod up",
            "link set dev up up",
            &format!("route add {far_net}/24 via {far}"),
        ])
    };
    vec![
        (None, all),
        (Some(NAMESPACES[0]), pod("10.61.1.2", "10.61.1.1")),
        (
            Some(NAMESPACES[1]),
            node("10.61.1.1", "10.61.0.0", "10.61.2.0", "10.61.0.1"),
        ),
        (
            Some(NAMESPACES[2]),
            node("10.61.2.1", "10.61.0.1", "10.61.1.0", "10.61.0.0"),
        ),
        (Some(NAMESPACES[3]), pod(SERVER_ADDRESS, "10.61.2.1")),
    ]
}
