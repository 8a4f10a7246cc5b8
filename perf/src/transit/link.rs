//! The links of the router: what they are called, how they are made, and what is at their far ends.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use dmsc_dpdk::{Device, MacAddr, MemifRole};
use dmsc_wire::{Domain, NodeId};

/// What the links are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Pmd {
    /// Shared memory; the router listens.
    Memif,
    /// vhost-user, the router is the guest.
    Virtio,
    /// vhost-user, the router is the host.
    Vhost,
    /// veth through packet sockets.
    AfPacket,
}

impl Pmd {
    /// As on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Pmd::Memif => "memif",
            Pmd::Virtio => "virtio",
            Pmd::Vhost => "vhost",
            Pmd::AfPacket => "af_packet",
        }
    }
}

impl fmt::Display for Pmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One of the links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// From 1; addresses follow from it.
    pub number: u8,
    /// Name of the router's port.
    pub port: &'static str,
}

/// A way through the router: frames come in by the first link and leave by the second.
pub type Way = [Link; 2];

/// Where frames come from, and where they go.
pub const LINKS: Way = [
    Link {
        number: 1,
        port: "in",
    },
    Link {
        number: 2,
        port: "out",
    },
];

/// A way for somebody else's frames through the same router.
pub const OTHERS: Way = [
    Link {
        number: 3,
        port: "in2",
    },
    Link {
        number: 4,
        port: "out2",
    },
];

impl Link {
    /// The router's Ethernet address.
    pub fn mac(self) -> MacAddr {
        MacAddr([2, 0, 0, 0, self.number, 1])
    }

    /// The neighbour's Ethernet address.
    pub fn far_mac(self) -> MacAddr {
        MacAddr([2, 0, 0, 0, self.number, 2])
    }

    /// The router's address.
    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.number, 0, 1)
    }

    /// The neighbour's address.
    pub fn far_address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.number, 0, 2)
    }

    /// The neighbour.
    pub fn far_node(self) -> NodeId {
        NodeId(100 + u32::from(self.number))
    }

    /// The router's adjacency with it.
    pub fn adjacency(self) -> u32 {
        u32::from(self.number)
    }

    /// Domain of the names that are called on its way, of which each has its own.
    pub fn domain(self) -> Domain {
        Domain(u32::from(self.number.div_ceil(2)))
    }

    /// Socket of memif and vhost-user.
    pub fn socket(self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.sock", self.port))
    }

    /// The router's kernel interface.
    pub fn interface(self) -> String {
        format!("dr{}", self.number)
    }

    /// The neighbour's kernel interface.
    pub fn far_interface(self) -> String {
        format!("dg{}", self.number)
    }

    /// The `[[port]]` section of the router.
    pub fn section(self, pmd: Pmd, mtu: u16, dir: &Path) -> String {
        let socket = self.socket(dir);
        let device = match pmd {
            Pmd::Memif => format!(
                "kind = \"memif\"\nsocket = \"{}\"\nserver = true",
                socket.display()
            ),
            Pmd::Virtio => format!("kind = \"virtio_user\"\nsocket = \"{}\"", socket.display()),
            Pmd::Vhost => format!("kind = \"vhost\"\nsocket = \"{}\"", socket.display()),
            Pmd::AfPacket => format!("kind = \"af_packet\"\ninterface = \"{}\"", self.interface()),
        };
        format!(
            "[[port]]\nname = \"{}\"\n{device}\nrole = \"router\"\nmac = \"{}\"\nmtu = {mtu}\naddresses = [\"{}/24\"]\nexception = \"none\"\n\n",
            self.port,
            self.mac(),
            self.address(),
        )
    }

    /// The device that reaches the router's port from this process.
    pub fn far_device(self, pmd: Pmd, mtu: u16, dir: &Path) -> Device {
        let path = self.socket(dir).display().to_string();
        let mac = Some(self.far_mac());
        match pmd {
            Pmd::Memif => Device::Memif {
                role: MemifRole::Client,
                socket: path,
                id: 0,
                ring_size_log2: 10,
                buffer_size: mtu.saturating_add(64).next_multiple_of(64).max(2048),
                mac,
                zero_copy: false,
            },
            Pmd::Virtio => Device::Vhost {
                path,
                queues: 1,
                client: false,
            },
            Pmd::Vhost => Device::VirtioUser {
                path,
                queues: 1,
                queue_size: 0,
                server: false,
                mac,
            },
            Pmd::AfPacket => Device::AfPacket {
                iface: self.far_interface(),
                queues: 1,
                mtu,
                frames: 0,
                qdisc_bypass: true,
            },
        }
    }
}
