//! The buffer that stages work on: an mbuf on the data path, a plain vector in tests.

use dmsc_dpdk::Mbuf;

/// One frame in one piece of memory, with room in front.
pub trait Frame {
    /// All bytes, from the Ethernet header on.
    fn bytes(&self) -> &[u8];
    /// The same, to change in place.
    fn bytes_mut(&mut self) -> &mut [u8];
    /// Removes `n` bytes in front; false, and nothing removed, when there are fewer.
    fn strip(&mut self, n: usize) -> bool;
    /// Adds `n` bytes in front, their content unspecified; `None`, and nothing added, when there is no room.
    fn prepend(&mut self, n: usize) -> Option<&mut [u8]>;
    /// Shortens to `length`; no effect when shorter already.
    fn truncate(&mut self, length: usize);
    /// Replaces the content; false, and nothing changed, when it does not fit.
    fn fill(&mut self, content: &[u8]) -> bool;
    /// Whether all bytes are in this one piece.
    fn is_contiguous(&self) -> bool;
    /// Bytes that can be added in front.
    fn headroom(&self) -> usize;
    /// Asks for the first bytes, ahead of use.
    fn prefetch(&self) {}
}

impl Frame for Mbuf {
    #[inline]
    fn bytes(&self) -> &[u8] {
        self.data()
    }
    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.data_mut()
    }
    #[inline]
    fn strip(&mut self, n: usize) -> bool {
        self.adj(n)
    }
    #[inline]
    fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        Mbuf::prepend(self, n)
    }
    #[inline]
    fn truncate(&mut self, length: usize) {
        let _ = self.trim_to(length); // false means that it is shorter already
    }
    fn fill(&mut self, content: &[u8]) -> bool {
        self.copy_from(content)
    }
    #[inline]
    fn is_contiguous(&self) -> bool {
        Mbuf::is_contiguous(self)
    }
    #[inline]
    fn headroom(&self) -> usize {
        Mbuf::headroom(self)
    }
    #[inline]
    fn prefetch(&self) {
        self.prefetch_data();
    }
}

/// A frame in a vector, for tests: 128 bytes of headroom, as an mbuf has.
#[derive(Debug, Clone)]
pub struct PlainFrame {
    memory: Vec<u8>,
    start: usize,
}

impl PlainFrame {
    /// A frame with this content.
    pub fn new(content: &[u8]) -> PlainFrame {
        let mut memory = vec![0; 128];
        memory.extend_from_slice(content);
        PlainFrame { memory, start: 128 }
    }
}

impl Frame for PlainFrame {
    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..]
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..]
    }
    fn strip(&mut self, n: usize) -> bool {
        let enough = n <= self.memory.len() - self.start;
        if enough {
            self.start += n;
        }
        enough
    }
    fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        self.start = self.start.checked_sub(n)?;
        let start = self.start;
        self.memory.get_mut(start..start + n)
    }
    fn truncate(&mut self, length: usize) {
        self.memory.truncate(self.start + length);
    }
    fn fill(&mut self, content: &[u8]) -> bool {
        self.memory.truncate(128);
        self.memory.extend_from_slice(content);
        self.start = 128;
        true
    }
    fn is_contiguous(&self) -> bool {
        true
    }
    fn headroom(&self) -> usize {
        self.start
    }
}
