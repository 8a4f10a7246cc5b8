//! The two attachments: what they are called, and what their ports are at both ends.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use dmsc_dpdk::{Device, MacAddr, MemifRole};
use dmsc_proto::v1;
use dmsc_wire::{NameBuf, NodeId};
use serde::Serialize;

/// Shortest message, bytes: header, names and a payload that tells calls from bulk.
pub const SMALLEST: u16 = 128;
/// Longest message that an IP packet of [`MTU`] carries with its outer headers.
pub const LARGEST: u16 = 8_968;
/// MTU of all ports.
pub const MTU: u16 = 9_000;
/// The gateway's node id.
pub const GATEWAY: NodeId = NodeId(1);
/// UDP port of both processes.
pub const POD_PORT: u16 = 35_100;
/// Packets in a ring of a memif, as a power of two: as many as virtio-user and af_packet have for long frames.
const MEMIF_RING: u8 = 8;

/// How a process is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum By {
    /// A UDP socket in a namespace; the gateway reads the other end of its veth pair with af_packet.
    Udp,
    /// Shared memory; the gateway listens.
    Memif,
    /// vhost-user; the process is the guest, with DPDK's driver.
    Virtio,
    /// The same with a driver of its own, without DPDK: as pods and edges have it.
    Vhost,
}

impl By {
    /// All kinds.
    pub const ALL: [By; 4] = [By::Udp, By::Memif, By::Virtio, By::Vhost];

    /// As on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            By::Udp => "udp",
            By::Memif => "memif",
            By::Virtio => "virtio",
            By::Vhost => "vhost",
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One of the two processes; addresses follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum Side {
    /// Calls and measures.
    Caller,
    /// Echoes.
    Server,
}

impl Side {
    /// Both, in the order in which they are attached.
    pub const BOTH: [Side; 2] = [Side::Caller, Side::Server];

    /// As on the command line, and the name of its port.
    pub fn as_str(self) -> &'static str {
        match self {
            Side::Caller => "caller",
            Side::Server => "server",
        }
    }

    fn number(self) -> u8 {
        match self {
            Side::Caller => 1,
            Side::Server => 2,
        }
    }

    /// Its name under its identity, and what it serves.
    pub fn name(self) -> NameBuf {
        NameBuf::parse(&format!("/attach/{}", self.as_str())).expect("canonical")
    }

    /// The gateway's Ethernet address.
    pub fn gateway_mac(self) -> MacAddr {
        MacAddr([2, 0, 0, 0, self.number(), 1])
    }

    /// The process's own, where it makes frames itself.
    pub fn mac(self) -> MacAddr {
        MacAddr([2, 0, 0, 0, self.number(), 2])
    }

    /// The gateway's address.
    pub fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.number(), 0, 1)
    }

    /// The process's.
    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.number(), 0, 2)
    }

    /// The gateway's end of the veth pair.
    pub fn gateway_interface(self) -> String {
        format!("ag{}", self.number())
    }

    /// The process's end.
    pub fn interface(self) -> String {
        format!("ap{}", self.number())
    }

    /// Socket of memif and vhost-user.
    pub fn socket(self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.sock", self.as_str()))
    }

    /// The `[[port]]` section of the gateway, with a budget that does not bind.
    pub fn section(self, by: By, dir: &Path) -> String {
        let socket = self.socket(dir);
        let device = match by {
            By::Udp => format!(
                "kind = \"af_packet\"\ninterface = \"{}\"",
                self.gateway_interface()
            ),
            By::Memif => format!(
                "kind = \"memif\"\nsocket = \"{}\"\nserver = true\nmac = \"{}\"",
                socket.display(),
                self.gateway_mac()
            ),
            By::Virtio | By::Vhost => format!(
                "kind = \"vhost\"\nsocket = \"{}\"\nmac = \"{}\"",
                socket.display(),
                self.gateway_mac()
            ),
        };
        format!(
            "[[port]]\nname = \"{}\"\n{device}\nrole = \"pod\"\nmtu = {MTU}\naddresses = [\"{}/24\"]\nexception = \"none\"\nbudget_pps = 1000000000\nbudget_mbps = 1000000\n\n",
            self.as_str(),
            self.gateway(),
        )
    }

    /// The process's end of the port, where it is a port of DPDK.
    pub fn device(self, by: By, dir: &Path) -> Option<Device> {
        let path = self.socket(dir).display().to_string();
        let mac = Some(self.mac());
        match by {
            By::Udp | By::Vhost => None,
            By::Memif => Some(Device::Memif {
                role: MemifRole::Client,
                socket: path,
                id: 0,
                ring_size_log2: MEMIF_RING,
                buffer_size: (MTU + 64).next_multiple_of(64),
                mac,
                zero_copy: false,
            }),
            By::Virtio => Some(Device::VirtioUser {
                path,
                queues: 1,
                queue_size: 0,
                server: false,
                mac,
            }),
        }
    }

    /// What attaches it.
    pub fn attachment(self) -> v1::Attachment {
        v1::Attachment {
            port: self.as_str().into(),
            address: self.address().to_string(),
            udp_port: POD_PORT.into(),
            identity: self.as_str().into(),
            serves: vec![self.name().as_bytes().to_vec()],
            ..v1::Attachment::default()
        }
    }
}
