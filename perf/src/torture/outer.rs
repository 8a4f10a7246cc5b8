//! What is around a DMSC packet in a frame: Ethernet, VLAN, IP, UDP, ICMP, and their lengths and checksums.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dmsc_dpdk::MacAddr;

/// UDP.
pub const UDP: u8 = 17;
/// TCP.
pub const TCP: u8 = 6;
/// ICMP.
pub const ICMP: u8 = 1;
/// ICMPv6.
pub const ICMPV6: u8 = 58;
/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of a VLAN tag.
pub const TAG: u16 = 0x8100;

/// A frame and where its parts are.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    /// All bytes.
    pub bytes: Vec<u8>,
    /// IP header; 0: none.
    pub ip: usize,
    /// What the IP header carries.
    pub transport: usize,
    /// DMSC header; 0: none.
    pub dmsc: usize,
}

impl Frame {
    /// Starts over with an Ethernet header and, unless `vlan` is 0, a tag.
    pub fn ethernet(&mut self, to: MacAddr, from: MacAddr, vlan: u16, ethertype: u16) {
        self.bytes.clear();
        (self.ip, self.transport, self.dmsc) = (0, 0, 0);
        self.bytes.extend(to.0);
        self.bytes.extend(from.0);
        if vlan != 0 {
            self.bytes.extend(TAG.to_be_bytes());
            self.bytes.extend(vlan.to_be_bytes());
        }
        self.bytes.extend(ethertype.to_be_bytes());
    }

    /// Adds an IPv4 or IPv6 header; [`Frame::seal`] fills in length and checksum.
    pub fn ip(&mut self, from: IpAddr, to: IpAddr, protocol: u8, ttl: u8, class: u8) {
        self.ip = self.bytes.len();
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let mut head = [0; 20];
                (head[0], head[1], head[6], head[8], head[9]) = (0x45, class, 0x40, ttl, protocol);
                head[12..16].copy_from_slice(&from.octets());
                head[16..20].copy_from_slice(&to.octets());
                self.bytes.extend(head);
            }
            _ => {
                let octets = |address: IpAddr| match address {
                    IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
                    IpAddr::V6(a) => a.octets(),
                };
                let mut head = [0; 40];
                (head[0], head[1], head[6], head[7]) =
                    (0x60 | class >> 4, class << 4, protocol, ttl);
                head[8..24].copy_from_slice(&octets(from));
                head[24..40].copy_from_slice(&octets(to));
                self.bytes.extend(head);
            }
        }
        self.transport = self.bytes.len();
    }

    /// Adds a UDP header; [`Frame::seal`] fills in length and checksum.
    pub fn udp(&mut self, from: u16, to: u16) {
        self.bytes.extend(from.to_be_bytes());
        self.bytes.extend(to.to_be_bytes());
        self.bytes.extend([0; 4]);
    }

    /// Whether the IP header, if there is one, is whole.
    fn has_ip(&self) -> bool {
        self.ip != 0 && self.bytes.len() >= self.transport && self.transport > self.ip
    }

    fn is_v4(&self) -> bool {
        self.transport - self.ip == 20
    }

    fn protocol(&self) -> u8 {
        self.bytes[self.ip + if self.is_v4() { 9 } else { 6 }]
    }

    /// Writes lengths that fit the bytes.
    pub fn set_lengths(&mut self) {
        if !self.has_ip() {
            return;
        }
        let (total, rest) = (
            self.bytes.len() - self.ip,
            self.bytes.len() - self.transport,
        );
        if self.is_v4() {
            put16(&mut self.bytes, self.ip + 2, total as u16);
        } else {
            put16(&mut self.bytes, self.ip + 4, rest as u16);
        }
        if self.protocol() == UDP {
            put16(&mut self.bytes, self.transport + 4, rest as u16);
        }
    }

    /// Writes checksums that fit the bytes, whatever the lengths say.
    pub fn set_checksums(&mut self) {
        if !self.has_ip() {
            return;
        }
        let (ip, transport) = (self.ip, self.transport);
        let bytes = &mut self.bytes;
        let length = bytes.len() - transport;
        let v4 = transport - ip == 20;
        let protocol = bytes[ip + if v4 { 9 } else { 6 }];
        if v4 {
            put16(bytes, ip + 10, 0);
            let checksum = fold(sum(&bytes[ip..transport], 0));
            put16(bytes, ip + 10, checksum);
        }
        let addresses = if v4 {
            ip + 12..ip + 20
        } else {
            ip + 8..ip + 40
        };
        let pseudo = sum(&bytes[addresses], u64::from(protocol) + length as u64);
        let (at, start) = match protocol {
            UDP => (transport + 6, pseudo),
            TCP => (transport + 16, pseudo),
            ICMPV6 => (transport + 2, pseudo),
            ICMP => (transport + 2, 0),
            _ => return,
        };
        if at + 2 <= bytes.len() {
            put16(bytes, at, 0);
            let checksum = match fold(sum(&bytes[transport..], start)) {
                0 if protocol == UDP => 0xffff,
                checksum => checksum,
            };
            put16(bytes, at, checksum);
        }
    }

    /// Lengths and checksums.
    pub fn seal(&mut self) {
        self.set_lengths();
        self.set_checksums();
    }

    /// An ARP message: `operation` 1 asks, 2 answers.
    pub fn arp(
        &mut self,
        to: MacAddr,
        vlan: u16,
        operation: u16,
        (from_mac, from): (MacAddr, Ipv4Addr),
        target: Ipv4Addr,
    ) {
        self.ethernet(to, from_mac, vlan, ARP);
        self.bytes.extend([0, 1, 8, 0, 6, 4]);
        self.bytes.extend(operation.to_be_bytes());
        self.bytes.extend(from_mac.0);
        self.bytes.extend(from.octets());
        self.bytes.extend([0; 6]);
        self.bytes.extend(target.octets());
    }

    /// Neighbour discovery: `kind` 135 asks for `target`, 136 tells that `target` is at `from_mac`.
    pub fn discovery(
        &mut self,
        to_mac: MacAddr,
        kind: u8,
        (from_mac, from): (MacAddr, Ipv6Addr),
        to: Ipv6Addr,
        target: Ipv6Addr,
    ) {
        self.ethernet(to_mac, from_mac, 0, IPV6);
        self.ip(from.into(), to.into(), ICMPV6, 255, 0);
        let flags = if kind == 136 { 0x60 } else { 0 };
        self.bytes.extend([kind, 0, 0, 0, flags, 0, 0, 0]);
        self.bytes.extend(target.octets());
        self.bytes.extend([if kind == 135 { 1 } else { 2 }, 1]);
        self.bytes.extend(from_mac.0);
        self.seal();
    }
}

