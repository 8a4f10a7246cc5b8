//! Mempools: where mbufs come from and where they return to.

use std::ffi::CString;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::burst::Burst;
use crate::eal::{Eal, EalInner};
use crate::errno::Errno;
use crate::log::Capture;
use crate::mbuf::{HEADROOM, Mbuf};
use crate::numa::NumaNode;

/// Most mbufs that a thread's cache holds (`RTE_MEMPOOL_CACHE_MAX_SIZE`).
const CACHE_MAX: u32 = 512;
/// Bytes of DPDK's own per mbuf: object header, mbuf header, padding between channels.
const OVERHEAD: u64 = 64 + 128 + 64;
/// Longest name that fits into DPDK's zone names with its prefix.
const NAME_MAX: usize = 25;

/// Size of a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MempoolConfig {
    /// Mbufs. One less than a power of two wastes least.
    pub count: u32,
    /// Mbufs that each registered thread keeps to itself, ≤ 512 and ≤ `count` / 1.5; 0: none.
    pub cache: u32,
    /// Bytes of packet that an mbuf has room for behind [`HEADROOM`]; see [`crate::Device::min_data_room`].
    pub data_room: u16,
}

impl Default for MempoolConfig {
    fn default() -> Self {
        Self {
            count: 8191,
            cache: 256,
            data_room: 2048,
        }
    }
}

/// Why there is no pool.
#[derive(Debug, thiserror::Error)]
pub enum MempoolError {
    /// The name cannot be one of DPDK's.
    #[error("mempool name {0:?}: 1 to {NAME_MAX} bytes without NUL are wanted")]
    BadName(String),
    /// A number is out of range.
    #[error("mempool {name}: {what}")]
    BadSize {
        /// Name of the pool.
        name: String,
        /// Which number, and what it may be.
        what: String,
    },
    /// DPDK refused, mostly because memory is short.
    #[error(
        "mempool {name} of {count} mbufs, about {mib} MiB, was not made: {errno}; give EAL more memory or make the pool smaller; {log}"
    )]
    Refused {
        /// Name of the pool.
        name: String,
        /// Mbufs asked for.
        count: u32,
        /// Memory that they take, MiB.
        mib: u64,
        /// DPDK's error number: `ENOMEM` where memory is short, `EEXIST` where the name is taken.
        errno: Errno,
        /// DPDK's last words.
        log: String,
    },
    /// The node that was asked for has no room for it; another may.
    #[error(
        "mempool {name} of {count} mbufs, about {mib} MiB, has no room on NUMA node {node}; {}",
        node.more_hugepages(*mib)
    )]
    NoRoomOnNode {
        /// Name of the pool.
        name: String,
        /// Mbufs asked for.
        count: u32,
        /// Memory that they take, MiB.
        mib: u64,
        /// Where.
        node: NumaNode,
    },
}

/// A pool of mbufs of one size. Clones are the same pool, and any thread may use any of them.
///
/// A pool lives as long as the process: every mbuf carries a bare pointer to it, and mbufs go through queues, drivers
/// and other threads. Its name is taken for as long.
#[derive(Clone)]
pub struct Mempool {
    raw: RawPool,
    config: MempoolConfig,
    name: Arc<str>,
    eal: Arc<EalInner>,
}

/// DPDK's pool.
#[derive(Clone, Copy)]
pub(crate) struct RawPool(NonNull<dpdk_sys::rte_mempool>, u32);

// SAFETY: pools are made for many producers and consumers (the default flags), caches are per lcore.
unsafe impl Send for RawPool {}
// SAFETY: as above.
unsafe impl Sync for RawPool {}

impl RawPool {
    pub(crate) fn in_use(self) -> u32 {
        // SAFETY: pools are never freed.
        let free = unsafe { dpdk_sys::rte_mempool_avail_count(self.0.as_ptr()) };
        self.1.saturating_sub(free)
    }
}

impl Mempool {
    /// Makes a pool, where EAL has room for it: first on the node of its main core.
    ///
    /// # Errors
    /// A size that DPDK does not allow, a name that is taken, or too little memory in EAL.
    pub fn new(eal: &Eal, name: &str, config: MempoolConfig) -> Result<Self, MempoolError> {
        Self::make(eal, name, config, None)
    }

    /// Makes a pool on this node and nowhere else. Ordinary pages are wherever the calling thread's policy puts them, see
    /// [`crate::MemoryPolicy`].
    ///
    /// # Errors
    /// As [`Mempool::new`]; [`MempoolError::NoRoomOnNode`] where another node may have the room.
    pub fn on(
        eal: &Eal,
        node: NumaNode,
        name: &str,
        config: MempoolConfig,
    ) -> Result<Self, MempoolError> {
        Self::make(eal, name, config, Some(node))
    }

