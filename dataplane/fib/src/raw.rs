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
