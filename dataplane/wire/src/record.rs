//! The RECORD option: slots that the source reserves and routers fill, hop by hop; it never grows (design §3).
//!
//! Value: `used(8) | reserved(24) | n × {node(32), in port(16), out port(16), residence ns(32)}`, 1 ≤ n ≤ 20.

use crate::header::Header;
use crate::ids::{NodeId, PortId};
use crate::options::OptionType;

/// Most slots of one option.
pub const MAX_SLOTS: usize = 20;
/// Bytes of one slot.
pub const SLOT_LEN: usize = 12;
/// Bytes of the value before the slots.
pub const PREAMBLE_LEN: usize = 4;

/// What one router wrote.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct RecordSlot {
    /// The router or gateway.
    pub node: NodeId,
    /// Port where the packet came in.
    pub in_port: PortId,
    /// Port where it went out.
    pub out_port: PortId,
    /// Nanoseconds between the two; `u32::MAX` means at least that.
    pub residence_ns: u32,
}

impl RecordSlot {
    /// The slot's bytes.
    #[inline]
    pub(crate) fn to_bytes(self) -> [u8; SLOT_LEN] {
        let [n0, n1, n2, n3] = self.node.0.to_be_bytes();
        let [i0, i1] = self.in_port.0.to_be_bytes();
        let [o0, o1] = self.out_port.0.to_be_bytes();
        let [r0, r1, r2, r3] = self.residence_ns.to_be_bytes();
        [n0, n1, n2, n3, i0, i1, o0, o1, r0, r1, r2, r3]
    }

    fn from_bytes(bytes: &[u8; SLOT_LEN]) -> RecordSlot {
        let [n0, n1, n2, n3, i0, i1, o0, o1, r0, r1, r2, r3] = *bytes;
        RecordSlot {
            node: NodeId(u32::from_be_bytes([n0, n1, n2, n3])),
            in_port: PortId(u16::from_be_bytes([i0, i1])),
            out_port: PortId(u16::from_be_bytes([o0, o1])),
            residence_ns: u32::from_be_bytes([r0, r1, r2, r3]),
        }
    }
}

/// Bytes of the option's value for `slots` slots.
pub(crate) const fn value_len(slots: usize) -> usize {
    PREAMBLE_LEN + slots * SLOT_LEN
}

/// Whether a value has the shape of the option.
#[inline]
pub(crate) fn is_well_formed(value: &[u8]) -> bool {
    if value.len() < value_len(1) || !(value.len() - PREAMBLE_LEN).is_multiple_of(SLOT_LEN) {
        return false;
    }
    let slots = (value.len() - PREAMBLE_LEN) / SLOT_LEN;
    slots <= MAX_SLOTS && usize::from(value[0]) <= slots
}

/// Value of the option in a packet that `header` was parsed from.
fn value<'a>(bytes: &'a [u8], header: &Header) -> Option<&'a [u8]> {
    let offset = header.record_offset(bytes)?;
    let length = usize::from(*bytes.get(offset + 1)?);
    bytes
        .get(offset + 2..offset + 2 + length)
        .filter(|v| is_well_formed(v))
}

/// The mutable counterpart of [`value`].
fn value_mut<'a>(bytes: &'a mut [u8], header: &Header) -> Option<&'a mut [u8]> {
    let offset = header.record_offset(bytes)?;
    let length = usize::from(*bytes.get(offset + 1)?);
    bytes
        .get_mut(offset + 2..offset + 2 + length)
        .filter(|v| is_well_formed(v))
}

/// Number of slots that the source reserved; 0 without the option.
#[inline]
pub fn capacity(bytes: &[u8], header: &Header) -> usize {
    value(bytes, header).map_or(0, |v| (v.len() - PREAMBLE_LEN) / SLOT_LEN)
}

/// Writes the next free slot. `false`: there is no option, or no slot is left; the packet is unchanged.
#[inline]
pub fn fill_next(bytes: &mut [u8], header: &Header, slot: RecordSlot) -> bool {
    let Some(value) = value_mut(bytes, header) else {
        return false;
    };
    let used = usize::from(value[0]);
    let at = value_len(used);
    let Some(place) = value.get_mut(at..at + SLOT_LEN) else {
        return false;
    };
    place.copy_from_slice(&slot.to_bytes());
    value[0] += 1;
    true
}

/// The filled slots, in the order of the way.
pub fn slots<'a>(bytes: &'a [u8], header: &Header) -> Slots<'a> {
    let rest = value(bytes, header)
        .and_then(|v| v.get(PREAMBLE_LEN..value_len(usize::from(v[0]))))
        .unwrap_or(&[]);
    Slots { rest }
}

/// Turns the option into PAD of the same size, for a domain that does not allow recording. The header's
/// own note of the option is cleared with it. `false`: there was none.
pub fn erase(bytes: &mut [u8], header: &mut Header) -> bool {
    let Some(value) = value_mut(bytes, header) else {
        return false;
    };
    value.fill(0);
    bytes[usize::from(header.record)] = OptionType::PAD.0;
    header.record = 0;
    true
}

/// Iterator over the filled slots of a RECORD option.
#[derive(Clone, Debug)]
pub struct Slots<'a> {
    rest: &'a [u8],
}

impl Iterator for Slots<'_> {
    type Item = RecordSlot;

    fn next(&mut self) -> Option<RecordSlot> {
        let (slot, rest) = self.rest.split_first_chunk::<SLOT_LEN>()?;
        self.rest = rest;
        Some(RecordSlot::from_bytes(slot))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.rest.len() / SLOT_LEN;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Slots<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, NameBuf, PacketBuilder, parse};

    fn echo(slots: u8) -> Vec<u8> {
        let (a, b) = (
            NameBuf::parse("/a").expect("a"),
            NameBuf::parse("/b").expect("b"),
        );
        PacketBuilder::new(Kind::EchoRequest)
            .destination(a.as_name())
            .source(b.as_name())
            .record_slots(slots)
            .payload(b"ping")
            .to_vec()
            .expect("builds")
    }

    #[test]
    fn routers_fill_what_was_reserved_and_no_more() {
        let mut packet = echo(2);
        let header = parse(&packet).expect("valid");
        let slot = |n: u32| RecordSlot {
            node: NodeId(n),
            in_port: PortId(1),
            out_port: PortId(2),
            residence_ns: n * 1000,
        };
        assert_eq!(
            (capacity(&packet, &header), slots(&packet, &header).len()),
            (2, 0)
        );
        assert!(fill_next(&mut packet, &header, slot(7)));
        assert!(fill_next(&mut packet, &header, slot(8)));
        let full = packet.clone();
        assert!(!fill_next(&mut packet, &header, slot(9)));
        assert_eq!(packet, full);
        assert_eq!(
            slots(&packet, &header).collect::<Vec<_>>(),
            [slot(7), slot(8)]
        );
        assert_eq!(parse(&packet), Ok(header));
        assert!(
            !fill_next(&mut packet[..60], &header, slot(9)),
            "cut packet"
        );
    }

    #[test]
    fn erased_options_are_padding() {
        let mut packet = echo(3);
        let mut header = parse(&packet).expect("valid");
        assert!(fill_next(&mut packet, &header, RecordSlot::default()));
        assert!(erase(&mut packet, &mut header));
        assert_eq!(parse(&packet), Ok(header));
        assert_eq!(header.record_offset(&packet), None);
        assert!(!erase(&mut packet, &mut header));
    }
}
