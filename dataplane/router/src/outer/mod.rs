//! The outer header that an adjacency or attachment puts in front of a DMSC packet: built once, patched per packet.

mod carried;
mod plain;

use std::net::IpAddr;

pub use carried::Carried;
use plain::Likeness;
pub use plain::Plain;

use crate::frame::Frame;
use crate::mac::MacAddress;
use crate::net::{self, Ethernet, PROTOCOL_UDP, put16};

/// DSCP by class (RFC 4594 names: default, CS1, AF11, AF21, AF31, AF41, EF, CS6).
pub const DSCP: [u8; 8] = [0, 8, 10, 18, 26, 34, 46, 48];

/// Bytes of Ethernet without a tag.
const ETHERNET: usize = 14;
/// Bytes of Ethernet without a tag, IPv4 without options, UDP.
const UDP4: usize = ETHERNET + 20 + 8;

/// What is between Ethernet and the DMSC header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carrier {
    Ethernet,
    Udp4,
    Udp6,
}

/// A header template: Ethernet, at most one VLAN tag, IPv4 or IPv6, UDP.
#[derive(Debug, Clone)]
pub struct Outer {
    carrier: Carrier,
    bytes: [u8; 66],
    length: usize,
    ip_at: usize,
    /// Sum of the IPv4 header without length and traffic class.
    ip_sum: u64,
    /// Sum of the UDP pseudo header without length.
    udp_sum: u64,
    fixed_source_port: bool,
    checksum: bool,
    /// What frames of the other end have in common.
    likeness: Likeness,
}

/// Addresses of a UDP carrier.
#[derive(Debug, Clone, Copy)]
pub struct UdpPath {
    /// Of this router.
    pub local: IpAddr,
    /// Of the other end; of the same family.
    pub remote: IpAddr,
    /// Source port; `None`: entropy of the flow label.
    pub source_port: Option<u16>,
    /// Destination port.
    pub destination_port: u16,
    /// Whether the receiver needs a UDP checksum (pods on IPv6; between routers 0 is allowed, RFC 6935).
    pub checksum: bool,
}

impl Outer {
    /// Directly on Ethernet.
    pub fn ethernet(source: MacAddress, vlan: u16) -> Outer {
        let mut outer = Outer::empty(Carrier::Ethernet);
        outer.put_ethernet(source, vlan, dmsc_wire::ETHERTYPE);
        outer
    }

    /// In UDP over IPv4 or IPv6, as `path.local` says.
    pub fn udp(source: MacAddress, vlan: u16, path: UdpPath) -> Outer {
        let mut outer = match (path.local, path.remote) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => {
                let mut outer = Outer::empty(Carrier::Udp4);
                outer.put_ethernet(source, vlan, net::ETHERTYPE_IPV4);
                let ip = &mut outer.bytes[outer.ip_at..outer.ip_at + 20];
                ip[0] = 0x45;
                ip[6] = 0x40; // don't fragment: there are no fragments in DMSC, and path MTU discovery needs it
                ip[8] = 255; // so that an on-link neighbour can prove that it is one (RFC 5082)
                ip[9] = PROTOCOL_UDP;
                ip[12..16].copy_from_slice(&local.octets());
                ip[16..20].copy_from_slice(&remote.octets());
                outer.ip_sum = net::sum(ip, 0);
                outer.length = outer.ip_at + 28;
                outer
            }
            (local, remote) => {
                let octets = |address: IpAddr| match address {
                    IpAddr::V6(a) => a.octets(),
                    IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
                };
                let mut outer = Outer::empty(Carrier::Udp6);
                outer.put_ethernet(source, vlan, net::ETHERTYPE_IPV6);
                let ip = &mut outer.bytes[outer.ip_at..outer.ip_at + 40];
                ip[0] = 0x60;
                ip[6] = PROTOCOL_UDP;
                ip[7] = 255;
                ip[8..24].copy_from_slice(&octets(local));
                ip[24..40].copy_from_slice(&octets(remote));
                outer.length = outer.ip_at + 48;
                outer
            }
        };
        let udp = outer.length - 8;
        put16(&mut outer.bytes, udp, path.source_port.unwrap_or(0));
        put16(&mut outer.bytes, udp + 2, path.destination_port);
        outer.fixed_source_port = path.source_port.is_some();
        outer.checksum = path.checksum;
        outer.udp_sum = net::pseudo_header(path.local, path.remote, PROTOCOL_UDP, 0);
        outer.likeness = Likeness::of(&outer);
        outer
    }

    fn empty(carrier: Carrier) -> Outer {
        Outer {
            carrier,
            bytes: [0; 66],
            length: 0,
            ip_at: 0,
            ip_sum: 0,
            udp_sum: 0,
            fixed_source_port: true,
            checksum: false,
            likeness: Likeness::NONE,
        }
    }

    fn put_ethernet(&mut self, source: MacAddress, vlan: u16, ethertype: u16) {
        let header = Ethernet {
            destination: MacAddress::default(),
            source,
            vlan,
            ethertype,
            length: 0,
        };
        self.ip_at = header.write(&mut self.bytes);
        self.length = self.ip_at;
    }

    /// Bytes that count against the link's MTU: 0, 28 or 48.
    pub fn overhead(&self) -> usize {
        self.length - self.ip_at
    }

    /// Bytes in all.
    #[inline]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is no header at all, which is never.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Puts the header in the place of the first `offset` bytes of `frame` and cuts off what is behind the DMSC packet of `total`
    /// bytes that follows them. False, and the frame unusable, when there is no room in front.
    #[inline]
    #[allow(clippy::too_many_arguments)] // two places in the frame and four fields of the packet
    pub fn replace<F: Frame>(
        &self,
        frame: &mut F,
        offset: usize,
        total: usize,
        destination: MacAddress,
        flow: u32,
        class: u8,
        ecn: u8,
    ) -> bool {
        if offset != self.length || frame.bytes().len() != offset + total {
            if !frame.strip(offset) {
                return false;
            }
            frame.truncate(total);
            if frame.prepend(self.length).is_none() {
                return false;
            }
        }
        self.fill(frame.bytes_mut(), destination, flow, class, ecn)
    }

    /// Puts the header in front of `frame`, which holds a DMSC packet and nothing else. False, and the frame unusable, when
    /// it has no room in front.
    #[inline]
    pub fn write<F: Frame>(
        &self,
        frame: &mut F,
        destination: MacAddress,
        flow: u32,
        class: u8,
        ecn: u8,
    ) -> bool {
        if frame.prepend(self.length).is_none() {
            return false;
        }
        self.fill(frame.bytes_mut(), destination, flow, class, ecn)
    }

    /// Writes the header to the front of `bytes`, a whole frame; false if that is too short.
    fn fill(
        &self,
        bytes: &mut [u8],
        destination: MacAddress,
        flow: u32,
        class: u8,
        ecn: u8,
    ) -> bool {
        let length = self.length;
        if bytes.len() < length {
            return false;
        }
        bytes[..length].copy_from_slice(&self.bytes[..length]);
        bytes[..6].copy_from_slice(&destination.0);
        let packet = bytes.len() - self.ip_at;
        let traffic_class = (DSCP[usize::from(class & 7)] << 2) | (ecn & 3);
        match self.carrier {
            Carrier::Ethernet => return true,
            Carrier::Udp4 => {
                let ip = &mut bytes[self.ip_at..self.ip_at + 20];
                ip[1] = traffic_class;
                put16(ip, 2, packet as u16);
                let checksum = net::fold(self.ip_sum + u64::from(traffic_class) + packet as u64);
                put16(ip, 10, checksum);
            }
            Carrier::Udp6 => {
                let ip = &mut bytes[self.ip_at..self.ip_at + 40];
                ip[0] = 0x60 | (traffic_class >> 4);
                ip[1] = traffic_class << 4;
                put16(ip, 4, (packet - 40) as u16);
            }
        }
        let udp = length - 8;
        let udp_length = bytes.len() - udp;
        put16(bytes, udp + 4, udp_length as u16);
        if !self.fixed_source_port {
            put16(bytes, udp, entropy(flow));
        }
        if self.checksum {
            let checksum =
                match net::fold(net::sum(&bytes[udp..], self.udp_sum + udp_length as u64)) {
                    0 => 0xffff,
                    sum => sum,
                };
            put16(bytes, udp + 6, checksum);
        }
        true
    }
}

