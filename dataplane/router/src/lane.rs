//! Frames between workers and control threads: bounded, recycled, without lock or allocation on the worker's side.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// Longest frame that travels in a lane.
pub const MAX_FRAME: usize = 9_700;

/// A frame on its way, with what its reader needs to know.
#[derive(Debug)]
pub struct Parcel {
    /// Port number, from 0.
    pub port: u8,
    /// Leaving the port, not coming in (captures).
    pub outgoing: bool,
    /// TSC when it was put in.
    pub time: u64,
    /// Length on the wire, which may be more than what is carried.
    pub length: u32,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A bounded queue of parcels whose buffers go round.
#[derive(Debug)]
pub struct Lane {
    full: ArrayQueue<Parcel>,
    empty: ArrayQueue<Vec<u8>>,
    missed: AtomicU64,
}

impl Lane {
    /// Of `depth` buffers, all allocated now (the kernel gives the memory when they are first used).
    pub fn new(depth: usize) -> Lane {
        let lane = Lane {
            full: ArrayQueue::new(depth),
            empty: ArrayQueue::new(depth),
            missed: AtomicU64::new(0),
        };
        for _ in 0..depth {
            lane.give_back(Vec::with_capacity(MAX_FRAME));
        }
        lane
    }

    /// Copies a frame in, at most `snap` bytes of it; false, and counted, when no buffer is free.
    pub fn offer(&self, port: u8, outgoing: bool, time: u64, frame: &[u8], snap: usize) -> bool {
        let Some(mut bytes) = self.empty.pop() else {
            self.missed.fetch_add(1, Ordering::Relaxed);
            return false;
        };
        bytes.clear();
        bytes.extend_from_slice(&frame[..frame.len().min(snap).min(MAX_FRAME)]);
        // There are never more parcels than buffers, and the queue holds as many.
        self.full
            .push(Parcel {
                port,
                outgoing,
                time,
                length: frame.len() as u32,
                bytes,
            })
            .is_ok()
    }

    /// The oldest frame. Its buffer is given back by [`Lane::give_back`].
    pub fn take(&self) -> Option<Parcel> {
        self.full.pop()
    }

    /// Returns a buffer.
    pub fn give_back(&self, buffer: Vec<u8>) {
        // More buffers than places can not be: those who take give back what they took.
        let _ = self.empty.push(buffer);
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.full.is_empty()
    }

    /// Frames that found no buffer.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

/// Wakes a thread that blocks in poll(2), and costs one load while it does not.
#[derive(Debug)]
pub struct Bell {
    event: EventFd,
    asleep: AtomicBool,
}

impl Bell {
    /// A bell that nobody waits on yet.
    ///
    /// # Errors
    /// When the process is out of file descriptors.
    pub fn new() -> nix::Result<Bell> {
        let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(Bell {
            event,
            asleep: AtomicBool::new(false),
        })
    }

    /// Wakes the waiter, if it waits. Everything written before is seen by it.
    pub fn ring(&self) {
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.asleep.swap(false, Ordering::SeqCst) {
            // It fails only when the counter is full, and then the waiter wakes anyway.
            let _ = self.event.write(1);
        }
    }

    /// Says that the caller is about to wait; it must look for work once more afterwards, before [`Bell::wait`].
    pub fn prepare(&self) {
        self.asleep.store(true, Ordering::SeqCst);
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    /// Not going to wait after all.
    pub fn cancel(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// The descriptor, for poll(2) beside others.
    pub fn poll_fd(&self) -> PollFd<'_> {
        PollFd::new(std::os::fd::AsFd::as_fd(&self.event), PollFlags::POLLIN)
    }

    /// After poll(2): awake again.
    pub fn awake(&self) {
        self.cancel();
        let _ = self.event.read(); // EAGAIN when it did not ring
    }

    /// Waits for a ring or for `limit`.
    pub fn wait(&self, limit: Duration) {
        let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        let _ = poll(&mut [self.poll_fd()], timeout); // EINTR is as good as a ring
        self.awake();
    }
}

impl std::os::fd::AsRawFd for Bell {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(&self.event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_lane_is_bounded_and_its_buffers_go_round() {
        let lane = Lane::new(2);
        assert!(lane.offer(1, false, 5, b"first frame", 5));
        assert!(lane.offer(1, false, 6, b"second", 100));
        assert!(!lane.offer(1, false, 7, b"third", 100));
        assert_eq!(lane.missed(), 1);
        let parcel = lane.take().expect("first");
        assert_eq!(
            (parcel.bytes.as_slice(), parcel.length, parcel.time),
            (&b"first"[..], 11, 5)
        );
        lane.give_back(parcel.bytes);
        assert!(lane.offer(1, false, 8, b"fourth", 100));
    }

    #[test]
    fn a_ring_is_never_lost() {
        let bell = Arc::new(Bell::new().expect("eventfd"));
        let rings = Arc::new(AtomicU64::new(0));
        let waiter = {
            let (bell, rings) = (bell.clone(), rings.clone());
            std::thread::spawn(move || {
                let mut seen = 0;
                while seen < 1000 {
                    bell.prepare();
                    let now = rings.load(Ordering::SeqCst);
                    if now == seen {
                        bell.wait(Duration::from_secs(10));
                    } else {
                        bell.cancel();
                        seen = now;
                    }
                }
            })
        };
        let start = std::time::Instant::now();
        for _ in 0..1000 {
            rings.fetch_add(1, Ordering::SeqCst);
            bell.ring();
        }
        waiter.join().expect("waiter");
        assert!(start.elapsed() < Duration::from_secs(9), "a ring was lost");
    }
}