/// Writes 16 bits; no effect beyond the end.
pub fn put16(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

/// Sum for the Internet checksum (RFC 1071).
fn sum(bytes: &[u8], start: u64) -> u64 {
    bytes.chunks(2).fold(start, |total, pair| {
        total + (u64::from(pair[0]) << 8) + pair.get(1).map_or(0, |&b| u64::from(b))
    })
}

fn fold(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    !(total as u16)
}

/// Finds the DMSC packet in a frame; with the VLAN and the IPv4 destination, if there are such.
pub fn find_dmsc(frame: &[u8]) -> Option<(&[u8], u16, Option<IpAddr>)> {
    let be16 = |at: usize| Some(u16::from_be_bytes(*frame.get(at..)?.first_chunk()?));
    let (mut vlan, mut ethertype, mut at) = (0, be16(12)?, 14);
    if ethertype == TAG {
        (vlan, ethertype, at) = (be16(14)? & 0xfff, be16(16)?, 18);
    }
    let (udp, to) = match ethertype {
        dmsc_wire::ETHERTYPE => return Some((&frame[at..], vlan, None)),
        IPV4 if *frame.get(at + 9)? == UDP => {
            let to: [u8; 4] = *frame.get(at + 16..)?.first_chunk()?;
            (at + 20, IpAddr::from(to))
        }
        IPV6 if *frame.get(at + 6)? == UDP => {
            let to: [u8; 16] = *frame.get(at + 24..)?.first_chunk()?;
            (at + 40, IpAddr::from(to))
        }
        _ => return None,
    };
    let is_dmsc = [be16(udp)?, be16(udp + 2)?].contains(&dmsc_wire::UDP_PORT);
    let packet = frame.get(udp + 8..).filter(|_| is_dmsc)?;
    Some((packet, vlan, Some(to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_frames_sum_to_zero() {
        let mac = MacAddr([2, 0, 0, 0, 0, 1]);
        for (from, to) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            let (from, to): (IpAddr, IpAddr) = (from.parse().expect("a"), to.parse().expect("b"));
            let mut frame = Frame::default();
            frame.ethernet(mac, mac, VLAN, if from.is_ipv4() { IPV4 } else { IPV6 });
            frame.ip(from, to, UDP, 255, 0);
            frame.udp(1, dmsc_wire::UDP_PORT);
            frame.bytes.extend(b"odd");
            frame.seal();
            let (packet, vlan, found) = find_dmsc(&frame.bytes).expect("found");
            assert_eq!((packet, vlan, found), (&b"odd"[..], VLAN, Some(to)));
            let addresses = if from.is_ipv4() { 12..20 } else { 8..40 };
            let pseudo = sum(&frame.bytes[frame.ip..][addresses], 17 + 11);
            assert_eq!(fold(sum(&frame.bytes[frame.transport..], pseudo)), 0);
            for end in 0..frame.bytes.len() {
                find_dmsc(&frame.bytes[..end]); // must not panic
            }
        }
    }
    const VLAN: u16 = 7;
}
