//! The header of an mbuf, written by hand, with its offsets held against DPDK's.

use std::ffi::c_void;
use std::mem::offset_of;

use crate::bindings::rte_mempool;

/// DPDK's packet buffer header: two cache lines, followed by private area, headroom and data.
///
/// Names of nested fields differ between DPDK 22.11 and 24.11 while offsets are equal, so this is ours;
/// `shim.c` refuses to compile where an offset differs, and so does this file.
#[repr(C, align(64))]
#[allow(non_camel_case_types)]
#[derive(Debug)]
pub struct rte_mbuf {
    /// Start of this segment's buffer.
    pub buf_addr: *mut u8,
    /// The same for the device.
    pub buf_iova: u64,
    /// Bytes from `buf_addr` to the first byte of data.
    pub data_off: u16,
    /// How many refer to this segment.
    pub refcnt: u16,
    /// Segments of the packet; valid in the first.
    pub nb_segs: u16,
    /// Port the packet came in by.
    pub port: u16,
    /// Offload flags.
    pub ol_flags: u64,
    /// What the driver found out about the headers.
    pub packet_type: u32,
    /// Bytes of all segments; valid in the first.
    pub pkt_len: u32,
    /// Bytes of this segment.
    pub data_len: u16,
    /// VLAN tag, if `ol_flags` says so.
    pub vlan_tci: u16,
    /// RSS hash, or the low half of eight user bytes.
    pub hash_lo: u32,
    /// The high half.
    pub hash_hi: u32,
    /// Outer VLAN tag.
    pub vlan_tci_outer: u16,
    /// Bytes of this segment's buffer.
    pub buf_len: u16,
    /// Pool that the segment returns to.
    pub pool: *mut rte_mempool,
    /// Next segment of the packet.
    pub next: *mut rte_mbuf,
    /// Header lengths for offloads.
    pub tx_offload: u64,
    /// External buffers, private size, time stamp flags and dynamic fields: not ours to touch.
    pub rest: [*mut c_void; 6],
}

/// Offsets in bytes of the fields above, in the order of the shim's `dmsc_mbuf_offsets`.
pub const MBUF_FIELDS: [(&str, usize); 18] = [
    ("buf_addr", offset_of!(rte_mbuf, buf_addr)),
    ("buf_iova", offset_of!(rte_mbuf, buf_iova)),
    ("data_off", offset_of!(rte_mbuf, data_off)),
    ("refcnt", offset_of!(rte_mbuf, refcnt)),
    ("nb_segs", offset_of!(rte_mbuf, nb_segs)),
    ("port", offset_of!(rte_mbuf, port)),
    ("ol_flags", offset_of!(rte_mbuf, ol_flags)),
    ("packet_type", offset_of!(rte_mbuf, packet_type)),
    ("pkt_len", offset_of!(rte_mbuf, pkt_len)),
    ("data_len", offset_of!(rte_mbuf, data_len)),
    ("vlan_tci", offset_of!(rte_mbuf, vlan_tci)),
    ("hash_lo", offset_of!(rte_mbuf, hash_lo)),
    ("hash_hi", offset_of!(rte_mbuf, hash_hi)),
    ("vlan_tci_outer", offset_of!(rte_mbuf, vlan_tci_outer)),
    ("buf_len", offset_of!(rte_mbuf, buf_len)),
    ("pool", offset_of!(rte_mbuf, pool)),
    ("next", offset_of!(rte_mbuf, next)),
    ("tx_offload", offset_of!(rte_mbuf, tx_offload)),
];

/// The numbers that `shim.c` holds C's `offsetof` against.
const EXPECTED: [usize; 18] = [
    0, 8, 16, 18, 20, 22, 24, 32, 36, 40, 42, 44, 48, 52, 54, 56, 64, 72,
];

const _: () = {
    assert!(size_of::<rte_mbuf>() == 128);
    let mut at = 0;
    while at < MBUF_FIELDS.len() {
        assert!(MBUF_FIELDS[at].1 == EXPECTED[at]);
        at += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_those_of_the_c_compiler() {
        for (at, (name, offset)) in MBUF_FIELDS.iter().enumerate() {
            // SAFETY: a constant table of the shim, of this many entries.
            let c = unsafe { crate::dmsc_mbuf_offsets[at] };
            assert_eq!(*offset, usize::from(c), "{name}");
        }
        // SAFETY: a constant of the shim.
        let size = unsafe { crate::dmsc_mbuf_size };
        assert_eq!(size_of::<rte_mbuf>(), usize::from(size));
    }
}
