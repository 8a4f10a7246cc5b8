//! A burst: up to 64 packets in an array, without allocation.

use std::fmt;
use std::mem::MaybeUninit;
use std::ptr;
use std::slice;

use dpdk_sys::rte_mbuf;

use crate::mbuf::Mbuf;

/// Packets that one receive asks for: the size that stages are built for.
pub const BURST: usize = 32;
const CAPACITY: usize = 64;

/// Up to [`Burst::CAPACITY`] packets in order. Dropping it returns them to their pools in one call.
pub struct Burst {
    len: usize,
    /// The first `len` are packets.
    mbufs: [MaybeUninit<Mbuf>; CAPACITY],
}

impl Burst {
    /// Packets that fit.
    pub const CAPACITY: usize = CAPACITY;

    /// An empty burst.
    pub const fn new() -> Self {
        Self {
            len: 0,
            mbufs: [const { MaybeUninit::uninit() }; CAPACITY],
        }
    }

    /// Packets in it.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Packets that still fit.
    #[inline]
    pub fn room(&self) -> usize {
        CAPACITY - self.len
    }

    /// Adds a packet at the end.
    ///
    /// # Errors
    /// The packet itself, if the burst is full.
    #[inline]
    pub fn push(&mut self, mbuf: Mbuf) -> Result<(), Mbuf> {
        match self.mbufs.get_mut(self.len) {
            Some(slot) => {
                slot.write(mbuf);
                self.len += 1;
                Ok(())
            }
            None => Err(mbuf),
        }
    }

    /// Takes the last packet out.
    #[inline]
    pub fn pop(&mut self) -> Option<Mbuf> {
        self.len = self.len.checked_sub(1)?;
        // SAFETY: below the old length, so a packet, and above the new one, so nobody else's now.
        Some(unsafe { self.mbufs[self.len].assume_init_read() })
    }

    /// Moves packets from the front of `other` to the end of this one, as many as fit; returns how many.
    #[inline]
    pub fn append(&mut self, other: &mut Burst) -> usize {
        let n = self.room().min(other.len);
        // SAFETY: n packets are there and n places here; they are forgotten there by `forget_front`.
        unsafe {
            ptr::copy_nonoverlapping(
                other.mbufs.as_ptr(),
                self.mbufs.as_mut_ptr().add(self.len),
                n,
            );
            self.len += n;
            other.forget_front(n);
        }
        n
    }

    /// The packets.
    #[inline]
    pub fn as_slice(&self) -> &[Mbuf] {
        // SAFETY: the first len are packets.
        unsafe { slice::from_raw_parts(self.mbufs.as_ptr().cast(), self.len) }
    }

    /// The packets, to change or to exchange.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [Mbuf] {
        // SAFETY: the first len are packets.
        unsafe { slice::from_raw_parts_mut(self.mbufs.as_mut_ptr().cast(), self.len) }
    }

    /// Bytes of all packets. Four at a time, because it is done for every burst and a step of a loop costs as much as adding a length.
    #[inline]
    pub fn bytes(&self) -> u64 {
        let (fours, rest) = self.as_slice().as_chunks::<4>();
        let length = |mbuf: &Mbuf| mbuf.len() as u64;
        let of_four = |four: &[Mbuf; 4]| four.iter().map(length).sum::<u64>();
        fours.iter().map(of_four).sum::<u64>() + rest.iter().map(length).sum::<u64>()
    }

    /// The packets in order.
    #[inline]
    pub fn iter(&self) -> slice::Iter<'_, Mbuf> {
        self.as_slice().iter()
    }

    /// The packets in order, to change.
    #[inline]
    pub fn iter_mut(&mut self) -> slice::IterMut<'_, Mbuf> {
        self.as_mut_slice().iter_mut()
    }

    /// Takes the packets out in order. What is not taken is freed when the iterator goes.
    #[inline]
    pub fn drain(&mut self) -> Drain<'_> {
        let end = self.len;
        // If the iterator is leaked, so are the packets: never freed twice.
        self.len = 0;
        Drain {
            burst: self,
            next: 0,
            end,
        }
    }

    /// Frees all packets, in one call.
    #[inline]
    pub fn clear(&mut self) {
        let n = self.len;
        if n > 0 {
            self.len = 0;
            // SAFETY: the first n were packets, and are nobody's since len is 0.
            unsafe { dpdk_sys::dmsc_mbuf_free_bulk(self.as_raw(), n as u32) };
        }
    }

    /// The array as DPDK wants it: [`Mbuf`] is a transparent pointer.
    #[inline]
    pub(crate) fn as_raw(&mut self) -> *mut *mut rte_mbuf {
        self.mbufs.as_mut_ptr().cast()
    }

    /// Where the next packets go.
    #[inline]
    pub(crate) fn spare(&mut self) -> *mut *mut rte_mbuf {
        // SAFETY: len is at most the capacity, so this is in the array or just behind it.
        unsafe { self.as_raw().add(self.len) }
    }

    /// # Safety
    /// `n` ≤ room, and that many packets of ours were written to `spare`.
    #[inline]
    pub(crate) unsafe fn grow(&mut self, n: usize) {
        debug_assert!(n <= self.room());
        self.len += n;
    }

    /// Closes the gap after the first `n` packets became somebody else's.
    ///
    /// # Safety
    /// `n` ≤ len, and the first `n` are owned elsewhere now.
    #[inline]
    pub(crate) unsafe fn forget_front(&mut self, n: usize) {
        debug_assert!(n <= self.len);
        let rest = self.len - n;
        if rest > 0 && n > 0 {
            let start = self.mbufs.as_mut_ptr();
            // SAFETY: both ranges are within the first len; they may overlap.
            unsafe { ptr::copy(start.add(n), start, rest) };
        }
        self.len = rest;
    }
}

impl Default for Burst {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Burst {
    #[inline]
    fn drop(&mut self) {
        self.clear();
    }
}

impl fmt::Debug for Burst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> IntoIterator for &'a Burst {
    type Item = &'a Mbuf;
    type IntoIter = slice::Iter<'a, Mbuf>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a> IntoIterator for &'a mut Burst {
    type Item = &'a mut Mbuf;
    type IntoIter = slice::IterMut<'a, Mbuf>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

/// Packets on their way out of a [`Burst`].
pub struct Drain<'a> {
    burst: &'a mut Burst,
    next: usize,
    end: usize,
}

impl Iterator for Drain<'_> {
    type Item = Mbuf;

    #[inline]
    fn next(&mut self) -> Option<Mbuf> {
        if self.next == self.end {
            return None;
        }
        // SAFETY: next < end ≤ the old length, and each index is read once.
        let mbuf = unsafe { self.burst.mbufs[self.next].assume_init_read() };
        self.next += 1;
        Some(mbuf)
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.end - self.next, Some(self.end - self.next))
    }
}

impl ExactSizeIterator for Drain<'_> {}

impl Drop for Drain<'_> {
    fn drop(&mut self) {
        let left = self.end - self.next;
        if left > 0 {
            // SAFETY: next..end were packets and were not read.
            unsafe {
                dpdk_sys::dmsc_mbuf_free_bulk(self.burst.as_raw().add(self.next), left as u32)
            };
        }
    }
}
