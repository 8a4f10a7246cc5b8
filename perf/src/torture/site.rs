//! A port under fire: who is at its other end, and what the dataplane's configuration says about it.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use dmsc_dpdk::MacAddr;
use dmsc_wire::{AttachmentId, NameBuf, NodeId};

use super::kind::Kind;

/// The dataplane's node id.
pub const NODE: NodeId = NodeId(1);
/// MTU of all ports.
pub const MTU: u16 = 1500;
/// VLAN of one adjacency of every router port.
pub const VLAN: u16 = 7;
/// UDP port of pods.
pub const POD_PORT: u16 = 4000;
/// Key of the hellos on every router port's IPv6 adjacency.
pub const KEY: (u16, [u8; 32]) = (1, [0x5a; 32]);
/// Neighbours of a router port, and endpoints of a pod port.
pub const PEERS: usize = 4;

/// What the other end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Neighbour routers.
    Router,
    /// Pods.
    Pod,
}

/// How a neighbour or endpoint is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// UDP over IPv4.
    Udp4,
    /// UDP over IPv6; on router ports with signed hellos.
    Udp6,
    /// Bare Ethernet.
    Ethernet,
    /// UDP over IPv4 once more: on router ports with a VLAN tag.
    Second,
}

/// The carriers of the [`PEERS`] of every port, in their order.
pub const CARRIERS: [Carrier; PEERS] = [
    Carrier::Udp4,
    Carrier::Udp6,
    Carrier::Ethernet,
    Carrier::Second,
];

/// Places of the carriers whose hellos never come back through a ring: bare Ethernet, because the port refuses another MAC
/// address than its own, and the one with a tag, which is not the kernel's business.
pub const LOST_IN_RINGS: [usize; 2] = [2, 3];

/// One port of the dataplane.
#[derive(Debug, Clone)]
pub struct Site {
    /// From 1, unique in a run: all addresses follow from it.
    pub number: u8,
    /// Kind of device.
    pub kind: Kind,
    /// What the other end is.
    pub role: Role,
    /// Name of the port.
    pub name: String,
}

impl Site {
    /// Port `number`.
    pub fn new(number: u8, kind: Kind, role: Role) -> Site {
        let end = match role {
            Role::Router => 'r',
            Role::Pod => 'p',
        };
        Site {
            number,
            kind,
            role,
            name: format!("{}-{end}", kind.as_str()),
        }
    }

    /// The dataplane's address.
    pub fn mac(&self) -> MacAddr {
        MacAddr([2, 0, 0, 0, self.number, 1])
    }

    /// The address of all UDP peers. Behind a ring it is the port's own: what the dataplane sends comes back, and is taken to
    /// the kernel because the IP address is not the dataplane's; there this program sees it.
    pub fn peer_mac(&self) -> MacAddr {
        match self.kind {
            Kind::Ring => self.mac(),
            _ => MacAddr([2, 0, 0, 0, self.number, 2]),
        }
    }

    /// The address of the peer on bare Ethernet.
    pub fn ethernet_mac(&self) -> MacAddr {
        MacAddr([2, 0, 0, 0, self.number, 3])
    }

