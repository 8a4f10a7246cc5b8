//! The declarative configuration of one dataplane: read as a whole, refused as a whole, naming file, line and field.

mod check;
mod classes;
mod fields;
mod raw;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use dmsc_daemon::Groups;
use dmsc_wire::{Domain, NodeId};
use ipnet::IpNet;
use serde::Deserialize;

use crate::class_rule::ClassRule;
use crate::egress::Discipline;
use crate::mac::MacAddress;
use check::Checker;
pub use fields::Difference;
use raw::RawConfig;

/// A configuration that was not accepted; nothing of it was applied.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{}: cannot be read: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// Not TOML, an unknown field, or a value of the wrong type.
    #[error("{}:{line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What the parser says; it names the field.
        message: String,
    },
    /// A value that can not be.
    #[error("{}:{line}: {field}: {message}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The field, in dotted form.
        field: String,
        /// What is wrong and what to do.
        message: String,
    },
}

/// What this node is in the architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Service gateway: has pods.
    Sg,
    /// Service router: joins gateways.
    Sr,
}

impl Role {
    /// `"sg"` or `"sr"`.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Sg => "sg",
            Role::Sr => "sr",
        }
    }
}

/// What stands at the other end of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortRole {
    /// Neighbour routers: trusted as far as their adjacency goes.
    Router,
    /// Pods: everything they send is admitted or dropped (design §4.2).
    Pod,
}

/// Plain IP of a pod: routed by the host, or dropped (design §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlainIp {
    /// To the kernel through the port's tap.
    #[default]
    Kernel,
    /// Dropped and counted.
    Drop,
}

/// Where frames for the kernel go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exception {
    /// Through a tap named `x-<port>`.
    #[default]
    Tap,
    /// Nowhere: dropped and counted.
    None,
}

/// What a worker does when there is nothing to do (design §9, Idle).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Idle {
    /// Block in poll(2) where the ports have descriptors, ramp to 1 ms where not.
    #[default]
    Block,
    /// Never sleep.
    Poll,
}

/// Use of huge pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HugePages {
    /// When enough are free.
    #[default]
    Auto,
    /// Or refuse to start.
    Yes,
    /// Not at all; 3.5 times slower (design §9).
    No,
}

/// The kind of device behind a port, with what it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortKind {
    /// A kernel interface through a packet socket.
    AfPacket {
        /// Name of the kernel interface.
        interface: String,
    },
    /// A kernel interface through AF_XDP sockets.
    AfXdp {
        /// Name of the kernel interface.
        interface: String,
    },
    /// A tap interface that DPDK makes.
    Tap {
        /// Name of the interface to make.
        interface: String,
    },
    /// Shared memory to another process.
    Memif {
        /// The Unix socket.
        socket: PathBuf,
        /// Who listens on it.
        server: bool,
        /// Interface id on that socket.
        id: u32,
    },
    /// virtio over vhost-user, the driver's side.
    VirtioUser {
        /// The vhost-user socket.
        socket: PathBuf,
        /// Whether this side listens.
        server: bool,
    },
    /// vhost-user, the device's side.
    Vhost {
        /// The vhost-user socket.
        socket: PathBuf,
        /// Whether this side connects instead of listening.
        client: bool,
        /// Unix group that may open a socket on which this side listens.
        group: Option<String>,
    },
    /// Frames from nowhere, to nowhere.
    Null {
        /// Size of the received frames, bytes.
        size: u16,
    },
    /// A loop through a ring in memory.
    Ring,
    /// Frames from one file, to another.
    Pcap {
        /// Read once, then silence.
        rx: Option<PathBuf>,
        /// Written.
        tx: Option<PathBuf>,
    },
    /// A NIC bound to a DPDK driver.
    Pci {
        /// Its address, `0000:03:00.0`.
        address: String,
    },
}

