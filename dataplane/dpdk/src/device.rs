//! Kinds of ports, and what DPDK calls them.

use crate::devargs::af_packet_room;
use crate::mac::MacAddr;

/// What a port is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Device {
    /// A kernel interface through memory-mapped packet sockets: works on everything, veth included.
    AfPacket {
        /// Name of the interface, in the network namespace of this process.
        iface: String,
        /// Queue pairs, one per worker; the kernel spreads flows over them.
        queues: u16,
        /// Largest MTU that the interface will have: decides the size of the ring's frames.
        mtu: u16,
        /// Frames per queue and direction; 0: 512, or 256 above 2 KiB frames.
        frames: u32,
        /// Hand packets to the driver without the kernel's queueing discipline.
        qdisc_bypass: bool,
    },
    /// A kernel interface through AF_XDP sockets.
    AfXdp {
        /// Name of the interface.
        iface: String,
        /// First queue of the interface to take.
        start_queue: u16,
        /// Queues to take.
        queues: u16,
        /// Copy even if the driver can do without.
        force_copy: bool,
    },
    /// A new kernel interface whose wire this port is.
    Tap {
        /// Name of the interface to make.
        iface: String,
        /// Its address; `None`: a random one.
        mac: Option<MacAddr>,
    },
    /// Shared memory with another process. Delivers only after both ends polled once.
    Memif {
        /// Which end listens.
        role: MemifRole,
        /// Path of the Unix socket; `@name` for an abstract one.
        socket: String,
        /// Tells connections of one socket apart.
        id: u32,
        /// Packets per ring, as a power of two: 10 is 1,024. At most 14.
        ring_size_log2: u8,
        /// Bytes per buffer; larger packets take several.
        buffer_size: u16,
        /// Own address; `None`: a random one.
        mac: Option<MacAddr>,
        /// Client only: buffers are this process's mbufs.
        zero_copy: bool,
    },
    /// The guest's end of vhost-user.
    VirtioUser {
        /// Path of the Unix socket.
        path: String,
        /// Queue pairs.
        queues: u16,
        /// Descriptors per queue, a power of two; 0: 256.
        queue_size: u16,
        /// Listen on the socket instead of connecting.
        server: bool,
        /// Own address; `None`: a random one.
        mac: Option<MacAddr>,
    },
    /// The host's end of vhost-user.
    Vhost {
        /// Path of the Unix socket.
        path: String,
        /// Queue pairs.
        queues: u16,
        /// Connect to the socket instead of listening.
        client: bool,
    },
    /// Receives without end, sends to nowhere: for measurements.
    Null {
        /// Bytes of each packet received.
        size: u16,
        /// Copy packets instead of only taking buffers.
        copy: bool,
        /// Receive nothing.
        no_rx: bool,
    },
    /// What is transmitted is received again, by the same port.
    Ring,
    /// Capture files, or a kernel interface through libpcap.
    Pcap {
        /// File to receive from.
        rx: Option<String>,
        /// File to transmit into, overwritten.
        tx: Option<String>,
        /// Interface to do both with, instead of files.
        iface: Option<String>,
        /// Receive the file again and again.
        infinite_rx: bool,
    },
    /// A NIC bound to vfio-pci or a bifurcated driver. Needs [`crate::EalConfig::no_pci`] off.
    Pci {
        /// `0000:00:04.0`
        address: String,
        /// The driver's arguments, `key=value,…`; may be empty.
        args: String,
    },
}

/// Which end of a memif listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemifRole {
    /// Listens and waits.
    Server,
    /// Connects, and allocates the memory.
    Client,
}

/// Ethernet header, VLAN tag.
const ETHERNET: u16 = 18;

impl Device {
    /// A kernel interface with MTU 1,500 and one queue pair.
    pub fn af_packet(iface: impl Into<String>) -> Self {
        Self::AfPacket {
            iface: iface.into(),
            queues: 1,
            mtu: 1500,
            frames: 0,
            qdisc_bypass: false,
        }
    }

    /// A port that receives nothing and sends to nowhere.
    pub fn sink() -> Self {
        Self::Null {
            size: 64,
            copy: false,
            no_rx: true,
        }
    }

    /// What this kind is called in configurations and errors.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::AfPacket { .. } => "af_packet",
            Self::AfXdp { .. } => "af_xdp",
            Self::Tap { .. } => "tap",
            Self::Memif { .. } => "memif",
            Self::VirtioUser { .. } => "virtio-user",
            Self::Vhost { .. } => "vhost",
            Self::Null { .. } => "null",
            Self::Ring => "ring",
            Self::Pcap { .. } => "pcap",
            Self::Pci { .. } => "pci",
        }
    }

    /// Least [`crate::MempoolConfig::data_room`] with which this device starts and receives packets of `mtu` bytes
    /// in one segment.
    pub fn min_data_room(&self, mtu: u16) -> u16 {
        let ethernet = mtu.saturating_add(ETHERNET);
        match self {
            // The driver compares the mbuf with the whole frame, whatever the packets are.
            Self::AfPacket { mtu, .. } => af_packet_room(*mtu),
            Self::Null { size, .. } => (*size).max(ethernet),
            _ => ethernet,
        }
    }

    /// The kernel interface under this port: it must exist before.
    pub(crate) fn interface(&self) -> Option<&str> {
        match self {
            Self::AfPacket { iface, .. }
            | Self::AfXdp { iface, .. }
            | Self::Pcap {
                iface: Some(iface), ..
            } => Some(iface),
            _ => None,
        }
    }

    /// The kernel interface whose MTU is this port's.
    pub(crate) fn mtu_interface(&self) -> Option<&str> {
        match self {
            Self::AfPacket { iface, .. } | Self::AfXdp { iface, .. } | Self::Tap { iface, .. } => {
                Some(iface)
            }
            _ => None,
        }
    }

    /// Queues among which the kernel spreads packets, whether they are polled or not.
    pub(crate) fn shared_queues(&self) -> Option<u16> {
        match self {
            Self::AfPacket { queues, .. } | Self::AfXdp { queues, .. } => Some(*queues),
            _ => None,
        }
    }

    /// Where the queues of this kind are decided, if they can be more.
    pub(crate) fn queues_remedy(&self) -> &'static str {
        match self {
            Self::AfPacket { .. }
            | Self::AfXdp { .. }
            | Self::VirtioUser { .. }
            | Self::Vhost { .. } => "give the device as many queues as there are workers",
            _ => "use fewer workers for this port",
        }
    }
}
