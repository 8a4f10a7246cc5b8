//! An error number of DPDK, shown in DPDK's words.

use std::ffi::CStr;
use std::fmt;

/// A positive error number, of the C library or of DPDK's own range.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// What the last failed call of DPDK left in this thread's `rte_errno`.
    pub(crate) fn last() -> Self {
        // SAFETY: reads a thread-local integer.
        Self(unsafe { dpdk_sys::dmsc_errno() })
    }

    /// From a return value: DPDK returns minus the error number.
    pub(crate) fn from_ret(ret: i32) -> Self {
        Self(ret.saturating_abs())
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: returns a pointer to a constant or to a per-thread buffer, valid until this thread's
        // next call.
        let text = unsafe { CStr::from_ptr(dpdk_sys::rte_strerror(self.0)) };
        write!(f, "{} (errno {})", text.to_string_lossy(), self.0)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
