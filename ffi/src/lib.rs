//! Raw bindings to DPDK: an allow-list by bindgen, a C shim for static inlines, and the mbuf header.
//!
//! Nothing here is safe and nothing here decides anything; `dmsc-dpdk` is the only user (design §2, §9).
//! The functions named `dmsc_*` come from `shim.c`: what DPDK offers only as `static inline`, or as a
//! thread-local variable, which a binding cannot reach.

mod bindings;
mod mbuf;

pub use bindings::*;
pub use mbuf::{MBUF_FIELDS, rte_mbuf};
