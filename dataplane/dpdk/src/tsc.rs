//! The time-stamp counter, and the version of DPDK.

use std::ffi::CStr;

/// The time-stamp counter of this core, in cycles of [`tsc_hz`]. About 10 ns.
#[inline]
pub fn tsc() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: every x86-64 has the instruction.
        unsafe { std::arch::x86_64::_rdtsc() }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        // SAFETY: reads a counter.
        unsafe { dpdk_sys::dmsc_tsc() }
    }
}

/// Cycles per second of [`tsc`]. 0 before [`crate::Eal::init`], which measures it.
pub fn tsc_hz() -> u64 {
    // SAFETY: reads an integer.
    unsafe { dpdk_sys::rte_get_tsc_hz() }
}

/// The version of the DPDK that is loaded, for example `DPDK 22.11.11`.
pub fn dpdk_version() -> String {
    // SAFETY: returns a pointer to a constant string.
    let version = unsafe { CStr::from_ptr(dpdk_sys::rte_version()) };
    version.to_string_lossy().into_owned()
}
