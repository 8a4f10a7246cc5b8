//! Judges a configuration that was read: the first mistake ends it, with file, line and field.

use std::ops::Range;
use std::path::Path;

use dmsc_daemon::Groups;
use dmsc_wire::{Domain, NodeId};
use ipnet::IpNet;
use toml::Spanned;

use super::raw::{RawConfig, RawPort};
use super::{Budget, Config, ConfigError, PortConfig, PortKind, PortRole, Role};
use crate::mac::MacAddress;

/// Turns byte spans into errors that name file, line and field.
pub(super) struct Checker<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

impl Checker<'_> {
    pub(super) fn line(&self, at: usize) -> usize {
        self.text.as_bytes()[..at.min(self.text.len())]
            .iter()
            .filter(|b| **b == b'\n')
            .count()
            + 1
    }

    pub(super) fn refuse<T>(
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
        // Above this no port is; the product with 125,000 and the token buckets stay far from their limits.
        let most = |what: &str| {
            if what == "budget_mbps" {
                1_000_000
            } else {
                1_000_000_000
            }
        };
        let positive = |value: &Option<Spanned<u64>>, what: &str, default: u64| match value {
            Some(v) if *v.get_ref() == 0 => self.refuse(
                v.span(),
                field(what),
                "0 would stop the pod; leave the line out for the default",
            ),
            Some(v) if *v.get_ref() > most(what) => self.refuse(
                v.span(),
                field(what),
                format!(
                    "{} is above {}; leave the line out for the default",
                    v.get_ref(),
                    most(what)
                ),
            ),
            Some(v) => Ok(*v.get_ref()),
            None => Ok(default),
        };
        let budget = Budget {
            packets_per_s: positive(&raw.budget_pps, "budget_pps", 200_000)?,
            bytes_per_s: positive(&raw.budget_mbps, "budget_mbps", 10_000)? * 125_000,
        };
        let or_zero = |value: &Option<Spanned<u64>>, what: &str, zero: &str| match value {
            Some(given) if *given.get_ref() > most("budget_mbps") => self.refuse(
                given.span(),
                field(what),
                format!(
                    "{} is above {}; leave the line out, or 0, {zero}",
                    given.get_ref(),
                    most("budget_mbps")
                ),
            ),
            value => Ok(value.as_ref().map_or(0, |given| *given.get_ref())),
        };
        let rate_mbps = or_zero(&raw.rate_mbps, "rate_mbps", "for no rate")?;
        let capacity_mbps = or_zero(&raw.capacity_mbps, "capacity_mbps", "for what a NIC says")?;
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
            rate_bytes_per_s: rate_mbps * 125_000,
            capacity_mbps: capacity_mbps as u32,
            line: self.line(raw.name.span().start),
            name,
        })
    }

    fn kind(&self, raw: &RawPort, field: &dyn Fn(&str) -> String) -> Result<PortKind, ConfigError> {
        let listens = raw.kind.get_ref() == "vhost" && raw.client != Some(true);
        if let Some(group) = raw.socket_group.as_ref().filter(|_| !listens) {
            return self.refuse(
                group.span(),
                field("socket_group"),
                "is only of a vhost port that listens: it says who may open its socket",
            );
        }
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
                group: raw
                    .socket_group
                    .as_ref()
                    .map(|group| group.get_ref().clone()),
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

    pub(super) fn config(&self, raw: &RawConfig) -> Result<Config, ConfigError> {
        if *raw.node.id.get_ref() == 0 {
            return self.refuse(
                raw.node.id.span(),
                "node.id",
                "0 means \"not resolved\" in packets; use 1..4294967295",
            );
        }
        let name = raw.node.name.get_ref().clone();
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if name.is_empty() || name.len() > 32 || !name.bytes().all(plain) {
            return self.refuse(
                raw.node.name.span(),
                "node.name",
                "must be 1 to 32 characters of [A-Za-z0-9_.-]",
            );
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
            given => given.as_ref().map(|text| text.get_ref().clone()),
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
        let classes = self.classes(&raw.classes)?;
        let class_rules = raw.class_rule.iter().map(|rule| self.class_rule(rule));
        let class_rules = class_rules.collect::<Result<Vec<_>, _>>()?;
        if !class_rules.is_empty() && raw.node.role == Role::Sr {
            return self.refuse(
                raw.class_rule[0].class.span(),
                "class_rule.class",
                "a router (role \"sr\") has no pods whose calls it could give a class; put the rule into the gateway's file",
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
            cores_line: raw
                .workers
                .cores
                .as_ref()
                .map_or(0, |c| self.line(c.span().start)),
            idle: raw.workers.idle,
            socket: raw.agent.socket.get_ref().clone(),
            groups: Groups {
                view: raw.agent.view_group.clone(),
                operate: raw.agent.operate_group.clone(),
                admin: None,
                own_user: true,
            },
            classes,
            class_rules,
            ports,
        })
    }
}
