//! Frames as they are on a port of shared memory: Ethernet, IPv4, UDP (without a checksum, RFC 768) and a packet; and ARP (RFC 826), by which both ends find each
//! other.

use std::net::Ipv4Addr;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Ethernet, IPv4 and UDP headers, bytes.
pub const OUTER: usize = ETHERNET + IP + UDP;
const ETHERNET: usize = 14;
const IP: usize = 20;
const UDP: usize = 8;
/// Bytes of a frame of ARP.
const ARP: usize = ETHERNET + 28;

const EVERYBODY: Mac = [0xff; 6];
const TYPE_IP: [u8; 2] = [0x08, 0x00];
const TYPE_ARP: [u8; 2] = [0x08, 0x06];
/// Ethernet and IPv4, and how long their addresses are.
const ARP_OF: [u8; 6] = [0, 1, 8, 0, 6, 4];
const UDP_PROTOCOL: u8 = 17;
/// More fragments, and the place of this one.
const FRAGMENT: u16 = 0x3fff;

/// One end of the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    pub mac: Mac,
    pub address: Ipv4Addr,
    /// Of UDP.
    pub port: u16,
}

/// The headers before every packet to the gateway; only lengths and a checksum differ from one to the next.
#[derive(Debug, Clone)]
pub struct Outer {
    bytes: [u8; OUTER],
    /// Of the IPv4 header without its length.
    sum: u32,
}

impl Outer {
    pub fn new(from: End, to: End) -> Outer {
        let mut bytes = [0; OUTER];
        let mut put = |at: usize, some: &[u8]| bytes[at..at + some.len()].copy_from_slice(some);
        put(0, &to.mac);
        put(6, &from.mac);
        put(12, &TYPE_IP);
        // Version and length of the header; not to be fragmented; time to live.
        put(ETHERNET, &[0x45]);
        put(ETHERNET + 6, &[0x40, 0, 64, UDP_PROTOCOL]);
        put(ETHERNET + 12, &from.address.octets());
        put(ETHERNET + 16, &to.address.octets());
        put(ETHERNET + IP, &from.port.to_be_bytes());
        put(ETHERNET + IP + 2, &to.port.to_be_bytes());
        let sum = sum(&bytes[ETHERNET..ETHERNET + IP]);
        Outer { bytes, sum }
    }

    /// Before a packet of `length` bytes, at most 65,507.
    pub fn before(&self, length: usize) -> [u8; OUTER] {
        let mut bytes = self.bytes;
        let udp = (UDP + length) as u16;
        let ip = udp + IP as u16;
        bytes[ETHERNET + 2..ETHERNET + 4].copy_from_slice(&ip.to_be_bytes());
        let checksum = !folded(self.sum + u32::from(ip));
        bytes[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&checksum.to_be_bytes());
        let at = ETHERNET + IP + 4;
        bytes[at..at + 2].copy_from_slice(&udp.to_be_bytes());
        bytes
    }
}

fn sum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks_exact(2);
    words
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum()
}

fn folded(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// What ARP says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arp {
    /// A question; otherwise an answer.
    pub asks: bool,
    pub sender: (Mac, Ipv4Addr),
    pub target: Ipv4Addr,
}

impl Arp {
    /// As a frame to `to`, or to everybody.
    pub fn frame(&self, to: Option<Mac>) -> [u8; ARP] {
        let mut bytes = [0; ARP];
        let mut put = |at: usize, some: &[u8]| bytes[at..at + some.len()].copy_from_slice(some);
        put(0, &to.unwrap_or(EVERYBODY));
        put(6, &self.sender.0);
        put(12, &TYPE_ARP);
        put(ETHERNET, &ARP_OF);
        put(ETHERNET + 6, &[0, if self.asks { 1 } else { 2 }]);
        put(ETHERNET + 8, &self.sender.0);
        put(ETHERNET + 14, &self.sender.1.octets());
        put(ETHERNET + 18, &to.unwrap_or_default());
        put(ETHERNET + 24, &self.target.octets());
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Arp> {
        let bytes = bytes.get(ETHERNET..ARP)?;
        let asks = match (bytes[..6] == ARP_OF, bytes[6], bytes[7]) {
            (true, 0, 1) => true,
            (true, 0, 2) => false,
            _ => return None,
        };
        let mac: Mac = bytes[8..14].try_into().ok()?;
        // Nobody has an address of a group, or none at all.
        if mac[0] & 1 != 0 || mac == [0; 6] {
            return None;
        }
        Some(Arp {
            asks,
            sender: (mac, address(bytes, 14)?),
            target: address(bytes, 24)?,
        })
    }
}

fn address(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(octets.into())
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sorted<'a> {
    /// From the gateway's data port, for this pod.
    Packet(&'a [u8]),
    Arp(Arp),
    /// Lengths or headers that contradict each other.
    Malformed,
    /// For another address or port.
    NotOurs,
    /// For this pod, but not from its gateway.
    Stranger,
    /// Another protocol, or a fragment.
    Unexpected,
}

/// Sorts what came for `own` from `gateway`. Checksums are not looked at: memory damages nothing, and the gateway leaves UDP's out.
pub fn sort<'a>(frame: &'a [u8], own: &End, gateway: (Ipv4Addr, u16)) -> Sorted<'a> {
    let (Some(to), Some(kind)) = (frame.get(..6), frame.get(12..ETHERNET)) else {
        return Sorted::Malformed;
    };
    if to != own.mac && to != EVERYBODY {
        return Sorted::NotOurs;
    }
    if kind == TYPE_ARP {
        return Arp::parse(frame).map_or(Sorted::Malformed, Sorted::Arp);
    }
    if kind != TYPE_IP {
        return Sorted::Unexpected;
    }
    datagram(&frame[ETHERNET..], own, gateway).unwrap_or(Sorted::Malformed)
}

