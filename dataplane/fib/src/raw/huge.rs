//! Zeroed memory in huge pages: tables of many megabytes are read at random, and with small pages every read would wait for the page tables, too.

use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// Size and alignment: a huge page of x86-64 and of most others.
#[cfg(all(target_os = "linux", not(miri)))]
const HUGE: usize = 2 << 20;

/// Types of which all bits clear are a value, and which may be forgotten.
///
/// # Safety
/// Both must hold.
pub(crate) unsafe trait Plain: Send + Sync {}
// SAFETY: an atomic of 0, which has nothing to drop.
unsafe impl Plain for AtomicU32 {}
// SAFETY: an atomic of 0, which has nothing to drop.
unsafe impl Plain for AtomicU64 {}
// SAFETY: as its elements.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// One `T` of a huge page or more, zero at first. Clones are the same memory.
pub(crate) struct Huge<T> {
    start: NonNull<T>,
    /// Gives the memory back when the last clone goes.
    _memory: Arc<Memory>,
}

// SAFETY: lends a `T` to several threads, which is Send and Sync, like an `Arc<T>`.
unsafe impl<T: Plain> Send for Huge<T> {}
// SAFETY: see above.
unsafe impl<T: Plain> Sync for Huge<T> {}

impl<T: Plain> Huge<T> {
    /// Asks the operating system; the process ends where there is no memory, as it does for any other.
    pub(crate) fn new() -> Self {
        const { assert!(align_of::<T>() <= 4096 && size_of::<T>() > 0) };
        let memory = Memory::new(size_of::<T>());
        Self {
            start: memory.start.cast(),
            _memory: Arc::new(memory),
        }
    }
}

impl<T> Clone for Huge<T> {
    fn clone(&self) -> Self {
        Self {
            start: self.start,
            _memory: Arc::clone(&self._memory),
        }
    }
}

impl<T> Deref for Huge<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the memory is at least a `T`, aligned for it, was zero, which is a value of it (`Plain`), and lives as long as `self`.
        unsafe { self.start.as_ref() }
    }
}

/// Memory of the operating system.
struct Memory {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: memory belongs to the process, not to a thread.
unsafe impl Send for Memory {}
// SAFETY: see above; nothing is done with it but giving it back.
unsafe impl Sync for Memory {}

#[cfg(all(target_os = "linux", not(miri)))]
impl Memory {
    /// At the start of a huge page, zero.
    fn new(len: usize) -> Self {
        let len = len.next_multiple_of(HUGE);
        let all = len + HUGE;
        // SAFETY: new memory, wherever the kernel likes.
        let got = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                all,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        let Some(got) = NonNull::new(got.cast::<u8>()).filter(|_| got != libc::MAP_FAILED) else {
            out_of_memory(len);
        };
        let before = got.as_ptr().align_offset(HUGE).min(HUGE);
        // SAFETY: `before` + `len` is at most `all`: both ends and the middle lie within what was mapped just now. The ends
        // are given back; advice changes no content, and where it is not taken pages are small.
        unsafe {
            let start = got.add(before);
            let end = start.add(len);
            if before > 0 {
                libc::munmap(got.as_ptr().cast(), before);
            }
            if before < HUGE {
                libc::munmap(end.as_ptr().cast(), HUGE - before);
            }
            libc::madvise(start.as_ptr().cast(), len, libc::MADV_HUGEPAGE);
            Self { start, len }
        }
    }
}

#[cfg(all(target_os = "linux", not(miri)))]
impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nobody else has it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
impl Memory {
    fn layout(len: usize) -> std::alloc::Layout {
        match std::alloc::Layout::from_size_align(len, 4096) {
            Ok(layout) => layout,
            Err(_) => out_of_memory(len),
        }
    }

    fn new(len: usize) -> Self {
        // SAFETY: the length is not 0.
        match NonNull::new(unsafe { std::alloc::alloc_zeroed(Self::layout(len)) }) {
            Some(start) => Self { start, len },
            None => out_of_memory(len),
        }
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout, and nobody else has it.
        unsafe { std::alloc::dealloc(self.start.as_ptr(), Self::layout(self.len)) };
    }
}

#[cold]
fn out_of_memory(len: usize) -> ! {
    match std::alloc::Layout::from_size_align(len, 8) {
        Ok(layout) => std::alloc::handle_alloc_error(layout),
        Err(_) => unreachable!("a length that the kernel was asked for"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn memory_is_zero_shared_and_given_back_once() {
        const COUNT: usize = if cfg!(miri) { 1 << 10 } else { 1 << 19 };
        let memory = Huge::<[AtomicU64; COUNT]>::new();
        let other = memory.clone();
        assert!(
            memory
                .iter()
                .step_by(64)
                .all(|unit| unit.load(Relaxed) == 0)
        );
        std::thread::spawn(move || other[COUNT - 1].store(7, Relaxed))
            .join()
            .expect("stored");
        assert_eq!(memory[COUNT - 1].load(Relaxed), 7);
        #[cfg(all(target_os = "linux", not(miri)))]
        assert_eq!(memory.as_ptr().align_offset(HUGE), 0);
    }
}
