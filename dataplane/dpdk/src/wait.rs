//! Blocking until a receive queue has packets (design §9, idle).

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use dpdk_sys as sys;

use crate::errno::Errno;
use crate::fds;
use crate::inner::PortInner;

/// A descriptor that becomes readable when its receive queue has packets.
///
/// The order that loses no packet: [`WaitFd::arm`]; poll the queue once more, [`WaitFd::disarm`] and go on if it had something; `poll(2)`
/// for `POLLIN`, with a timeout; [`WaitFd::wake`]. Where a tap exists its signals interrupt poll(2) (`EINTR`), which is a wake-up too. Reading from the descriptor would take packets away. It keeps its
/// port running.
pub struct WaitFd {
    port: Arc<PortInner>,
    queue: u16,
    fd: RawFd,
}

/// What [`WaitFd::wake`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Woken {
    /// Poll the queue.
    Ready,
    /// The interface went down (`ENETDOWN`): poll(2) reported `POLLERR`. It is cleared, so waiting works again, and comes
    /// back with the interface.
    Error(Errno),
}

impl WaitFd {
    pub(crate) fn new(port: Arc<PortInner>, queue: u16, fd: RawFd) -> Self {
        Self { port, queue, fd }
    }

    /// Asks for a wake-up. A no-op where the kernel always gives one.
    pub fn arm(&self) {
        if self.port.interrupts {
            // SAFETY: the port runs as long as we hold it.
            unsafe { sys::rte_eth_dev_rx_intr_enable(self.port.id, self.queue) };
            // vhost has no barrier between "notify me" and the look at the ring that follows; the other end has one between its packet and its look at this.
            fence(Ordering::SeqCst);
        }
    }

    /// Takes the wish for a wake-up back without having waited: a sender that keeps it would make a system call for every burst. A no-op
    /// where the kernel always gives one.
    pub fn disarm(&self) {
        if self.port.interrupts {
            // SAFETY: the port runs as long as we hold it.
            unsafe { sys::rte_eth_dev_rx_intr_disable(self.port.id, self.queue) };
        }
    }

    /// Ends the wait, whatever ended it. Without it an interface that went down makes poll(2) return at once for ever.
    pub fn wake(&self) -> Woken {
        if self.port.interrupts {
            // SAFETY: the port runs as long as we hold it.
            unsafe { sys::rte_eth_dev_rx_intr_disable(self.port.id, self.queue) };
            if self.port.edges.is_empty() {
                let mut count = 0_u64;
                // SAFETY: an eventfd of the driver, opened non-blocking, from which eight bytes are read into an integer.
                unsafe { libc::read(self.fd, (&raw mut count).cast(), 8) };
            } else {
                fds::take_edge(self.fd);
            }
            return Woken::Ready;
        }
        if self.port.is_tap() {
            return Woken::Ready;
        }
        match fds::take_socket_error(self.fd) {
            0 => Woken::Ready,
            error => Woken::Error(Errno(error)),
        }
    }
}

impl AsRawFd for WaitFd {
    fn as_raw_fd(&self) -> RawFd {
        self.fd
    }
}

impl AsFd for WaitFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the driver keeps it open until the port is stopped, and we hold the port.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

impl fmt::Debug for WaitFd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitFd")
            .field("port", &self.port.name)
            .field("queue", &self.queue)
            .field("fd", &self.fd)
            .finish()
    }
}