/// Of what is behind the Ethernet header; `None`: malformed.
fn datagram<'a>(ip: &'a [u8], own: &End, gateway: (Ipv4Addr, u16)) -> Option<Sorted<'a>> {
    let u16_at = |bytes: &[u8], at: usize| {
        let two: [u8; 2] = bytes.get(at..at + 2)?.try_into().ok()?;
        Some(u16::from_be_bytes(two))
    };
    let first = *ip.first()?;
    let header = usize::from(first & 15) * 4;
    let length = usize::from(u16_at(ip, 2)?);
    if first >> 4 != 4 || header < IP || length < header {
        return None;
    }
    // What is behind the packet fills the frame.
    let udp = ip.get(header..length)?;
    let (from, to) = (address(ip, 12)?, address(ip, 16)?);
    if to != own.address {
        return Some(Sorted::NotOurs);
    }
    if u16_at(ip, 6)? & FRAGMENT != 0 || ip[9] != UDP_PROTOCOL {
        return Some(Sorted::Unexpected);
    }
    let payload = udp.get(UDP..usize::from(u16_at(udp, 4)?))?;
    Some(if u16_at(udp, 2)? != own.port {
        Sorted::NotOurs
    } else if (from, u16_at(udp, 0)?) != gateway {
        Sorted::Stranger
    } else {
        Sorted::Packet(payload)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OWN: End = End {
        mac: [2, 100, 10, 1, 0, 2],
        address: Ipv4Addr::new(10, 1, 0, 2),
        port: 4_000,
    };
    const GATEWAY: End = End {
        mac: [2, 0, 0, 0, 1, 1],
        address: Ipv4Addr::new(10, 1, 0, 1),
        port: 35_029,
    };

    fn sorted(frame: &[u8]) -> Sorted<'_> {
        sort(frame, &OWN, (GATEWAY.address, GATEWAY.port))
    }

    fn frame(from: End, to: End, packet: &[u8]) -> Vec<u8> {
        let outer = Outer::new(from, to).before(packet.len());
        [&outer[..], packet].concat()
    }

    #[test]
    fn what_one_end_makes_the_other_takes() {
        for length in [0, 1, 1_400, 8_972] {
            let packet = vec![7; length];
            let mut frame = frame(GATEWAY, OWN, &packet);
            let header = &frame[ETHERNET..ETHERNET + IP];
            assert_eq!(folded(sum(header)), 0xffff, "the header's checksum");
            assert_eq!(sorted(&frame), Sorted::Packet(&packet));
            // Short frames are filled up.
            frame.extend_from_slice(&[0; 18]);
            assert_eq!(sorted(&frame), Sorted::Packet(&packet));
        }
    }

    #[test]
    fn everything_else_has_its_reason() {
        let good = frame(GATEWAY, OWN, b"packet");
        let with = |at: usize, bytes: &[u8]| {
            let mut frame = good.clone();
            frame[at..at + bytes.len()].copy_from_slice(bytes);
            frame
        };
        for (at, bytes, reason) in [
            (0, &[2, 0, 0, 0, 0, 9][..], Sorted::NotOurs),
            (12, &[0x86, 0xdd], Sorted::Unexpected),
            (12, &[0x08, 0x06], Sorted::Malformed),
            (14, &[0x65], Sorted::Malformed),
            (14, &[0x44], Sorted::Malformed),
            (14, &[0x4f], Sorted::Malformed),
            (16, &[0xff, 0xff], Sorted::Malformed),
            (16, &[0, 19], Sorted::Malformed),
            (20, &[0x20, 0], Sorted::Unexpected),
            (20, &[0, 1], Sorted::Unexpected),
            (23, &[6], Sorted::Unexpected),
            (26, &[10, 1, 0, 7], Sorted::Stranger),
            (30, &[10, 1, 0, 7], Sorted::NotOurs),
            (34, &[0, 7], Sorted::Stranger),
            (36, &[0, 7], Sorted::NotOurs),
            (38, &[0, 7], Sorted::Malformed),
            (38, &[0xff, 0xff], Sorted::Malformed),
        ] {
            assert_eq!(sorted(&with(at, bytes)), reason, "{bytes:?} at {at}");
        }
        for length in 0..OUTER {
            assert_eq!(sorted(&good[..length]), Sorted::Malformed, "{length}");
        }
    }

    #[test]
    fn arp_is_understood_both_ways() {
        let ask = Arp {
            asks: true,
            sender: (GATEWAY.mac, GATEWAY.address),
            target: OWN.address,
        };
        assert_eq!(sorted(&ask.frame(None)), Sorted::Arp(ask));
        let answer = Arp { asks: false, ..ask };
        assert_eq!(sorted(&answer.frame(Some(OWN.mac))), Sorted::Arp(answer));
        let mut group = ask.frame(None);
        group[22] = 3;
        assert_eq!(sorted(&group), Sorted::Malformed);
    }

    proptest! {
        #[test]
        fn no_frame_is_too_strange(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..100), good: bool,
        ) {
            if good && bytes.len() > 14 {
                bytes[..6].copy_from_slice(&OWN.mac);
                bytes[12..15].copy_from_slice(&[8, 0, 0x45]);
            }
            let _ = sorted(&bytes);
        }
    }
}