    /// The dataplane's IPv4 address.
    pub fn own4(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.number, 0, 1)
    }

    /// The dataplane's IPv6 address.
    pub fn own6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, u16::from(self.number), 0, 0, 0, 0, 0, 1)
    }

    /// The tag of what a peer sends, 0 = none: its addresses are resolved on its VLAN.
    pub fn vlan(&self, peer: usize) -> u16 {
        match (self.role, CARRIERS[peer]) {
            (Role::Router, Carrier::Second) => VLAN,
            _ => 0,
        }
    }

    /// IPv4 address of peer `peer`.
    pub fn peer4(&self, peer: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, self.number, 0, 2 + peer as u8)
    }

    /// IPv6 address of peer `peer`.
    pub fn peer6(&self, peer: usize) -> Ipv6Addr {
        Ipv6Addr::new(
            0xfd00,
            u16::from(self.number),
            0,
            0,
            0,
            0,
            0,
            2 + peer as u16,
        )
    }

    /// Node id of the neighbour `peer` of a router port.
    pub fn peer_node(&self, peer: usize) -> NodeId {
        NodeId(1000 + u32::from(self.number) * 10 + peer as u32)
    }

    /// Adjacency id of the neighbour `peer`.
    pub fn adjacency(&self, peer: usize) -> u32 {
        u32::from(self.number) * 10 + peer as u32
    }

    /// Attachment of the endpoint `peer` of a pod port.
    pub fn attachment(&self, peer: usize) -> AttachmentId {
        AttachmentId(u16::from(self.number) * 10 + peer as u16)
    }

    /// What the endpoint `peer` serves.
    pub fn served(&self, peer: usize) -> NameBuf {
        name(&format!("/t/{}/{peer}", self.name))
    }

    /// The name of the endpoint `peer` under its identity.
    pub fn identity(&self, peer: usize) -> NameBuf {
        name(&format!("/id/t/{}/{peer}", self.name))
    }

    /// The kernel interface that the dataplane uses or makes.
    pub fn interface(&self) -> String {
        format!("td{}", self.number)
    }

    /// The interface that this program sends into.
    pub fn far_interface(&self) -> String {
        match self.kind {
            Kind::Tap => self.interface(),
            Kind::Ring => format!("x-{}", self.name),
            _ => format!("tg{}", self.number),
        }
    }

    /// Socket of memif and vhost-user.
    pub fn socket(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.sock", self.name))
    }

    /// Capture file that the dataplane reads.
    pub fn rx_file(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{}-in.pcap", self.name))
    }

    /// Capture file that the dataplane writes.
    pub fn tx_file(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{}-out.pcap", self.name))
    }

    /// Its `[[port]]` section; `budget` is the most packets per second from a pod port.
    pub fn section(&self, dir: &Path, budget: u64) -> String {
        let mut text = format!(
            "[[port]]\nname = \"{}\"\nkind = \"{}\"\nmac = \"{}\"\nmtu = {MTU}\naddresses = [\"{}/24\", \"{}/64\"]\n",
            self.name,
            self.kind.as_str(),
            self.mac(),
            self.own4(),
            self.own6(),
        );
        let socket = || format!("socket = \"{}\"", self.socket(dir).display());
        let device = match self.kind {
            Kind::AfPacket | Kind::AfXdp | Kind::Tap => {
                format!("interface = \"{}\"", self.interface())
            }
            Kind::Memif => format!("{}\nserver = true", socket()),
            Kind::VirtioUser | Kind::Vhost => socket(),
            Kind::Null => "size = 192".into(),
            Kind::Ring => String::new(),
            Kind::Pcap => format!(
                "rx_file = \"{}\"\ntx_file = \"{}\"",
                self.rx_file(dir).display(),
                self.tx_file(dir).display()
            ),
        };
        let role = match self.role {
            Role::Router => "role = \"router\"".into(),
            Role::Pod => format!("role = \"pod\"\nbudget_pps = {budget}"),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{device}\n{role}\n");
        text
    }
}

/// A name that is written in this program.
pub fn name(text: &str) -> NameBuf {
    NameBuf::parse(text).expect("names in this program are canonical")
}

/// A whole configuration.
pub fn configuration(
    sites: &[Site],
    dir: &Path,
    socket: &Path,
    budget: impl Fn(&Site) -> u64,
) -> String {
    let mut text = format!(
        "[node]\nid = {NODE}\nname = \"torture\"\nrole = \"sg\"\n\n[eal]\nmemory_mb = 192\nfile_prefix = \"dmsc-torture-{}-{}\"\n\n[agent]\nsocket = \"{}\"\n\n",
        std::process::id(),
        sites.first().map_or("none", |site| &site.name),
        socket.display()
    );
    for site in sites {
        text.push_str(&site.section(dir, budget(site)));
    }
    text
}
