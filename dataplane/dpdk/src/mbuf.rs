//! A packet buffer that this program owns.

use std::fmt;
use std::ptr::NonNull;
use std::slice;

use dpdk_sys::rte_mbuf;

use crate::prefetch::prefetch_address;

/// Bytes in front of a fresh packet, for headers that are put before it.
pub const HEADROOM: usize = dpdk_sys::RTE_PKTMBUF_HEADROOM as usize;

/// A packet: one buffer, or a chain of segments. Owned here or by a driver, never by both; dropping it returns it
/// to its pool.
///
/// `data` is the first segment. Drivers that fill several buffers per packet are few (memif, virtio and vhost with
/// packets larger than an mbuf); ask [`Mbuf::is_contiguous`] before reading, and [`Mbuf::linearise`] or drop.
#[repr(transparent)]
pub struct Mbuf(NonNull<rte_mbuf>);

// SAFETY: whoever holds it is the only one who refers to the packet, and pools take mbufs back from any thread.
unsafe impl Send for Mbuf {}
// SAFETY: shared references only read.
unsafe impl Sync for Mbuf {}

impl Mbuf {
    /// # Safety
    /// `raw` is a well-formed packet whose only reference is handed over.
    pub(crate) unsafe fn from_raw(raw: NonNull<rte_mbuf>) -> Self {
        Self(raw)
    }

    #[inline]
    fn head(&self) -> &rte_mbuf {
        // SAFETY: points to a live mbuf that only we refer to.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    fn head_mut(&mut self) -> &mut rte_mbuf {
        // SAFETY: points to a live mbuf that only we refer to.
        unsafe { self.0.as_mut() }
    }

    /// Bytes of the first segment: the packet, if it is contiguous.
    #[inline]
    pub fn data(&self) -> &[u8] {
        let head = self.head();
        // SAFETY: DPDK and the methods below keep data_off + data_len within the buffer.
        unsafe {
            slice::from_raw_parts(
                head.buf_addr.add(usize::from(head.data_off)),
                usize::from(head.data_len),
            )
        }
    }

