//! How many of a member's flows go there by the topology of least delay.

use dmsc_wire::FlowLabel;

use crate::stratified::{BLOCK, BLOCKS, Slot, mix32};

/// Of all flows.
const ALL: u16 = (BLOCK * BLOCKS) as u16;
/// Another choice than that of the member: the flows of one must not all be alike here.
const SEED: u32 = 0x6465_6c79;

/// The share of flows that go by delay whatever their class; the others go as their class says. A flow keeps its side while the share does, and of two
/// shares the flows of the smaller one are among those of the greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DelayShare(u16);

impl DelayShare {
    /// Classes decide.
    pub const NONE: DelayShare = DelayShare(0);

    /// `part` of `whole`; all if it is as much or more, none of nothing.
    pub fn of(part: u16, whole: u16) -> Self {
        match whole {
            0 => Self::NONE,
            whole => Self((u32::from(ALL) * u32::from(part.min(whole)) / u32::from(whole)) as u16),
        }
    }

    /// Whether no flow goes by delay.
    #[inline(always)]
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether this flow goes by delay.
    #[inline]
    pub fn takes(self, flow: FlowLabel) -> bool {
        !self.is_none() && self.takes_slot(Slot::of(flow))
    }

    /// Whether the flows of a slot go by delay.
    #[inline]
    pub fn takes_slot(self, slot: Slot) -> bool {
        // The upper bits of a mix are as even as the lower ones.
        mix32(slot.number() as u32 ^ SEED) >> 20 < u32::from(self.0)
    }

    /// In thousandths of its flows.
    pub fn permille(self) -> u32 {
        u32::from(self.0) * 1_000 / u32::from(ALL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flows(share: DelayShare) -> Vec<u32> {
        (0..10_000u32)
            .filter(|flow| share.takes(FlowLabel(flow.wrapping_mul(0x9E37_79B9))))
            .collect()
    }

    #[test]
    fn a_share_takes_as_many_flows_as_it_says() {
        assert!(flows(DelayShare::of(0, 7)).is_empty());
        assert!(flows(DelayShare::of(7, 0)).is_empty());
        assert_eq!(flows(DelayShare::of(7, 7)).len(), 10_000);
        assert_eq!(DelayShare::of(9, 7), DelayShare::of(7, 7));
        let (quarter, half) = (
            flows(DelayShare::of(250, 1_000)),
            flows(DelayShare::of(500, 1_000)),
        );
        assert!((2_300..2_700).contains(&quarter.len()), "{}", quarter.len());
        assert!((4_700..5_300).contains(&half.len()), "{}", half.len());
        assert!(
            quarter.iter().all(|flow| half.contains(flow)),
            "more moves only what is more"
        );
        assert_eq!(DelayShare::of(500, 1_000).permille(), 500);
    }
}
