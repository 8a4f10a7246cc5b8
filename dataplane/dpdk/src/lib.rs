//! Safe DPDK: EAL, mempool, mbuf, burst, port and queue, for poll-mode workers (design §9).
//!
//! Three mistakes of DPDK programs do not compile here.
//!
//! A queue cannot be polled from two threads: its `burst` needs `&mut self`, it cannot be copied, and it
//! is not `Sync`.
//!
//! ```compile_fail,E0277
//! fn shared_between_threads<T: Sync>() {}
//! shared_between_threads::<dmsc_dpdk::RxQueue>();
//! ```
//! ```compile_fail,E0382
//! fn two_workers(mut rx: dmsc_dpdk::RxQueue) {
//!     let first = std::thread::spawn(move || rx.burst(&mut dmsc_dpdk::Burst::new()));
//!     let second = std::thread::spawn(move || rx.burst(&mut dmsc_dpdk::Burst::new()));
//! }
//! ```
//!
//! A transmitted mbuf cannot be freed again: putting it into a burst moves it, and what a queue took out of
//! the burst is the driver's.
//!
//! ```compile_fail,E0382
//! fn send(mbuf: dmsc_dpdk::Mbuf, tx: &mut dmsc_dpdk::TxQueue) {
//!     let mut burst = dmsc_dpdk::Burst::new();
//!     let _ = burst.push(mbuf);
//!     tx.burst(&mut burst);
//!     drop(mbuf); // the driver's by now
//! }
//! ```
//! ```compile_fail,E0277
//! fn copied<T: Copy>() {}
//! copied::<dmsc_dpdk::Mbuf>();
//! ```
//!
//! EAL cannot be initialised twice by accident: there is one way to a handle, which cannot be cloned or
//! made up, everything else asks for that handle, and a second call of [`Eal::init`] is an error.
//!
//! ```compile_fail,E0599
//! fn another(eal: &dmsc_dpdk::Eal) -> dmsc_dpdk::Eal {
//!     eal.clone()
//! }
//! ```
//! ```compile_fail,E0451
//! let made_up = dmsc_dpdk::Eal { inner: std::sync::Arc::default() };
//! ```
//!
//! # The loop
//! `examples/forward.rs` shows it whole: receive a burst, change it, transmit it, keep or drop what the
//! queue did not take, and block on [`PortHandle::poll_fds`] when there is nothing to do.

mod affinity;
mod burst;
mod devargs;
mod device;
mod eal;
mod errno;
mod exact_hash;
mod fds;
mod gate;
mod handle;
mod hugepages;
mod inner;
mod intr;
mod lcore;
mod log;
mod mac;
mod mbuf;
mod mempool;
mod netif;
mod numa;
mod persist;
mod plug;
mod port;
mod port_error;
mod prefetch;
mod queue;
mod start;
mod stats;
mod tsc;
mod wait;

pub use burst::{BURST, Burst, Drain};
pub use device::{Device, MemifRole};
pub use eal::{Eal, EalConfig, EalError, LogLevel};
pub use errno::Errno;
pub use exact_hash::{ExactHash, ExactHashError, MAX_BULK};
pub use handle::{PortHandle, PortInfo};
pub use hugepages::{Huge, Memory, free_hugepages_mb};
pub use lcore::{LcoreError, LcoreGuard};
pub use mac::{BadMac, MacAddr};
pub use mbuf::{HEADROOM, Mbuf};
pub use mempool::{Mempool, MempoolConfig, MempoolError};
pub use numa::{MemoryPolicy, NumaNode};
pub use persist::set_persistent;
pub use port::{Port, PortConfig, StartedPort};
pub use port_error::PortError;
pub use prefetch::prefetch;
pub use queue::{RxQueue, TxQueue};
pub use stats::PortStats;
pub use tsc::{dpdk_version, tsc, tsc_hz};
pub use wait::{WaitFd, Woken};
