//! A thread as an lcore: it gets a cache of its own in every mempool.

use std::fmt;
use std::marker::PhantomData;

use crate::eal::EalInner;
use crate::errno::Errno;

/// `rte_lcore_id()` of a thread that is none.
const NO_LCORE: u32 = u32::MAX;

/// Why a thread cannot be an lcore.
#[derive(Debug, thiserror::Error)]
pub enum LcoreError {
    /// DPDK refused: all its lcores are taken.
    #[error("this thread cannot be registered with DPDK, which has {max} lcores: {errno}")]
    Refused {
        /// Lcores that this DPDK was built for.
        max: u32,
        /// DPDK's error number.
        errno: Errno,
    },
}

/// The calling thread is an lcore until this is dropped, on the same thread: it cannot be sent.
///
/// ```compile_fail,E0277
/// fn sent<T: Send>() {}
/// sent::<dmsc_dpdk::LcoreGuard>();
/// ```
pub struct LcoreGuard {
    id: u32,
    /// False on EAL's own thread, which is an lcore already and stays one.
    registered: bool,
    _thread: PhantomData<*const ()>,
}

impl LcoreGuard {
    pub(crate) fn register(_running: &EalInner) -> Result<Self, LcoreError> {
        let id = lcore_id();
        if id != NO_LCORE {
            return Ok(Self {
                id,
                registered: false,
                _thread: PhantomData,
            });
        }
        // SAFETY: EAL runs, because a handle is here, and this thread is no lcore.
        if unsafe { dpdk_sys::rte_thread_register() } != 0 {
            return Err(LcoreError::Refused {
                max: dpdk_sys::RTE_MAX_LCORE,
                errno: Errno::last(),
            });
        }
        Ok(Self {
            id: lcore_id(),
            registered: true,
            _thread: PhantomData,
        })
    }

    /// Number of this lcore, 0 for EAL's own thread.
    pub fn id(&self) -> u32 {
        self.id
    }
}

impl fmt::Debug for LcoreGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LcoreGuard").field(&self.id).finish()
    }
}

impl Drop for LcoreGuard {
    fn drop(&mut self) {
        if self.registered {
            // SAFETY: the guard is not Send, so this is the thread that was registered.
            unsafe { dpdk_sys::rte_thread_unregister() };
        }
    }
}

fn lcore_id() -> u32 {
    // SAFETY: reads a thread-local integer.
    unsafe { dpdk_sys::dmsc_lcore_id() }
}
