//! Where the buffers of a queue are.

/// Bytes of the virtio-net header before each frame (virtio 1.2, §5.1.6), with the number of buffers that the frame takes as its last field. All others are 0: no
/// offloads were agreed on.
pub const HEADER: usize = 12;

/// One behind the other.
#[derive(Debug, Clone, Copy)]
pub struct Buffers {
    /// Where the first is.
    pub at: usize,
    /// Bytes of each.
    pub size: usize,
}

impl Buffers {
    /// Where this one is.
    pub fn place(self, id: u16) -> usize {
        self.at + usize::from(id) * self.size
    }
}
