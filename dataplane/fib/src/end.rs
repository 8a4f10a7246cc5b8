//! Where a prefix ends within the name that is looked up.

use crate::hash::{BLOCK, MAX_COMPONENTS, Window};

/// Where a prefix of a key ends, in one word: its bytes, its components, and which key of the burst it is of. Steps go on behind the end of a
/// name, over bytes that its sender chose: there is room for the bytes of all of them, so that what is behind the end stays there.
#[derive(Clone, Copy, Default)]
pub(crate) struct End(u32);

impl End {
    /// To be added for one component more.
    const COMPONENT: u32 = 1 << 16;

    /// Before the first component of a key.
    #[inline(always)]
    pub(crate) fn of(key: usize) -> Self {
        Self((key as u32) << 24)
    }

    /// Over the next component of the name in `window`.
    #[inline(always)]
    pub(crate) fn step<const BLOCKS: usize>(&mut self, window: &Window<BLOCKS>) {
        let at = usize::from(self.len()) % (BLOCKS * BLOCK);
        let length = window[at / BLOCK][at % BLOCK];
        self.0 += Self::COMPONENT + 1 + u32::from(length);
    }

    #[inline(always)]
    pub(crate) fn at(components: u8, len: u8) -> Self {
        Self(u32::from(components) * Self::COMPONENT + u32::from(len))
    }

    /// At most 255 where there is a prefix.
    #[inline(always)]
    pub(crate) fn len(self) -> u16 {
        self.0 as u16
    }

    #[inline(always)]
    pub(crate) fn components(self) -> u8 {
        (self.0 >> 16) as u8
    }

    #[inline(always)]
    pub(crate) fn key(self) -> usize {
        (self.0 >> 24) as usize
    }
}

// The longest way: as many steps as there are components, each over the longest of them.
const _: () = assert!(MAX_COMPONENTS * (1 + u8::MAX as usize) <= u16::MAX as usize);
