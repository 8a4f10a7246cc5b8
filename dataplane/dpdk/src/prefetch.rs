//! Asking for memory ahead of its use.

/// Asks for the cache line at `at`; has no effect that a program can see.
#[inline(always)]
pub fn prefetch<T>(at: &T) {
    prefetch_address(std::ptr::from_ref(at).cast());
}

/// Asks for the cache line at any address.
#[inline(always)]
pub(crate) fn prefetch_address(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, allowed on any address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