impl PortKind {
    /// The word used in the configuration.
    pub fn as_str(&self) -> &'static str {
        match self {
            PortKind::AfPacket { .. } => "af_packet",
            PortKind::AfXdp { .. } => "af_xdp",
            PortKind::Tap { .. } => "tap",
            PortKind::Memif { .. } => "memif",
            PortKind::VirtioUser { .. } => "virtio_user",
            PortKind::Vhost { .. } => "vhost",
            PortKind::Null { .. } => "null",
            PortKind::Ring => "ring",
            PortKind::Pcap { .. } => "pcap",
            PortKind::Pci { .. } => "pci",
        }
    }

    /// Whether frames never leave the memory of this machine: a process is at the other end.
    pub fn is_shared_memory(&self) -> bool {
        matches!(self, PortKind::Vhost { .. } | PortKind::Memif { .. })
    }

    /// The kernel interface behind the port, where there is one.
    pub fn interface(&self) -> Option<&str> {
        match self {
            PortKind::AfPacket { interface }
            | PortKind::AfXdp { interface }
            | PortKind::Tap { interface } => Some(interface),
            _ => None,
        }
    }
}

/// Most that one pod port may send (design §4.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Packets per second.
    pub packets_per_s: u64,
    /// Bytes per second.
    pub bytes_per_s: u64,
}

/// One port.
#[derive(Debug, Clone)]
pub struct PortConfig {
    /// Its name within this node.
    pub name: String,
    /// The device.
    pub kind: PortKind,
    /// What stands at the other end.
    pub role: PortRole,
    /// Of the IP packet, bytes.
    pub mtu: u16,
    /// Instead of the device's own.
    pub mac: Option<MacAddress>,
    /// Addresses that belong to the dataplane.
    pub addresses: Vec<IpNet>,
    /// VLAN tag of everything on this port, 0 = untagged.
    pub vlan: u16,
    /// The way to the kernel.
    pub exception: Exception,
    /// Tenant of the pods.
    pub domain: Domain,
    /// Plain IP of the pods.
    pub plain_ip: PlainIp,
    /// Most that the pods may send.
    pub budget: Budget,
    /// Most that leaves by the port, bytes per second; 0: as much as its driver takes.
    pub rate_bytes_per_s: u64,
    /// Of the link behind it, Mbit/s; 0: what the device says.
    pub capacity_mbps: u32,
    /// Line of the configuration that it begins on, for messages.
    pub line: usize,
}

/// A whole, checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it came from.
    pub path: PathBuf,
    /// Node id; of a gateway also its gateway id.
    pub node: NodeId,
    /// Name for logs and people.
    pub name: String,
    /// Gateway or router.
    pub role: Role,
    /// UDP destination port of DMSC.
    pub udp_port: u16,
    /// Memory of the EAL, MiB.
    pub memory_mb: u32,
    /// Use of huge pages.
    pub huge: HugePages,
    /// EAL file prefix; `None`: name and process id.
    pub file_prefix: Option<String>,
    /// Cores of the workers; empty: one worker that is not pinned.
    pub cores: Vec<usize>,
    /// Line of the configuration that they are on, for messages.
    pub cores_line: usize,
    /// What idle workers do.
    pub idle: Idle,
    /// The agent's Unix socket.
    pub socket: PathBuf,
    /// Unix groups that have a role on it.
    pub groups: Groups,
    /// How classes are served where a port backs up.
    pub classes: Discipline,
    /// Calls that get another class than the pod gave them; the first that matches.
    pub class_rules: Vec<ClassRule>,
    /// All ports; a port's id is its place here, from 1.
    pub ports: Vec<PortConfig>,
}

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// The first mistake, with file, line and field; nothing is half accepted.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|cause| ConfigError::Read {
            path: path.to_path_buf(),
            cause,
        })?;
        Config::parse(path, &text)
    }

    /// Checks `text`, which came from `path`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
        let checker = Checker { path, text };
        let raw: RawConfig = toml::from_str(text).map_err(|error| {
            let line = checker.line(error.span().map_or(0, |s| s.start));
            ConfigError::Syntax {
                path: path.to_path_buf(),
                line,
                message: with_field(text.lines().nth(line - 1), error.message().trim()),
            }
        })?;
        checker.config(&raw)
    }

    /// Whether `address` is one of port number `port`'s (from 0).
    pub fn owns(&self, port: usize, address: IpAddr) -> bool {
        self.ports[port]
            .addresses
            .iter()
            .any(|net| net.addr() == address)
    }
}

