//! What needs machine instructions: prefetch, and AES rounds for the keyed hash.

// Together with `qsbr` the only unsafe code of this crate.
#![allow(unsafe_code)]

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

/// Bit i set: `values[i]` is `wanted`.
#[inline(always)]
pub(crate) fn equal_mask(values: &[u32; 8], wanted: u32) -> u32 {
    #[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
    {
        use std::arch::x86_64::{
            _mm256_castsi256_ps, _mm256_cmpeq_epi32, _mm256_loadu_si256, _mm256_movemask_ps,
            _mm256_set1_epi32,
        };
        // SAFETY: the whole build has AVX2, and the load reads the 32 bytes of `values`.
        unsafe {
            let values = _mm256_loadu_si256(values.as_ptr().cast());
            let equal = _mm256_cmpeq_epi32(values, _mm256_set1_epi32(wanted as i32));
            _mm256_movemask_ps(_mm256_castsi256_ps(equal)) as u32
        }
    }
    #[cfg(not(all(target_arch = "x86_64", target_feature = "avx2")))]
    values.iter().enumerate().fold(0, |mask, (i, value)| {
        mask | u32::from(*value == wanted) << i
    })
}

/// Whether the first `len` bytes are equal, at most 64. Reads no byte from the 33rd on that is not compared: it might be
/// in a cache line that nobody asked for.
#[inline(always)]
pub(crate) fn equal_start(a: &[u8; 64], b: &[u8; 64], len: usize) -> bool {
    let len = len.min(64);
    #[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
    {
        use std::arch::x86_64::{_mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_movemask_epi8};
        // The first 32 bytes, and those that end with the last; where there are less, both are the first.
        let differ = |at: usize| {
            // SAFETY: the whole build has AVX2, and both loads read 32 of the 64 bytes: `at` is at most 32.
            let equal = unsafe {
                let a = _mm256_loadu_si256(a.as_ptr().add(at).cast());
                let b = _mm256_loadu_si256(b.as_ptr().add(at).cast());
                _mm256_movemask_epi8(_mm256_cmpeq_epi8(a, b))
            };
            u64::from(!equal as u32)
        };
        let wanted = (1u64 << len.min(32)) - 1;
        (differ(0) | differ(len.max(32) - 32)) & wanted == 0
    }
    #[cfg(not(all(target_arch = "x86_64", target_feature = "avx2")))]
    {
        a[..len] == b[..len]
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
    use super::*;

    #[test]
    fn equal_starts_are_equal_up_to_the_first_difference() {
        let a: [u8; 64] = std::array::from_fn(|i| i as u8);
        assert!(equal_start(&a, &a, 64) && equal_start(&a, &a, 1000));
        for at in 0..64 {
            let mut b = a;
            b[at] ^= 0x80;
            assert!(equal_start(&a, &b, at), "{at}");
            assert!(!equal_start(&a, &b, at + 1), "{at}");
        }
    }

    #[test]
    fn masks_have_a_bit_for_each_equal_value() {
        let values = [7, 0, 7, 1, 2, 0, 0, 7];
        assert_eq!(equal_mask(&values, 7), 0b1000_0101);
        assert_eq!(equal_mask(&values, 0), 0b0110_0010);
        assert_eq!(equal_mask(&values, 9), 0);
    }
}
