//! UDP over IPv4 without a tag, options or a UDP checksum: what most links between routers have. Read and written at places that are
//! known beforehand.

use super::{Carrier, DSCP, ETHERNET, Outer, UDP4, entropy};
use crate::mac::MacAddress;

/// Words of eight bytes that are compared.
const WORDS: usize = 5;
/// The bytes that are the same in all frames of a neighbour: our MAC address; EtherType, version and header length; no fragment; protocol;
/// both addresses; our port.
const SAME: [u64; WORDS] = [
    u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]),
    u64::from_ne_bytes([0, 0, 0, 0, 0xff, 0xff, 0xff, 0]),
    u64::from_ne_bytes([0, 0, 0, 0, 0xbf, 0xff, 0, 0xff]),
    u64::from_ne_bytes([0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
    u64::from_ne_bytes([0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0]),
];

/// A number is a multiple of 0xffff where its product with this, modulo 2^64, is at most [`MOST`]: (2^16 − 1) × this = 1.
const INVERSE: u64 = 0xFFFE_FFFE_FFFE_FFFF;
const MOST: u64 = u64::MAX / 0xffff;

/// What the frames of one neighbour have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Likeness([u64; WORDS]);

impl Likeness {
    /// That of no frame: bits are set that are not compared.
    pub(super) const NONE: Likeness = Likeness([u64::MAX; WORDS]);

    /// Of frames that come in as `outer` goes out.
    pub(super) fn of(outer: &Outer) -> Likeness {
        if outer.carrier != Carrier::Udp4 || outer.ip_at != ETHERNET {
            return Likeness::NONE;
        }
        let own = &outer.bytes;
        let mut theirs = [0; 8 * WORDS];
        theirs[..6].copy_from_slice(&own[6..12]);
        theirs[12..].copy_from_slice(&own[12..8 * WORDS]);
        theirs[26..30].copy_from_slice(&own[30..34]);
        theirs[30..34].copy_from_slice(&own[26..30]);
        Likeness(std::array::from_fn(|n| word(&theirs, 8 * n) & SAME[n]))
    }

    /// Whether a header has all of that.
    #[inline(always)]
    pub(super) fn is_in(&self, head: &[u8; UDP4]) -> bool {
        let pairs = SAME.iter().zip(self.0).enumerate();
        let differs = pairs.fold(0, |all, (n, (same, theirs))| {
            all | (word(head, 8 * n) & same) ^ theirs
        });
        differs == 0
    }
}

/// Eight bytes at `at`, in the order of this machine.
#[inline(always)]
fn word(bytes: &[u8], at: usize) -> u64 {
    let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk) else {
        return 0;
    };
    u64::from_ne_bytes(*eight)
}

/// Whether the checksum of an IPv4 header without options is right. In any byte order, and over words of any multiple of 16 bits (RFC
/// 1071): the sum of all of a right header is a multiple of 0xffff, and never 0.
#[inline(always)]
pub(super) fn is_checksum_right(head: &[u8; UDP4]) -> bool {
    let last = u64::from(u32::from_ne_bytes([head[30], head[31], head[32], head[33]]));
    let (sum, carry) = word(head, 14).overflowing_add(word(head, 22));
    let (sum, more) = sum.overflowing_add(last + u64::from(carry));
    sum.wrapping_add(u64::from(more)).wrapping_mul(INVERSE) <= MOST
}

impl Outer {
    /// As [`Outer::look`], of a frame of `length` bytes that begins with `head` and is exactly as long as each of its headers says: the
    /// ECN bits.
    #[inline(always)]
    pub fn look_plain(
        &self,
        head: &[u8; UDP4],
        length: usize,
        minimum_ttl: u8,
        mtu: u16,
    ) -> Option<u8> {
        let be16 = |at: usize| usize::from(u16::from_be_bytes([head[at], head[at + 1]]));
        let is_sound = self.likeness.is_in(head)
            && be16(16) + ETHERNET == length
            && be16(38) + ETHERNET + 20 == length
            && is_checksum_right(head)
            && head[22] >= minimum_ttl
            && length <= usize::from(mtu) + ETHERNET;
        is_sound.then_some(head[15] & 3)
    }
}

/// A plain header for one destination.
#[derive(Debug, Clone, Copy)]
pub struct Plain {
    head: [u8; UDP4],
    /// Sum of the IPv4 header without length and traffic class, folded.
    sum: u32,
    fixed_source_port: bool,
}

impl Plain {
    /// Bytes of the header.
    pub const LEN: usize = UDP4;

    /// `None` where the header of `outer` is not plain.
    pub fn of(outer: &Outer, destination: MacAddress) -> Option<Plain> {
        if outer.carrier != Carrier::Udp4 || outer.ip_at != ETHERNET || outer.checksum {
            return None;
        }
        let mut head: [u8; UDP4] = *outer.bytes.first_chunk()?;
        head[..6].copy_from_slice(&destination.0);
        Some(Plain {
            head,
            sum: u32::from(!crate::net::fold(outer.ip_sum)),
            fixed_source_port: outer.fixed_source_port,
        })
    }

    /// Writes the header of a frame of `length` bytes.
    #[inline(always)]
    pub fn put(&self, head: &mut [u8; UDP4], length: usize, flow: u32, class: u8, ecn: u8) {
        let packet = length.wrapping_sub(ETHERNET) as u16;
        let traffic_class = (DSCP[usize::from(class & 7)] << 2) | (ecn & 3);
        // Three numbers below 0x10000 are folded in two steps.
        let sum = self.sum + u32::from(traffic_class) + u32::from(packet);
        let sum = (sum & 0xffff) + (sum >> 16);
        let checksum = !((sum + (sum >> 16)) as u16);
        *head = self.head;
        head[15] = traffic_class;
        head[16..18].copy_from_slice(&packet.to_be_bytes());
        head[24..26].copy_from_slice(&checksum.to_be_bytes());
        if !self.fixed_source_port {
            head[34..36].copy_from_slice(&entropy(flow).to_be_bytes());
        }
        head[38..40].copy_from_slice(&packet.wrapping_sub(20).to_be_bytes());
    }
}
