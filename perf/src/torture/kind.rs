//! Kinds of ports, as the dataplane's configuration calls them.

use clap::ValueEnum;

/// A kind of port that runs without special hardware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Kind {
    /// veth, through a packet socket.
    AfPacket,
    /// veth, through AF_XDP sockets.
    AfXdp,
    /// An interface that DPDK makes; frames come from the kernel's side.
    Tap,
    /// Shared memory.
    Memif,
    /// vhost-user, the dataplane is the guest.
    VirtioUser,
    /// vhost-user, the dataplane is the host.
    Vhost,
    /// A ring that gives back what was sent; frames are put into it through the exception path.
    Ring,
    /// Frames from nowhere: buffers with what was in them before.
    Null,
    /// Capture files, in a dataplane of their own that is started again and again.
    Pcap,
}

impl Kind {
    /// All of them.
    pub const ALL: &'static [Kind] = &[
        Kind::AfPacket,
        Kind::AfXdp,
        Kind::Tap,
        Kind::Memif,
        Kind::VirtioUser,
        Kind::Vhost,
        Kind::Ring,
        Kind::Null,
        Kind::Pcap,
    ];

    /// As in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::AfPacket => "af_packet",
            Kind::AfXdp => "af_xdp",
            Kind::Tap => "tap",
            Kind::Memif => "memif",
            Kind::VirtioUser => "virtio_user",
            Kind::Vhost => "vhost",
            Kind::Ring => "ring",
            Kind::Null => "null",
            Kind::Pcap => "pcap",
        }
    }

    /// Whether this program sends into it frame by frame.
    pub fn is_driven(self) -> bool {
        !matches!(self, Kind::Null | Kind::Pcap)
    }

    /// Whether this program sends into it through a packet socket.
    pub fn has_packet_socket(self) -> bool {
        matches!(self, Kind::AfPacket | Kind::AfXdp | Kind::Tap | Kind::Ring)
    }

    /// Least and most bytes of a frame: the kernel refuses to send less than an Ethernet header and more than the MTU.
    pub fn frame_sizes(self) -> (usize, usize) {
        if self.has_packet_socket() {
            (15, 1514)
        } else {
            (1, 2000)
        }
    }
}
