//! What needs machine instructions: prefetch, comparing many bytes at once, and AES rounds for the keyed hash.

// Together with `qsbr` the only unsafe code of this crate.
#![allow(unsafe_code)]

pub(crate) mod huge;

#[cfg(any(miri, not(all(target_arch = "x86_64", target_feature = "avx2"))))]
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// Asks for the cache line at `at`; has no effect that a program can see.
#[inline(always)]
pub(crate) fn prefetch<T>(at: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: SSE is part of x86-64, and a prefetch never faults, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(at).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Loads 32 bytes that other threads may write meanwhile. One instruction that no compiler takes apart, so each naturally aligned
/// word of it is loaded as an atomic load would.
#[cfg(all(target_arch = "x86_64", target_feature = "avx2", not(miri)))]
#[inline(always)]
fn load_32<T>(from: &[T], at: usize) -> std::arch::x86_64::__m256i {
    let bytes = size_of_val(from);
    assert!(at + 32 <= bytes, "32 bytes at {at} of {bytes}");
    let loaded;
    // SAFETY: the whole build has AVX2, and the 32 bytes lie within `from`. They are loaded by the processor, not by the abstract machine: there is
    // no data race with atomic stores of others.
    unsafe {
        std::arch::asm!(
            "vmovdqu {}, [{}]",
            lateout(ymm_reg) loaded,
            in(reg) from.as_ptr().cast::<u8>().add(at),
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    loaded
}

/// Bit i set: `values[i]` is `wanted`.
#[inline(always)]
pub(crate) fn equal_mask(values: &[AtomicU32; 8], wanted: u32) -> u32 {
    #[cfg(all(target_arch = "x86_64", target_feature = "avx2", not(miri)))]
    {
        use std::arch::x86_64::{
            _mm256_castsi256_ps, _mm256_cmpeq_epi32, _mm256_movemask_ps, _mm256_set1_epi32,
        };
        let values = load_32(values, 0);
        // SAFETY: the whole build has AVX2.
        unsafe {
            let equal = _mm256_cmpeq_epi32(values, _mm256_set1_epi32(wanted as i32));
            _mm256_movemask_ps(_mm256_castsi256_ps(equal)) as u32
        }
    }
    #[cfg(not(all(target_arch = "x86_64", target_feature = "avx2", not(miri))))]
    values.iter().enumerate().fold(0, |mask, (i, value)| {
        mask | u32::from(value.load(Relaxed) == wanted) << i
    })
}

/// [`equal_mask`] of ids that nobody writes.
#[inline(always)]
pub(crate) fn equal_ids(ids: &[u32; 8], wanted: u32) -> u32 {
    #[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
    {
        use std::arch::x86_64::{
            _mm256_castsi256_ps, _mm256_cmpeq_epi32, _mm256_loadu_si256, _mm256_movemask_ps,
            _mm256_set1_epi32,
        };
        // SAFETY: the whole build has AVX2, and the load reads the 32 bytes of `ids`.
        unsafe {
            let ids = _mm256_loadu_si256(ids.as_ptr().cast());
            let equal = _mm256_cmpeq_epi32(ids, _mm256_set1_epi32(wanted as i32));
            _mm256_movemask_ps(_mm256_castsi256_ps(equal)) as u32
        }
    }
    #[cfg(not(all(target_arch = "x86_64", target_feature = "avx2")))]
    ids.iter()
        .enumerate()
        .fold(0, |mask, (i, id)| mask | u32::from(*id == wanted) << i)
}

/// Whether the bytes from number `skip` on are the first `len` of `wanted`, at most 64. Reads no byte from the 33rd on that is not compared:
/// it might be in a cache line that nobody asked for.
#[inline(always)]
pub(crate) fn equal_start<const N: usize>(
    stored: &[AtomicU64; N],
    skip: usize,
    wanted: &[u8; 64],
    len: usize,
) -> bool {
    let len = len.min(64);
    #[cfg(all(target_arch = "x86_64", target_feature = "avx2", not(miri)))]
    {
        use std::arch::x86_64::{_mm256_cmpeq_epi8, _mm256_movemask_epi8};
        // The first 32 bytes, and those that end with the last; where there are less, both are the first.
        let differ = |at: usize| {
            let (stored, wanted) = (load_32(stored, skip + at), load_32(wanted, at));
            // SAFETY: the whole build has AVX2.
            let equal = unsafe { _mm256_movemask_epi8(_mm256_cmpeq_epi8(stored, wanted)) };
            u64::from(!equal as u32)
        };
        let compared = (1u64 << len.min(32)) - 1;
        (differ(0) | differ(len.max(32) - 32)) & compared == 0
    }
    #[cfg(not(all(target_arch = "x86_64", target_feature = "avx2", not(miri))))]
    {
        let mut bytes = stored
            .iter()
            .flat_map(|unit| unit.load(Relaxed).to_le_bytes())
            .skip(skip);
        wanted[..len].iter().all(|byte| bytes.next() == Some(*byte))
    }
}

/// AES rounds on 128-bit blocks.
#[cfg(all(target_arch = "x86_64", target_feature = "aes"))]
pub(crate) mod aes {
    use std::arch::x86_64::{
        __m128i, _mm_aesenc_si128, _mm_and_si128, _mm_cvtsi128_si64, _mm_loadu_si128, _mm_xor_si128,
    };

    /// A 128-bit block in a register.
    #[derive(Clone, Copy)]
    pub(crate) struct Block(__m128i);

    impl Block {
        #[inline(always)]
        pub(crate) fn load(bytes: &[u8; 16]) -> Self {
            // SAFETY: SSE2 is part of x86-64, and the load reads the 16 bytes of `bytes`.
            Self(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
        }

        /// One round of AES encryption with `key` as its round key.
        #[inline(always)]
        pub(crate) fn round(self, key: Block) -> Self {
            // SAFETY: this module exists only where the aes feature is enabled for the whole build.
            Self(unsafe { _mm_aesenc_si128(self.0, key.0) })
        }

        #[inline(always)]
        pub(crate) fn xor(self, other: Block) -> Self {
            // SAFETY: SSE2 is part of x86-64.
            Self(unsafe { _mm_xor_si128(self.0, other.0) })
        }

        #[inline(always)]
        pub(crate) fn and(self, other: Block) -> Self {
            // SAFETY: SSE2 is part of x86-64.
            Self(unsafe { _mm_and_si128(self.0, other.0) })
        }

        #[inline(always)]
        pub(crate) fn low(self) -> u64 {
            // SAFETY: SSE2 is part of x86-64.
            unsafe { _mm_cvtsi128_si64(self.0) as u64 }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn equal_starts_are_equal_up_to_the_first_difference() {
        let wanted: [u8; 64] = std::array::from_fn(|i| i as u8);
        for skip in [0, 3, 14, 16] {
            let stored = |changed: Option<usize>| -> [AtomicU64; 10] {
                let mut bytes = [0xee; 80];
                bytes[skip..skip + 64].copy_from_slice(&wanted);
                if let Some(at) = changed {
                    bytes[skip + at] ^= 0x80;
                }
                let words = bytes.as_chunks().0;
                std::array::from_fn(|i| AtomicU64::new(u64::from_le_bytes(words[i])))
            };
            let same = stored(None);
            assert!(
                equal_start(&same, skip, &wanted, 64) && equal_start(&same, skip, &wanted, 1000)
            );
            for at in 0..64 {
                let other = stored(Some(at));
                assert!(equal_start(&other, skip, &wanted, at), "{at}");
                assert!(!equal_start(&other, skip, &wanted, at + 1), "{at}");
            }
        }
    }

    #[test]
    fn masks_have_a_bit_for_each_equal_value() {
        let ids = [7, 0, 7, 1, 2, 0, 0, 7];
        assert_eq!((equal_ids(&ids, 7), equal_ids(&ids, 9)), (0b1000_0101, 0));
        let values = ids.map(AtomicU32::new);
        assert_eq!(equal_mask(&values, 7), 0b1000_0101);
        values[1].store(7, Relaxed);
        assert_eq!(equal_mask(&values, 7), 0b1000_0111);
        assert_eq!(equal_mask(&values, 0), 0b0110_0000);
        assert_eq!(equal_mask(&values, 9), 0);
    }
}
