//! DPDK's hash table of exact keys, `rte_hash`: what lookups by name are compared with.

use std::ffi::{CString, c_void};
use std::ptr::NonNull;
use std::sync::Arc;

use dpdk_sys as sys;

use crate::eal::{Eal, EalInner};
use crate::errno::Errno;
use crate::log::Capture;

/// Most keys of one [`ExactHash::lookup_bulk`].
pub const MAX_BULK: usize = sys::RTE_HASH_LOOKUP_BULK_MAX as usize;
/// Longest name that DPDK keeps, without its NUL (`RTE_HASH_NAMESIZE`), less the prefixes of its memory zones.
const NAME_MAX: usize = 24;
/// Memory of any NUMA node.
const ANY_SOCKET: i32 = -1;

/// Why there is no table, or not this key in it.
#[derive(Debug, thiserror::Error)]
pub enum ExactHashError {
    /// The name cannot be one of DPDK's.
    #[error("hash table {0:?}: 1 to {NAME_MAX} bytes without NUL are wanted")]
    BadName(String),
    /// DPDK refused, mostly because memory is short.
    #[error(
        "hash table {name} of {entries} keys of {key} bytes was not made: {errno}; give EAL more memory; {log}"
    )]
    Refused {
        /// Name of the table.
        name: String,
        /// Keys asked for.
        entries: u32,
        /// Bytes of a key.
        key: usize,
        /// DPDK's error number: `ENOMEM` where memory is short, `EEXIST` where the name is taken.
        errno: Errno,
        /// DPDK's last words.
        log: String,
    },
    /// No room for another key.
    #[error("hash table {name} is full: make it larger than {entries} entries ({errno})")]
    Full {
        /// Name of the table.
        name: String,
        /// Keys that it was made for.
        entries: u32,
        /// DPDK's error number.
        errno: Errno,
    },
}

/// A table of exact keys of `KEY` bytes, with DPDK's default hash (CRC32 where the CPU has it) and lock-free
/// readers (`RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF`).
pub struct ExactHash<const KEY: usize> {
    raw: NonNull<sys::rte_hash>,
    name: String,
    entries: u32,
    /// The table lies in EAL's memory.
    _eal: Arc<EalInner>,
}

impl<const KEY: usize> ExactHash<KEY> {
    /// An empty table with room for `entries` keys.
    ///
    /// # Errors
    /// A name that is taken, a size that DPDK does not allow, or too little memory in EAL.
    pub fn new(eal: &Eal, name: &str, entries: u32) -> Result<Self, ExactHashError> {
        let c_name = CString::new(name)
            .ok()
            .filter(|_| (1..=NAME_MAX).contains(&name.len()))
            .ok_or_else(|| ExactHashError::BadName(name.to_owned()))?;
        let parameters = sys::rte_hash_parameters {
            name: c_name.as_ptr(),
            entries,
            key_len: KEY as u32,
            socket_id: ANY_SOCKET,
            extra_flag: sys::RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF as u8,
            ..sys::rte_hash_parameters::default()
        };
        let _one_at_a_time = eal.inner.control();
        let capture = Capture::start();
        // SAFETY: EAL runs; the parameters are read and the name is copied during the call.
        let raw = unsafe { sys::rte_hash_create(&parameters) };
        let Some(raw) = NonNull::new(raw) else {
            let errno = Errno::last();
            return Err(ExactHashError::Refused {
                name: name.to_owned(),
                entries,
                key: KEY,
                errno,
                log: capture.text(),
            });
        };
        Ok(Self {
            raw,
            name: name.to_owned(),
            entries,
            _eal: Arc::clone(&eal.inner),
        })
    }

    /// Adds a key; the position is its own as long as it is in the table, and that of the first time if it was there.
    ///
    /// # Errors
    /// [`ExactHashError::Full`].
    pub fn insert(&mut self, key: &[u8; KEY]) -> Result<i32, ExactHashError> {
        // SAFETY: the table is this one's, `&mut` makes this the only writer, and the key has the table's length.
        let position =
            unsafe { sys::rte_hash_add_key(self.raw.as_ptr(), key.as_ptr().cast::<c_void>()) };
        if position < 0 {
            return Err(ExactHashError::Full {
                name: self.name.clone(),
                entries: self.entries,
                errno: Errno::from_ret(position),
            });
        }
        Ok(position)
    }

    /// The positions of up to [`MAX_BULK`] keys, negative for those that are not in the table. Keys without a
    /// place in `positions` are not looked up.
    #[inline]
    pub fn lookup_bulk(&self, keys: &[&[u8; KEY]], positions: &mut [i32]) {
        let count = keys.len().min(positions.len()).min(MAX_BULK);
        if count == 0 {
            return;
        }
        // References to arrays are plain pointers to their first byte.
        let keys = keys.as_ptr().cast::<*const c_void>().cast_mut();
        // SAFETY: `count` pointers to keys of the table's length, and as many places for positions; both are
        // only used during the call, and the keys are only read.
        unsafe {
            sys::rte_hash_lookup_bulk(
                self.raw.as_ptr(),
                keys,
                count as u32,
                positions.as_mut_ptr(),
            )
        };
    }
}

impl<const KEY: usize> Drop for ExactHash<KEY> {
    fn drop(&mut self) {
        // SAFETY: this value was the table's only user.
        unsafe { sys::rte_hash_free(self.raw.as_ptr()) };
    }
}

impl<const KEY: usize> std::fmt::Debug for ExactHash<KEY> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExactHash")
            .field("name", &self.name)
            .field("key", &KEY)
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}
