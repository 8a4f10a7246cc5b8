//! Lets a tap of the kernel outlive its descriptor, so that another process can go on with it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Whether the interface behind `tap`, a descriptor of `/dev/net/tun`, stays when the descriptor is closed, with its addresses and routes.
///
/// # Errors
/// A descriptor of something else.
pub fn set_persistent(tap: BorrowedFd<'_>, stays: bool) -> io::Result<()> {
    // SAFETY: takes an integer and no pointer; another descriptor refuses it.
    let ret = unsafe {
        libc::ioctl(
            tap.as_raw_fd(),
            libc::TUNSETPERSIST as libc::Ioctl,
            libc::c_ulong::from(stays),
        )
    };
    if ret < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