/// Puts the key of the mistaken line in front of a message of the parser that speaks only of its value.
fn with_field(line: Option<&str>, message: &str) -> String {
    let key = line.and_then(|l| Some(l.split_once('=')?.0.trim()));
    match key.filter(|key| !key.is_empty() && !message.contains(&format!("`{key}`"))) {
        Some(key) => format!("{key}: {message}"),
        None => message.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[node]\nid = 1\nname = \"sg1\"\nrole = \"sg\"\n[agent]\nsocket = \"/tmp/a.sock\"\n[[port]]\nname = \"p\"\nkind = \"af_packet\"\ninterface = \"v0\"\nrole = \"pod\"\naddresses = [\"10.0.0.1/24\"]\n";

    fn error_of(text: &str) -> String {
        Config::parse(Path::new("x.toml"), text)
            .expect_err("must be refused")
            .to_string()
    }

    #[test]
    fn a_good_file_is_accepted_with_defaults() {
        let config = Config::parse(Path::new("x.toml"), GOOD).expect("good");
        assert_eq!(config.udp_port, 35029);
        assert_eq!(config.ports[0].mtu, 1500);
        assert_eq!(config.ports[0].exception, Exception::Tap);
        assert!(config.owns(0, "10.0.0.1".parse().expect("address")));
    }

    #[test]
    fn mistakes_name_file_line_and_field() {
        for (from, to, expected) in [
            ("id = 1", "id = 0", "x.toml:2: node.id: 0"),
            ("id = 1", "id = \"one\"", "x.toml:2: id: invalid type"),
            ("role = \"sg\"", "role = \"sx\"", "x.toml:4:"),
            (
                "kind = \"af_packet\"",
                "kind = \"dpdk\"",
                "x.toml:9: port \"p\".kind",
            ),
            ("interface = \"v0\"\n", "", "x.toml:9: port \"p\".interface"),
            (
                "10.0.0.1/24",
                "10.0.0/24",
                "x.toml:12: port \"p\".addresses",
            ),
            (
                "role = \"pod\"",
                "role = \"pod\"\nmtu = 100",
                "x.toml:12: port \"p\".mtu",
            ),
            ("role = \"pod\"", "role = \"pod\"\ncolour = 1", "x.toml:12:"),
            ("role = \"sg\"", "role = \"sr\"", "port \"p\".role"),
            (
                "role = \"pod\"",
                "role = \"pod\"\nrate_mbps = 2000000",
                "x.toml:12: port \"p\".rate_mbps: 2000000 is above",
            ),
            (
                "[agent]",
                "[classes]\nstrict_from = 9\n[agent]",
                "x.toml:6: classes.strict_from: 9",
            ),
            (
                "[agent]",
                "[classes]\nweights = [1, 2, 3]\n[agent]",
                "x.toml:6: classes.weights: 3 weights",
            ),
            (
                "[agent]",
                "[classes]\nweights = [0, 1, 1, 1, 1, 1, 1, 1]\n[agent]",
                "x.toml:6: classes.weights: 0 for class 0",
            ),
            (
                "[agent]",
                "[classes]\nqueue_frames = 5\n[agent]",
                "x.toml:6: classes.queue_frames: 5",
            ),
            (
                "[agent]",
                "[classes]\nmark_frames = 0\n[agent]",
                "x.toml:6: classes.mark_frames: 0",
            ),
            (
                "[agent]",
                "[[class_rule]]\ncallee = \"/pay\"\nclass = 8\n[agent]",
                "x.toml:7: class_rule.class: 8",
            ),
            (
                "[agent]",
                "[[class_rule]]\ncaller = \"pay\"\nclass = 3\n[agent]",
                "x.toml:6: class_rule.caller",
            ),
        ] {
            let message = error_of(&GOOD.replacen(from, to, 1));
            assert!(
                message.contains(expected),
                "{message} should contain {expected}"
            );
        }
    }
}
