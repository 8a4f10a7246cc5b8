//! The outer headers: Ethernet with at most one VLAN tag, IPv4, IPv6, UDP, and their checksums.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::frame::Frame;
use crate::mac::MacAddress;

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP (RFC 826).
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86DD;
/// EtherType of an 802.1Q tag.
pub const ETHERTYPE_VLAN: u16 = 0x8100;
/// IP protocol of UDP.
pub const PROTOCOL_UDP: u8 = 17;
/// IP protocol of ICMP.
pub const PROTOCOL_ICMP: u8 = 1;
/// IP protocol of ICMPv6.
pub const PROTOCOL_ICMPV6: u8 = 58;

/// Big-endian 16 bits at `at`; 0 beyond the end.
#[inline]
pub fn be16(bytes: &[u8], at: usize) -> u16 {
    bytes
        .get(at..at + 2)
        .map_or(0, |b| u16::from_be_bytes([b[0], b[1]]))
}

/// Writes big-endian 16 bits at `at`; no effect beyond the end.
#[inline]
pub fn put16(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(slot) = bytes.get_mut(at..at + 2) {
        slot.copy_from_slice(&value.to_be_bytes());
    }
}

/// The Ethernet header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ethernet {
    /// Receiver.
    pub destination: MacAddress,
    /// Sender.
    pub source: MacAddress,
    /// VLAN id, 0 = untagged.
    pub vlan: u16,
    /// What follows, behind the tag.
    pub ethertype: u16,
    /// Bytes before what follows: 14 or 18.
    pub length: usize,
}

impl Ethernet {
    /// Reads the header; `None` when the frame is too short.
    #[inline]
    pub fn parse(frame: &[u8]) -> Option<Ethernet> {
        let head: &[u8; 14] = frame.first_chunk()?;
        let mac = |at: usize| {
            MacAddress([
                head[at],
                head[at + 1],
                head[at + 2],
                head[at + 3],
                head[at + 4],
                head[at + 5],
            ])
        };
        let mut header = Ethernet {
            destination: mac(0),
            source: mac(6),
            vlan: 0,
            ethertype: u16::from_be_bytes([head[12], head[13]]),
            length: 14,
        };
        if header.ethertype == ETHERTYPE_VLAN {
            let tag = frame.get(14..18)?;
            header.vlan = u16::from_be_bytes([tag[0], tag[1]]) & 0x0fff;
            header.ethertype = u16::from_be_bytes([tag[2], tag[3]]);
            header.length = 18;
        }
        Some(header)
    }

    /// Writes the header to the front of `out`, which has at least 18 bytes; returns its length.
    pub fn write(&self, out: &mut [u8]) -> usize {
        out[..6].copy_from_slice(&self.destination.0);
        out[6..12].copy_from_slice(&self.source.0);
        if self.vlan == 0 {
            put16(out, 12, self.ethertype);
            14
        } else {
            put16(out, 12, ETHERTYPE_VLAN);
            put16(out, 14, self.vlan);
            put16(out, 16, self.ethertype);
            18
        }
    }
}

/// The VLAN id of a frame, 0 = untagged.
pub fn vlan(frame: &[u8]) -> u16 {
    if be16(frame, 12) == ETHERTYPE_VLAN {
        be16(frame, 14) & 0x0fff
    } else {
        0
    }
}

/// Puts a VLAN tag into an untagged frame; 0 leaves it as it is. False when the frame is no Ethernet frame or has no room in front.
pub fn tag<F: Frame>(frame: &mut F, vlan: u16) -> bool {
    if vlan == 0 {
        return true;
    }
    if frame.bytes().len() < 14 || frame.prepend(4).is_none() {
        return false;
    }
    let bytes = frame.bytes_mut();
    bytes.copy_within(4..16, 0);
    put16(bytes, 12, ETHERTYPE_VLAN);
    put16(bytes, 14, vlan);
    true
}

/// Copies a tagged frame to `out` without its tag, as far as there is room.
pub fn untag<'a>(frame: &[u8], out: &'a mut [u8]) -> &'a [u8] {
    let (Some(addresses), Some(rest)) = (frame.get(..12), frame.get(16..)) else {
        return &[];
    };
    let length = (12 + rest.len()).min(out.len());
    out[..12].copy_from_slice(addresses);
    out[12..length].copy_from_slice(&rest[..length - 12]);
    &out[..length]
}

/// Sum of 16-bit words for the Internet checksum (RFC 1071), not folded.
#[inline]
pub fn sum(bytes: &[u8], mut total: u64) -> u64 {
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        total += u64::from(u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
    }
    let rest = words.remainder();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    total + u64::from(u32::from_be_bytes(last))
}

/// Folds a sum to the checksum that goes on the wire. No loop: how often it would run depends on the packet, and nothing predicts it.
#[inline]
pub fn fold(total: u64) -> u16 {
    let total = (total & 0xffff_ffff) + (total >> 32);
    let total = (total & 0xffff) + (total >> 16 & 0xffff) + (total >> 32);
    let total = (total & 0xffff) + (total >> 16);
    let total = (total & 0xffff) + (total >> 16);
    !(total as u16)
}