    fn make(
        eal: &Eal,
        name: &str,
        config: MempoolConfig,
        node: Option<NumaNode>,
    ) -> Result<Self, MempoolError> {
        let c_name = CString::new(name)
            .ok()
            .filter(|_| (1..=NAME_MAX).contains(&name.len()))
            .ok_or_else(|| MempoolError::BadName(name.to_owned()))?;
        let room = check(name, config)?;
        let _one_at_a_time = eal.inner.control();
        let capture = Capture::start();
        // SAFETY: EAL runs, the name is a C string that DPDK copies, and the sizes are in DPDK's ranges.
        let raw = unsafe {
            dpdk_sys::rte_pktmbuf_pool_create(
                c_name.as_ptr(),
                config.count,
                config.cache,
                0,
                room,
                node.map_or(ANY_SOCKET, |node| i32::from(node.0)),
            )
        };
        let Some(raw) = NonNull::new(raw) else {
            let errno = Errno::last();
            let mib = (u64::from(config.count) * (u64::from(room) + OVERHEAD)).div_ceil(1 << 20);
            let (name, count, log) = (name.to_owned(), config.count, capture.text());
            if let Some(node) = node.filter(|_| errno == Errno(libc::ENOMEM)) {
                return Err(MempoolError::NoRoomOnNode {
                    name,
                    count,
                    mib,
                    node,
                });
            }
            return Err(MempoolError::Refused {
                name,
                count,
                mib,
                errno,
                log,
            });
        };
        let raw = RawPool(raw, config.count);
        Ok(Self {
            raw,
            config,
            name: name.into(),
            eal: Arc::clone(&eal.inner),
        })
    }

    /// An empty mbuf with [`HEADROOM`] in front; `None` if the pool is empty.
    #[inline]
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool is alive, and what it returns is a fresh mbuf of ours or null.
        let mbuf = unsafe { dpdk_sys::dmsc_mbuf_alloc(self.raw.0.as_ptr()) };
        // SAFETY: as above.
        NonNull::new(mbuf).map(|mbuf| unsafe { Mbuf::from_raw(mbuf) })
    }

    /// Adds `n` empty mbufs to the burst. False, and nothing added, if the pool has not that many or the burst
    /// no room for them.
    #[inline]
    pub fn alloc_bulk(&self, burst: &mut Burst, n: usize) -> bool {
        if n > burst.room() {
            return false;
        }
        let count = n as u32;
        // SAFETY: the burst has room for n pointers behind its end, and on 0 all of them are fresh mbufs.
        unsafe {
            let spare = burst.spare();
            if dpdk_sys::dmsc_mbuf_alloc_bulk(self.raw.0.as_ptr(), spare, count) != 0 {
                return false;
            }
            burst.grow(n);
        }
        true
    }

    /// Mbufs that are out of the pool: held by this program or by drivers. Exact when nothing moves.
    pub fn in_use(&self) -> u32 {
        self.raw.in_use()
    }

    /// Mbufs that can be had, other threads' caches included.
    pub fn available(&self) -> u32 {
        self.config.count - self.in_use()
    }

    /// Mbufs in all.
    pub fn count(&self) -> u32 {
        self.config.count
    }

    /// Bytes of packet that an mbuf has room for.
    pub fn data_room(&self) -> u16 {
        self.config.data_room
    }

    /// The name that it was made with.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn as_ptr(&self) -> *mut dpdk_sys::rte_mempool {
        self.raw.0.as_ptr()
    }

    pub(crate) fn belongs_to(&self, eal: &Arc<EalInner>) -> bool {
        Arc::ptr_eq(&self.eal, eal)
    }
}

impl fmt::Debug for Mempool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mempool")
            .field("name", &self.name)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// `SOCKET_ID_ANY`: EAL takes memory where it has it.
const ANY_SOCKET: i32 = -1;

/// Bytes of an mbuf's buffer, or what is wrong.
fn check(name: &str, config: MempoolConfig) -> Result<u16, MempoolError> {
    let bad = |what: String| {
        Err(MempoolError::BadSize {
            name: name.to_owned(),
            what,
        })
    };
    let MempoolConfig {
        count,
        cache,
        data_room,
    } = config;
    if count == 0 {
        return bad("count 0: at least 1 mbuf is wanted".into());
    }
    if cache > CACHE_MAX || u64::from(cache) * 3 > u64::from(count) * 2 {
        return bad(format!(
            "cache {cache}: at most {CACHE_MAX}, and at most count / 1.5 of count {count}, are allowed"
        ));
    }
    match data_room.checked_add(HEADROOM as u16) {
        Some(room) if data_room >= 64 => Ok(room),
        _ => bad(format!(
            "data room {data_room}: 64 to {} bytes are allowed",
            u16::MAX - HEADROOM as u16
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_checked_before_dpdk_sees_them() {
        let ok = MempoolConfig {
            count: 300,
            cache: 200,
            data_room: 2048,
        };
        assert_eq!(check("p", ok).unwrap(), 2048 + 128);
        for bad in [
            MempoolConfig {
                count: 0,
                cache: 0,
                ..ok
            },
            MempoolConfig { cache: 201, ..ok },
            MempoolConfig {
                count: 100_000,
                cache: 513,
                ..ok
            },
            MempoolConfig {
                data_room: 63,
                ..ok
            },
            MempoolConfig {
                data_room: 65_500,
                ..ok
            },
        ] {
            assert!(check("p", bad).is_err(), "{bad:?}");
        }
    }
}
