//! What a frame of the other end looks like: nearly all of its outer header is known beforehand.

use super::{Carrier, ETHERNET, Outer, UDP4, plain};

/// Where the DMSC packet of a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// Bytes in front of it.
    pub offset: usize,
    /// Its bytes, padding of Ethernet included.
    pub length: usize,
    /// ECN bits of the outer header.
    pub ecn: u8,
}

impl Outer {
    /// Whether an untagged frame is as the other end of this header sends them on: same carrier, to our MAC address, IP addresses
    /// exchanged, no IPv4 options, no fragment, sound lengths and IPv4 checksum, at least `minimum_ttl`, at most `mtu`.
    #[inline]
    pub fn look(&self, frame: &[u8], minimum_ttl: u8, mtu: u16) -> Option<Carried> {
        match self.carrier {
            Carrier::Udp4 => self.look_udp4(frame, minimum_ttl, mtu),
            Carrier::Ethernet => self.look_ethernet(frame),
            // Few, and none of them slow: the stages know IPv6 too.
            Carrier::Udp6 => None,
        }
    }

    fn look_ethernet(&self, frame: &[u8]) -> Option<Carried> {
        let head = frame.first_chunk::<ETHERNET>()?;
        let is_like = self.ip_at == ETHERNET
            && head[..6] == self.bytes[6..12]
            && head[12..14] == dmsc_wire::ETHERTYPE.to_be_bytes();
        is_like.then_some(Carried {
            offset: ETHERNET,
            length: frame.len() - ETHERNET,
            ecn: 0,
        })
    }

    fn look_udp4(&self, frame: &[u8], minimum_ttl: u8, mtu: u16) -> Option<Carried> {
        let head = frame.first_chunk::<UDP4>()?;
        let be16 = |at: usize| usize::from(u16::from_be_bytes([head[at], head[at + 1]]));
        let (total, udp) = (be16(16), be16(38));
        let is_sound = self.likeness.is_in(head)
            && plain::is_checksum_right(head)
            && head[22] >= minimum_ttl
            && total <= usize::from(mtu)
            && total + ETHERNET <= frame.len()
            && udp >= 8
            && udp + 20 <= total;
        is_sound.then(|| Carried {
            offset: UDP4,
            length: udp - 8,
            ecn: head[15] & 3,
        })
    }
}