/// Sum of the pseudo header of `protocol` between two addresses of one family.
pub fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> u64 {
    let base = u64::from(protocol) + length as u64;
    match (source, destination) {
        (IpAddr::V4(s), IpAddr::V4(d)) => sum(&d.octets(), sum(&s.octets(), base)),
        (IpAddr::V6(s), IpAddr::V6(d)) => sum(&d.octets(), sum(&s.octets(), base)),
        _ => base,
    }
}

/// What an IP header says, of either family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ip {
    /// Sender.
    pub source: IpAddr,
    /// Receiver.
    pub destination: IpAddr,
    /// Next protocol; extension headers of IPv6 are not walked: DMSC is never behind one.
    pub protocol: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// ECN bits.
    pub ecn: u8,
    /// Header bytes.
    pub header: usize,
    /// Bytes behind the header.
    pub payload: usize,
    /// A fragment, first or later.
    pub fragment: bool,
}

/// Why an IP header was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IpError {
    /// Shorter than it says.
    #[error("truncated")]
    Truncated,
    /// Version or header length can not be.
    #[error("malformed")]
    Malformed,
    /// IPv4 header checksum.
    #[error("header checksum")]
    Checksum,
}

impl Ip {
    /// Reads the IP header at the front of `packet`, IPv4 or IPv6.
    ///
    /// # Errors
    /// When it is malformed, truncated, or its checksum is wrong.
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<Ip, IpError> {
        match packet.first().map(|b| b >> 4) {
            None => Err(IpError::Truncated),
            Some(4) => Ip::parse_v4(packet),
            Some(6) => Ip::parse_v6(packet),
            Some(_) => Err(IpError::Malformed),
        }
    }

    fn parse_v4(packet: &[u8]) -> Result<Ip, IpError> {
        let head: &[u8; 20] = packet.first_chunk().ok_or(IpError::Truncated)?;
        let header = usize::from(head[0] & 15) * 4;
        let total = usize::from(be16(head, 2));
        if header < 20 || total < header {
            return Err(IpError::Malformed);
        }
        if packet.len() < total {
            return Err(IpError::Truncated);
        }
        if fold(sum(&packet[..header], 0)) != 0 {
            return Err(IpError::Checksum);
        }
        let address = |at: usize| {
            IpAddr::V4(Ipv4Addr::new(
                head[at],
                head[at + 1],
                head[at + 2],
                head[at + 3],
            ))
        };
        Ok(Ip {
            source: address(12),
            destination: address(16),
            protocol: head[9],
            ttl: head[8],
            ecn: head[1] & 3,
            header,
            payload: total - header,
            fragment: be16(head, 6) & 0x3fff != 0,
        })
    }

    fn parse_v6(packet: &[u8]) -> Result<Ip, IpError> {
        let head: &[u8; 40] = packet.first_chunk().ok_or(IpError::Truncated)?;
        let payload = usize::from(be16(head, 4));
        if packet.len() < 40 + payload {
            return Err(IpError::Truncated);
        }
        let address = |at: usize| {
            let mut octets = [0; 16];
            octets.copy_from_slice(&head[at..at + 16]);
            IpAddr::V6(Ipv6Addr::from(octets))
        };
        Ok(Ip {
            source: address(8),
            destination: address(24),
            protocol: head[6],
            ttl: head[7],
            ecn: (head[1] >> 4) & 3,
            header: 40,
            payload,
            fragment: head[6] == 44,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_of_the_rfc_1071_example() {
        assert_eq!(
            fold(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7], 0)),
            !0xddf2
        );
        assert_eq!(fold(sum(&[0x01], 0)), !0x0100);
    }

    #[test]
    fn a_vlan_tag_is_read_and_written() {
        let header = Ethernet {
            destination: MacAddress([2, 0, 0, 0, 0, 1]),
            source: MacAddress([2, 0, 0, 0, 0, 2]),
            vlan: 100,
            ethertype: ETHERTYPE_IPV4,
            length: 18,
        };
        let mut out = [0; 18];
        assert_eq!(header.write(&mut out), 18);
        assert_eq!(Ethernet::parse(&out), Some(header));
        assert_eq!(Ethernet::parse(&out[..17]), None);
    }

    #[test]
    fn a_tag_is_put_in_and_taken_out() {
        let plain: Vec<u8> = (0..60).collect();
        let mut frame = crate::frame::PlainFrame::new(&plain);
        assert!(tag(&mut frame, 0) && vlan(frame.bytes()) == 0);
        assert!(tag(&mut frame, 100) && vlan(frame.bytes()) == 100);
        assert_eq!(frame.bytes().len(), 64);
        assert_eq!(untag(frame.bytes(), &mut [0; 100]), plain);
        assert_eq!(untag(&plain[..15], &mut [0; 100]), [0_u8; 0]);
    }

    #[test]
    fn malformed_ip_is_refused() {
        assert_eq!(Ip::parse(&[]), Err(IpError::Truncated));
        assert_eq!(Ip::parse(&[0x45; 10]), Err(IpError::Truncated));
        assert_eq!(Ip::parse(&[0x00; 40]), Err(IpError::Malformed));
        let mut v4 = [0u8; 28];
        v4[0] = 0x45;
        v4[3] = 28;
        assert_eq!(Ip::parse(&v4), Err(IpError::Checksum));
        let checksum = fold(sum(&v4[..20], 0));
        put16(&mut v4, 10, checksum);
        assert!(Ip::parse(&v4).is_ok());
        assert_eq!(Ip::parse(&v4[..27]), Err(IpError::Truncated));
    }
}