/// A source port of a flow: the dynamic ports (RFC 6335), 14 bits of entropy for RSS and ECMP in somebody else's fabric.
#[inline]
fn entropy(flow: u32) -> u16 {
    0xC000 | (flow.wrapping_mul(0x9E37_79B1) >> 18) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PlainFrame;

    fn path(local: &str, remote: &str, checksum: bool) -> UdpPath {
        UdpPath {
            local: local.parse().expect("address"),
            remote: remote.parse().expect("address"),
            source_port: None,
            destination_port: 35029,
            checksum,
        }
    }

    #[test]
    fn written_headers_are_read_back() {
        for (local, remote, vlan) in [("10.0.0.1", "10.0.0.2", 0), ("fd00::1", "fd00::2", 7)] {
            let outer = Outer::udp(
                MacAddress([2, 0, 0, 0, 0, 1]),
                vlan,
                path(local, remote, true),
            );
            let mut frame = PlainFrame::new(b"payload");
            assert!(outer.write(&mut frame, MacAddress([2, 0, 0, 0, 0, 2]), 5, 6, 1));
            let ethernet = Ethernet::parse(frame.bytes()).expect("ethernet");
            assert_eq!(ethernet.vlan, vlan);
            let packet = &frame.bytes()[ethernet.length..];
            let ip = net::Ip::parse(packet).expect("ip");
            assert_eq!(
                (ip.ttl, ip.protocol, ip.ecn, ip.payload),
                (255, PROTOCOL_UDP, 1, 15)
            );
            let sum = net::pseudo_header(ip.source, ip.destination, PROTOCOL_UDP, ip.payload);
            assert_eq!(
                net::fold(net::sum(&packet[ip.header..], sum)),
                0,
                "UDP checksum"
            );
            assert_eq!(&packet[ip.header + 8..], b"payload");
        }
    }

    #[test]
    fn flow_labels_spread_over_source_ports() {
        let outer = Outer::udp(
            MacAddress([2, 0, 0, 0, 0, 1]),
            0,
            path("10.0.0.1", "10.0.0.2", false),
        );
        let mut ports = std::collections::HashSet::new();
        for flow in 0..1000 {
            let mut frame = PlainFrame::new(b"x");
            outer.write(&mut frame, MacAddress::BROADCAST, flow, 0, 0);
            ports.insert(net::be16(frame.bytes(), 34));
        }
        assert!(ports.len() > 900, "{} ports", ports.len());
    }
}