    /// The same to write.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        let head = self.head_mut();
        // SAFETY: as in `data`, and nobody else refers to the packet.
        unsafe {
            slice::from_raw_parts_mut(
                head.buf_addr.add(usize::from(head.data_off)),
                usize::from(head.data_len),
            )
        }
    }

    /// Bytes of the whole packet, all segments.
    #[inline]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.head().pkt_len as usize
    }

    /// Bytes in front of the data.
    #[inline]
    pub fn headroom(&self) -> usize {
        usize::from(self.head().data_off)
    }

    /// Bytes behind the data of the first segment.
    #[inline]
    pub fn tailroom(&self) -> usize {
        let head = self.head();
        usize::from(head.buf_len) - usize::from(head.data_off) - usize::from(head.data_len)
    }

    /// Puts `n` bytes, of any content, before the data and returns them; `None` if the headroom is too small.
    #[inline]
    pub fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        let head = self.head_mut();
        let off = head.data_off.checked_sub(u16::try_from(n).ok()?)?;
        let len = head.data_len.checked_add(n as u16)?;
        head.data_off = off;
        head.data_len = len;
        head.pkt_len += n as u32;
        self.data_mut().get_mut(..n)
    }

    /// Removes `n` bytes from the front; false, and nothing removed, if the first segment has fewer.
    #[inline]
    pub fn adj(&mut self, n: usize) -> bool {
        let head = self.head_mut();
        if n > usize::from(head.data_len) {
            return false;
        }
        head.data_off += n as u16;
        head.data_len -= n as u16;
        head.pkt_len -= n as u32;
        true
    }

    /// Puts `n` bytes, of any content, behind the data and returns them; `None` if the tailroom is too small or the
    /// packet has several segments.
    #[inline]
    pub fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        if !self.is_contiguous() || n > self.tailroom() {
            return None;
        }
        let head = self.head_mut();
        let old = usize::from(head.data_len);
        head.data_len += n as u16;
        head.pkt_len += n as u32;
        self.data_mut().get_mut(old..)
    }

    /// Shortens the packet to `len` bytes; false, and nothing changed, if it is shorter or has several segments.
    #[inline]
    pub fn trim_to(&mut self, len: usize) -> bool {
        let head = self.head_mut();
        if head.nb_segs != 1 || len > usize::from(head.data_len) {
            return false;
        }
        head.data_len = len as u16;
        head.pkt_len = len as u32;
        true
    }

    /// Empties a contiguous packet and gives it the headroom of a fresh one (less, if its buffer is smaller).
    pub fn reset(&mut self) -> bool {
        let head = self.head_mut();
        if head.nb_segs != 1 {
            return false;
        }
        head.data_off = head.buf_len.min(HEADROOM as u16);
        head.data_len = 0;
        head.pkt_len = 0;
        head.ol_flags &= KEPT_FLAGS;
        head.packet_type = 0;
        head.vlan_tci = 0;
        true
    }

    /// Makes the packet these bytes, with the headroom of a fresh one; false, and an empty packet, if they do not fit.
    pub fn copy_from(&mut self, bytes: &[u8]) -> bool {
        if !self.reset() {
            return false;
        }
        match self.append(bytes.len()) {
            Some(data) => {
                data.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }

    /// Number of segments.
    #[inline]
    pub fn segments(&self) -> u16 {
        self.head().nb_segs
    }

    /// Whether `data` is the whole packet.
    #[inline]
    pub fn is_contiguous(&self) -> bool {
        self.head().nb_segs == 1
    }

    /// Makes one segment of several, by copying into the tailroom of the first; false, and nothing changed, if it is
    /// too small.
    pub fn linearise(&mut self) -> bool {
        // SAFETY: a live packet that only we refer to.
        self.is_contiguous() || unsafe { dpdk_sys::dmsc_mbuf_linearize(self.0.as_ptr()) } == 0
    }

    /// Puts the packet `tail` behind this one as further segments; gives it back if there would be too many.
    pub fn chain(&mut self, tail: Mbuf) -> Result<(), Mbuf> {
        let Some(segments) = self.segments().checked_add(tail.segments()) else {
            return Err(tail);
        };
        let Some(len) = self.head().pkt_len.checked_add(tail.head().pkt_len) else {
            return Err(tail);
        };
        let tail = tail.into_raw();
        let mut last = self.0.as_ptr();
        // SAFETY: both chains are live, ours alone, and end in a null pointer; only the head's counts are read.
        unsafe {
            while !(*last).next.is_null() {
                last = (*last).next;
            }
            (*last).next = tail.as_ptr();
        }
        let head = self.head_mut();
        head.nb_segs = segments;
        head.pkt_len = len;
        Ok(())
    }

    /// Port that it was received by, or that was set: DPDK's port number.
    #[inline]
    pub fn port(&self) -> u16 {
        self.head().port
    }

    /// Sets the port.
    #[inline]
    pub fn set_port(&mut self, port: u16) {
        self.head_mut().port = port;
    }

    /// The RSS hash where the driver has one, or what was set; unspecified in a packet just received otherwise.
    #[inline]
    pub fn hash(&self) -> u32 {
        self.head().hash_lo
    }

    /// Sets what [`Mbuf::hash`] returns. It stays until the packet is transmitted or dropped.
    #[inline]
    pub fn set_hash(&mut self, hash: u32) {
        self.head_mut().hash_lo = hash;
    }

    /// 32 bits of the program's own, in the first cache line; unspecified until set.
    #[inline]
    pub fn user(&self) -> u32 {
        self.head().hash_hi
    }

    /// Sets what [`Mbuf::user`] returns. It stays until the packet is transmitted or dropped.
    #[inline]
    pub fn set_user(&mut self, user: u32) {
        self.head_mut().hash_hi = user;
    }

    /// Asks for the header of this mbuf, ahead of use.
    #[inline]
    pub fn prefetch(&self) {
        prefetch_address(self.0.as_ptr().cast());
    }

    /// Asks for the first cache line of data, ahead of use; the header should be there already.
    #[inline]
    pub fn prefetch_data(&self) {
        let head = self.head();
        prefetch_address(head.buf_addr.wrapping_add(usize::from(head.data_off)));
    }

    /// Whether the chain is well formed and nobody else refers to it: what every driver must hand over. For tests and
    /// debug assertions.
    pub fn is_sound(&self) -> bool {
        // SAFETY: a live packet; the check only reads.
        unsafe { dpdk_sys::dmsc_mbuf_is_exclusive(self.0.as_ptr()) == 1 }
    }

    fn into_raw(self) -> NonNull<rte_mbuf> {
        let raw = self.0;
        std::mem::forget(self);
        raw
    }
}

/// `RTE_MBUF_F_EXTERNAL | RTE_MBUF_F_INDIRECT`: say where the buffer is, so a reset keeps them.
const KEPT_FLAGS: u64 = 3 << 61;

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the only reference, gone with this call.
        unsafe { dpdk_sys::dmsc_mbuf_free(self.0.as_ptr()) };
    }
}

impl fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mbuf")
            .field("port", &self.port())
            .field("len", &self.len())
            .field("segments", &self.segments())
            .finish()
    }
}
