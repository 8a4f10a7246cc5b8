//! The declarative configuration of one dataplane: read as a whole, refused as a whole, naming file, line and field.

use std::net::IpAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use dmsc_wire::{Domain, NodeId};
use ipnet::IpNet;
use serde::Deserialize;
use toml::Spanned;

use crate::mac::MacAddress;

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
    /// EAL file prefix.
    pub file_prefix: String,
    /// Cores of the workers; empty: one worker that is not pinned.
    pub cores: Vec<usize>,
    /// What idle workers do.
    pub idle: Idle,
    /// The agent's Unix socket.
    pub socket: PathBuf,
    /// All ports; a port's id is its place here, from 1.
    pub ports: Vec<PortConfig>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    node: RawNode,
    #[serde(default)]
    eal: RawEal,
    #[serde(default)]
    workers: RawWorkers,
    agent: RawAgent,
    #[serde(default)]
    port: Vec<RawPort>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNode {
    id: Spanned<u32>,
    name: Spanned<String>,
    role: Role,
    udp_port: Option<Spanned<u16>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawEal {
    memory_mb: Option<Spanned<u32>>,
    huge: HugePages,
    file_prefix: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawWorkers {
    cores: Option<Spanned<Vec<usize>>>,
    idle: Idle,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAgent {
    socket: Spanned<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPort {
    name: Spanned<String>,
    kind: Spanned<String>,
    role: PortRole,
    interface: Option<Spanned<String>>,
    socket: Option<PathBuf>,
    server: Option<bool>,
    client: Option<bool>,
    id: Option<u32>,
    size: Option<u16>,
    rx_file: Option<PathBuf>,
    tx_file: Option<PathBuf>,
    address: Option<Spanned<String>>,
    mtu: Option<Spanned<u16>>,
    mac: Option<Spanned<String>>,
    #[serde(default)]
    addresses: Vec<Spanned<String>>,
    vlan: Option<Spanned<u16>>,
    #[serde(default)]
    exception: Exception,
    domain: Option<u32>,
    #[serde(default)]
    plain_ip: PlainIp,
    budget_pps: Option<Spanned<u64>>,
    budget_mbps: Option<Spanned<u64>>,
}

/// Turns byte spans into errors that name file, line and field.
struct Checker<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Checker<'_> {
    fn line(&self, at: usize) -> usize {
        self.text.as_bytes()[..at.min(self.text.len())]
            .iter()
            .filter(|b| **b == b'\n')
            .count()
            + 1
    }

    fn refuse<T>(
        &self,
        span: Range<usize>,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Result<T, ConfigError> {
        Err(ConfigError::Value {
            path: self.path.to_path_buf(),
            line: self.line(span.start),
            field: field.into(),
            message: message.into(),
        })
    }

    fn port(&self, raw: &RawPort) -> Result<PortConfig, ConfigError> {
        let name = raw.name.get_ref().clone();
        let field = |what: &str| format!("port \"{name}\".{what}");
        if name.is_empty()
            || name.len() > 13
            || !name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        {
            return self.refuse(
                raw.name.span(),
                "port.name",
                format!("{name:?} must be 1 to 13 characters of [A-Za-z0-9_.-], because the tap x-{name} is named after it"),
            );
        }
        let kind = self.kind(raw, &field)?;
        let mtu = raw.mtu.as_ref().map_or(1500, |m| *m.get_ref());
        if let Some(given) = &raw.mtu
            && !(1280..=9600).contains(&mtu)
        {
            return self.refuse(
                given.span(),
                field("mtu"),
                format!("{mtu} is outside 1280..=9600 bytes"),
            );
        }
        let mac = match &raw.mac {
            None => None,
            Some(text) => match text.get_ref().parse::<MacAddress>() {
                Ok(mac) if mac.is_unicast() => Some(mac),
                _ => {
                    return self.refuse(
                        text.span(),
                        field("mac"),
                        format!(
                            "{:?} is no unicast MAC address like 02:00:00:00:00:01",
                            text.get_ref()
                        ),
                    );
                }
            },
        };
        let mut addresses = Vec::new();
        for text in &raw.addresses {
            match text.get_ref().parse::<IpNet>() {
                Ok(net) if !net.addr().is_unspecified() && !net.addr().is_multicast() => {
                    addresses.push(net)
                }
                _ => {
                    return self.refuse(
                        text.span(),
                        field("addresses"),
                        format!(
                            "{:?} is no address with prefix length like 10.0.0.1/24 or fd00::1/64",
                            text.get_ref()
                        ),
                    );
                }
            }
        }
        let vlan = raw.vlan.as_ref().map_or(0, |v| *v.get_ref());
        if let Some(given) = &raw.vlan
            && vlan > 4094
        {
            return self.refuse(given.span(), field("vlan"), format!("{vlan} is above 4094"));
        }
        let positive = |value: &Option<Spanned<u64>>, what: &str, default: u64| match value {
            Some(v) if *v.get_ref() == 0 => self.refuse(
                v.span(),
                field(what),
                "0 would stop the pod; leave the line out for the default",
            ),
            Some(v) => Ok(*v.get_ref()),
            None => Ok(default),
        };
        let budget = Budget {
            packets_per_s: positive(&raw.budget_pps, "budget_pps", 200_000)?,
            bytes_per_s: positive(&raw.budget_mbps, "budget_mbps", 10_000)? * 125_000,
        };
        Ok(PortConfig {
            kind,
            role: raw.role,
            mtu,
            mac,
            addresses,
            vlan,
            exception: raw.exception,
            domain: Domain(raw.domain.unwrap_or(1)),
            plain_ip: raw.plain_ip,
            budget,
            name,
        })
    }

    fn kind(&self, raw: &RawPort, field: &dyn Fn(&str) -> String) -> Result<PortKind, ConfigError> {
        let interface = || match &raw.interface {
            Some(name) if (1..=15).contains(&name.get_ref().len()) => Ok(name.get_ref().clone()),
            Some(name) => self.refuse(
                name.span(),
                field("interface"),
                "an interface name has 1 to 15 bytes",
            ),
            None => self.refuse(
                raw.kind.span(),
                field("interface"),
                format!("kind \"{}\" needs interface = \"…\"", raw.kind.get_ref()),
            ),
        };
        let socket = || match &raw.socket {
            Some(path) => Ok(path.clone()),
            None => self.refuse(
                raw.kind.span(),
                field("socket"),
                format!("kind \"{}\" needs socket = \"/path\"", raw.kind.get_ref()),
            ),
        };
        Ok(match raw.kind.get_ref().as_str() {
            "af_packet" => PortKind::AfPacket {
                interface: interface()?,
            },
            "af_xdp" => PortKind::AfXdp {
                interface: interface()?,
            },
            "tap" => PortKind::Tap {
                interface: interface()?,
            },
            "memif" => PortKind::Memif {
                socket: socket()?,
                server: raw.server.unwrap_or(false),
                id: raw.id.unwrap_or(0),
            },
            "virtio_user" => PortKind::VirtioUser {
                socket: socket()?,
                server: raw.server.unwrap_or(false),
            },
            "vhost" => PortKind::Vhost {
                socket: socket()?,
                client: raw.client.unwrap_or(false),
            },
            "null" => PortKind::Null {
                size: raw.size.unwrap_or(64),
            },
            "ring" => PortKind::Ring,
            "pcap" => PortKind::Pcap {
                rx: raw.rx_file.clone(),
                tx: raw.tx_file.clone(),
            },
            "pci" => match &raw.address {
                Some(address) => PortKind::Pci {
                    address: address.get_ref().clone(),
                },
                None => {
                    return self.refuse(
                        raw.kind.span(),
                        field("address"),
                        "kind \"pci\" needs address = \"0000:03:00.0\"",
                    );
                }
            },
            other => {
                return self.refuse(
                    raw.kind.span(),
                    field("kind"),
                    format!("{other:?} is none of af_packet, af_xdp, tap, memif, virtio_user, vhost, null, ring, pcap, pci"),
                );
            }
        })
    }

    fn config(&self, raw: &RawConfig) -> Result<Config, ConfigError> {
        if *raw.node.id.get_ref() == 0 {
            return self.refuse(
                raw.node.id.span(),
                "node.id",
                "0 means \"not resolved\" in packets; use 1..4294967295",
            );
        }
        let name = raw.node.name.get_ref().clone();
        if name.is_empty() || name.len() > 32 {
            return self.refuse(raw.node.name.span(), "node.name", "must have 1 to 32 bytes");
        }
        let mut ports: Vec<PortConfig> = Vec::new();
        for raw_port in &raw.port {
            let port = self.port(raw_port)?;
            if ports.iter().any(|p| p.name == port.name) {
                return self.refuse(
                    raw_port.name.span(),
                    "port.name",
                    format!("{:?} is used twice", port.name),
                );
            }
            if let Some(other) = ports.iter().find(|p| {
                port.kind.interface().is_some() && p.kind.interface() == port.kind.interface()
            }) {
                return self.refuse(
                    raw_port.name.span(),
                    format!("port \"{}\".interface", port.name),
                    format!("is port \"{}\"'s already", other.name),
                );
            }
            if port.role == PortRole::Pod && raw.node.role == Role::Sr {
                return self.refuse(raw_port.name.span(), format!("port \"{}\".role", port.name), "a router (role \"sr\") has no pods; use role = \"sg\" for the node or \"router\" for the port");
            }
            ports.push(port);
        }
        if ports.is_empty() || ports.len() > 32 {
            let message = format!(
                "{} ports; 1 to 32 [[port]] sections are needed",
                ports.len()
            );
            return self.refuse(0..0, "port", message);
        }
        let cores = raw
            .workers
            .cores
            .as_ref()
            .map(|c| c.get_ref().clone())
            .unwrap_or_default();
        if let Some(given) = &raw.workers.cores {
            let mut seen = cores.clone();
            seen.sort_unstable();
            seen.dedup();
            if seen.len() != cores.len() {
                return self.refuse(given.span(), "workers.cores", "names a core twice");
            }
        }
        let memory_mb = raw.eal.memory_mb.as_ref().map_or(128, |m| *m.get_ref());
        if let Some(given) = &raw.eal.memory_mb
            && !(32..=65536).contains(&memory_mb)
        {
            return self.refuse(
                given.span(),
                "eal.memory_mb",
                format!("{memory_mb} is outside 32..=65536 MiB"),
            );
        }
        let file_prefix = match &raw.eal.file_prefix {
            Some(text) if text.get_ref().is_empty() || text.get_ref().contains('/') => {
                return self.refuse(
                    text.span(),
                    "eal.file_prefix",
                    "must not be empty nor contain '/'",
                );
            }
            Some(text) => text.get_ref().clone(),
            None => format!("dmsc-{name}-{}", std::process::id()),
        };
        let udp_port = raw
            .node
            .udp_port
            .as_ref()
            .map_or(dmsc_wire::UDP_PORT, |p| *p.get_ref());
        if let Some(given) = &raw.node.udp_port
            && udp_port == 0
        {
            return self.refuse(given.span(), "node.udp_port", "0 is no port");
        }
        if raw.agent.socket.get_ref().as_os_str().len() > 100 {
            return self.refuse(
                raw.agent.socket.span(),
                "agent.socket",
                "a Unix socket's path has at most 100 bytes",
            );
        }
        Ok(Config {
            path: self.path.to_path_buf(),
            node: NodeId(*raw.node.id.get_ref()),
            name,
            role: raw.node.role,
            udp_port,
            memory_mb,
            huge: raw.eal.huge,
            file_prefix,
            cores,
            idle: raw.workers.idle,
            socket: raw.agent.socket.get_ref().clone(),
            ports,
        })
    }
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
        let raw: RawConfig = toml::from_str(text).map_err(|error| ConfigError::Syntax {
            path: path.to_path_buf(),
            line: checker.line(error.span().map_or(0, |s| s.start)),
            message: error.message().trim().to_string(),
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
            ("id = 1", "id = \"one\"", "x.toml:2:"),
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
        ] {
            let message = error_of(&GOOD.replacen(from, to, 1));
            assert!(
                message.contains(expected),
                "{message} should contain {expected}"
            );
        }
    }
}
