//! What a router on the way needs of a packet that is as most are: no options, nothing unusual. As strict as [`parse`](crate::parse) (a
//! test and a fuzz target compare the two), and made for packets one after the other, none like the one before: fields and names are
//! looked at apart, so that a burst of packets goes through two short loops, and no jump depends on what is in most names.

use std::hint::select_unpredictable;

use crate::ecn::Ecn;
use crate::flags::Flags;
use crate::header::at;
use crate::ids::{Class, Domain, FlowLabel, NodeId};
use crate::kind::Kind;
use crate::name::{MAX_COMPONENTS, RESERVED};
use crate::{FIXED_LEN, VERSION};

/// The fields that forwarding reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    /// Code of the type, 0 to 4.
    kind: u8,
    /// Hops left.
    pub hop_limit: u8,
    /// Traffic class.
    pub class: Class,
    /// The flag [`Flags::BY_DELAY`].
    pub by_delay: bool,
    /// Congestion field.
    pub ecn: Ecn,
    /// Bytes of header and payload.
    pub total_len: u16,
    /// The caller's tenant.
    pub domain: Domain,
    /// Picks among equal choices.
    pub flow_label: FlowLabel,
    /// Gateway of the destination; [`NodeId::NONE`] while unresolved.
    pub destination_gateway: NodeId,
}

impl Glance {
    /// Whether a name may be resolved for it ([`Kind::is_call`]).
    #[inline(always)]
    pub fn is_call(&self) -> bool {
        self.kind == Kind::Request.code() || self.kind == Kind::EchoRequest.code()
    }
}

/// The two names of a packet, not checked yet.
#[derive(Clone, Copy, Debug, Default)]
pub struct GlancedNames<'a> {
    /// What begins with the destination name, the source name behind it.
    bytes: &'a [u8],
    to: u8,
    from: u8,
}

/// The fields of a packet of a type that travels by name and whose header ends with its names, and these names. Valid, if they
/// [are canonical](GlancedNames::are_canonical). `None` for everything else, valid or not: [`parse`](crate::parse) says which.
#[inline(always)]
pub fn glance(packet: &[u8]) -> Option<(Glance, GlancedNames<'_>)> {
    let (fixed, names) = packet.split_first_chunk::<FIXED_LEN>()?;
    let be16 = |at: usize| usize::from(u16::from_be_bytes([fixed[at], fixed[at + 1]]));
    let be32 =
        |at: usize| u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    let kind = fixed[0].wrapping_sub(VERSION << 4);
    let (to, from) = (fixed[at::DESTINATION_NAME_LEN], fixed[at::SOURCE_NAME_LEN]);
    let both = usize::from(to) + usize::from(from);
    let padding = both.wrapping_neg() % 4;
    let header = FIXED_LEN + both + padding;
    let total = header + be16(at::PAYLOAD_LEN);
    // Names that fill the header are at most 512 bytes, so it is not too long either.
    if kind > Kind::Error.code()
        || be16(at::HEADER_LEN) != header
        || total > packet.len()
        || to == 0
        || from == 0
    {
        return None;
    }
    let last = names.get(..both + padding)?.last_chunk()?;
    if u64::from(u32::from_le_bytes(*last)) << (8 * padding) >> 32 != 0 {
        return None;
    }
    let glance = Glance {
        kind,
        hop_limit: fixed[at::HOP_LIMIT],
        class: Class(fixed[at::CLASS_ECN] >> 5),
        by_delay: Flags(fixed[at::FLAGS]).contains(Flags::BY_DELAY),
        ecn: Ecn::from_bits(fixed[at::CLASS_ECN] >> 3),
        // A frame that holds more is not made: 64 KiB is the most that IP and Ethernet carry.
        total_len: u16::try_from(total).ok()?,
        domain: Domain(be32(at::DOMAIN)),
        flow_label: FlowLabel(be32(at::FLOW_LABEL)),
        destination_gateway: NodeId(be32(at::DESTINATION_GATEWAY)),
    };
    let bytes = names;
    Some((glance, GlancedNames { bytes, to, from }))
}

/// Whether the destination name of a packet is reserved for routers; of other bytes the answer is nonsense.
#[inline]
pub fn is_to_router(packet: &[u8]) -> bool {
    let first = packet.get(FIXED_LEN..).and_then(<[u8]>::split_first);
    first.is_some_and(|(length, rest)| {
        usize::from(*length) == RESERVED.len() && rest.starts_with(RESERVED)
    })
}

/// Components that are stepped over at once, whether so many are there or not: most names have no more.
const STRIDE: usize = 4;
/// Most components of a name, in strides.
const STRIDES: usize = MAX_COMPONENTS / STRIDE;

impl GlancedNames<'_> {
    /// Whether both names are canonical.
    #[inline(always)]
    pub fn are_canonical(&self) -> bool {
        let to = usize::from(self.to);
        let ends = [to, to + usize::from(self.from)];
        walk(ends, |at| self.bytes.get(at).copied()).unwrap_or_else(|| self.are_otherwise(ends))
    }

    /// Of a packet that ends with its names, or is no good.
    #[inline(never)]
    fn are_otherwise(&self, ends: [usize; 2]) -> bool {
        walk(ends, |at| Some(self.bytes.get(at).copied().unwrap_or(0))).unwrap_or(false)
    }
}

