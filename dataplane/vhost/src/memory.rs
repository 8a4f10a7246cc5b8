//! Memory that both ends map, and safe access to it: the other end may write anywhere in it at any time.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use vm_memory::{FileOffset, MmapRegion, VolatileMemory as _};

use crate::error::{Lie, VhostError};

/// Address of the first byte, as descriptors and messages name it: not the one that this process has it at, which is nobody's business.
pub const BASE: u64 = 1 << 20;

/// One region, which is all that a device sees of this process.
#[derive(Debug)]
pub struct Memory {
    map: MmapRegion,
    file: File,
}

/// Places are checked; none that is outside comes of the ring's own arithmetic.
const OUTSIDE: VhostError = VhostError::Lied(Lie::Place);

impl Memory {
    /// Zeroes. Pages that nobody touches take no memory.
    ///
    /// # Errors
    /// The system has none.
    pub fn new(length: usize) -> Result<Memory, VhostError> {
        let failed = |error| VhostError::Memory(error);
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let file = File::from(memfd_create(c"dmsc-vhost", flags).map_err(|e| failed(e.into()))?);
        file.set_len(length as u64)?;
        // Its length stays: a device that could cut it would make reading here a fatal signal.
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).map_err(|e| failed(e.into()))?;
        let offset = FileOffset::new(file.try_clone()?, 0);
        let map = MmapRegion::from_file(offset, length)
            .map_err(|error| failed(std::io::Error::other(error)))?;
        Ok(Memory { map, file })
    }

    /// Bytes.
    pub fn length(&self) -> u64 {
        self.map.size() as u64
    }

    /// The file behind it, for the other end.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Two bytes, little endian.
    pub fn u16(&self, place: usize) -> Result<&AtomicU16, VhostError> {
        self.map.get_atomic_ref(place).map_err(|_| OUTSIDE)
    }

    /// Four bytes, little endian.
    pub fn u32(&self, place: usize) -> Result<&AtomicU32, VhostError> {
        self.map.get_atomic_ref(place).map_err(|_| OUTSIDE)
    }

    /// Eight bytes, little endian.
    pub fn u64(&self, place: usize) -> Result<&AtomicU64, VhostError> {
        self.map.get_atomic_ref(place).map_err(|_| OUTSIDE)
    }

    /// Copies in.
    pub fn write(&self, place: usize, bytes: &[u8]) -> Result<(), VhostError> {
        let slice = self.map.get_slice(place, bytes.len());
        slice.map_err(|_| OUTSIDE)?.copy_from(bytes);
        Ok(())
    }

    /// Copies out.
    pub fn read(&self, place: usize, bytes: &mut [u8]) -> Result<(), VhostError> {
        let slice = self.map.get_slice(place, bytes.len());
        slice.map_err(|_| OUTSIDE)?.copy_to(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_outside_are_errors_and_the_length_stays() {
        let memory = Memory::new(8_192).unwrap();
        memory.write(8_190, &[1, 2]).unwrap();
        let mut bytes = [0; 2];
        memory.read(8_190, &mut bytes).unwrap();
        assert_eq!(bytes, [1, 2]);
        assert!(memory.write(8_191, &[1, 2]).is_err());
        assert!(memory.u16(8_191).is_err(), "across the end");
        assert!(memory.u32(2).is_err(), "not aligned");
        assert!(memory.u64(usize::MAX - 3).is_err());
        assert!(memory.file.set_len(4_096).is_err(), "sealed");
    }
}