/// Steps over the components of both names, which end at `ends`; of a byte at or behind the end of a name the answer does not depend, but
/// it must be there.
#[inline(always)]
fn walk(ends: [usize; 2], byte: impl Fn(usize) -> Option<u8>) -> Option<bool> {
    let mut at = [0, ends[0]];
    for _ in 0..STRIDES {
        for _ in 0..STRIDE {
            for (at, end) in at.iter_mut().zip(ends) {
                let length = byte(*at)?;
                // An empty component leads nowhere, so the end is not reached.
                let next = *at + usize::from(length) + usize::from(length != 0);
                *at = select_unpredictable(*at < end, next, *at);
            }
        }
        if at[0] >= ends[0] && at[1] >= ends[1] {
            break;
        }
    }
    Some(at == ends)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NameBuf, PacketBuilder, parse};

    /// Says the same as `parse`, or nothing.
    fn is_like_parse(packet: &[u8]) -> bool {
        let Some((glance, names)) = glance(packet) else {
            return false;
        };
        if !names.are_canonical() {
            assert!(matches!(
                parse(packet),
                Err(crate::ParseError::NameNotCanonical { .. })
            ));
            return false;
        }
        let header = parse(packet).expect("valid");
        assert_eq!(header.kind.code(), glance.kind);
        assert_eq!(header.kind.is_call(), glance.is_call());
        assert_eq!(header.hop_limit, glance.hop_limit);
        assert_eq!((header.class, header.ecn), (glance.class, glance.ecn));
        assert_eq!(header.flags.contains(Flags::BY_DELAY), glance.by_delay);
        assert_eq!(header.total_len(), usize::from(glance.total_len));
        assert_eq!(header.domain, glance.domain);
        assert_eq!(header.flow_label, glance.flow_label);
        assert_eq!(header.destination_gateway, glance.destination_gateway);
        let name = header.destination_name(packet).expect("named");
        assert_eq!(name.is_reserved(), is_to_router(packet));
        true
    }

    fn bits(seed: &mut u64) -> usize {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        (*seed >> 16) as usize
    }

    #[test]
    fn it_refuses_no_usual_packet_and_accepts_no_other() {
        let mut seed = 0x2545_F491_4F6C_DD1D;
        let mut seen = [0; 2];
        for round in 0..200_000 {
            let mut name = || {
                let components = 1 + bits(&mut seed) % [3, 17][bits(&mut seed) % 8 / 7];
                let first = ["dmsc", "shop"][bits(&mut seed) % 2].to_owned();
                let more = (1..components).map(|_| "x".repeat(1 + bits(&mut seed) % 15));
                NameBuf::from_components(std::iter::once(first).chain(more))
            };
            let (Ok(to), Ok(from)) = (name(), name()) else {
                continue;
            };
            let kind = Kind::ALL[bits(&mut seed) % 5];
            let mut builder = PacketBuilder::new(kind)
                .destination(to.as_name())
                .source(from.as_name())
                .destination_gateway(NodeId(bits(&mut seed) as u32))
                .flow_label(FlowLabel(bits(&mut seed) as u32))
                .class(Class(bits(&mut seed) as u8 & 7))
                .flags(Flags(bits(&mut seed) as u8))
                .payload(&[1; 40][..bits(&mut seed) % 40]);
            let has_options = kind == Kind::EchoRequest && bits(&mut seed).is_multiple_of(2);
            if has_options {
                builder = builder.record_slots(1);
            }
            let mut packet = builder.to_vec().expect("packet");
            if bits(&mut seed).is_multiple_of(4) {
                packet.push(9); // padding of Ethernet
            }
            assert_eq!(is_like_parse(&packet), !has_options, "round {round}");
            // Damage: where something depends on it, sometimes a little more or less than it should be.
            let at = match bits(&mut seed) % 3 {
                0 => bits(&mut seed) % 40,
                1 => 40,
                _ => bits(&mut seed) % packet.len(),
            };
            packet[at] = match bits(&mut seed) % 4 {
                0 => packet[at].wrapping_add(1),
                1 => packet[at].wrapping_sub(1),
                2 => 0,
                _ => bits(&mut seed) as u8,
            };
            if bits(&mut seed).is_multiple_of(8) {
                packet.truncate(bits(&mut seed) % packet.len());
            }
            let accepted = is_like_parse(&packet);
            if let Ok(header) = parse(&packet) {
                let usual = header.kind.is_named() && header.options_offset == header.header_len;
                assert_eq!(accepted, usual, "round {round}");
            }
            seen[usize::from(accepted)] += 1;
        }
        assert!(seen[0] > 10_000 && seen[1] > 10_000, "{seen:?}");
    }

    #[test]
    fn sixteen_components_are_a_name_and_seventeen_are_none() {
        for components in 1..=18 {
            let encoded = [1, b'x'].repeat(components);
            for (to, from) in [(encoded.as_slice(), &[1, b'y'][..]), (&[1, b'y'], &encoded)] {
                for more in [0, 64] {
                    let mut bytes = [to, from].concat();
                    bytes.resize(bytes.len() + more, 1);
                    let (to, from) = (to.len() as u8, from.len() as u8);
                    let bytes = bytes.as_slice();
                    let accepted = GlancedNames { bytes, to, from }.are_canonical();
                    assert_eq!(accepted, components <= 16, "{components}");
                }
            }
        }
    }
}
