//! The kernel interface under a port: index, MTU and flags.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// An interface of the network namespace that the port was made in.
///
/// Holds a socket of its own, so that it asks that namespace whatever thread calls.
#[derive(Debug)]
pub(crate) struct NetIf {
    name: String,
    socket: OwnedFd,
}

impl NetIf {
    /// The interface of this name, whether it exists or not yet.
    pub(crate) fn open(name: &str) -> io::Result<Self> {
        // SAFETY: no pointers are passed.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, and nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self {
            name: name.to_owned(),
            socket,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn index(&self) -> io::Result<i32> {
        let mut request = self.request()?;
        self.ioctl(libc::SIOCGIFINDEX as libc::Ioctl, &mut request)?;
        // SAFETY: the kernel filled in this member.
        Ok(unsafe { request.ifr_ifru.ifru_ifindex })
    }

    pub(crate) fn mtu(&self) -> io::Result<u16> {
        let mut request = self.request()?;
        self.ioctl(libc::SIOCGIFMTU as libc::Ioctl, &mut request)?;
        // SAFETY: the kernel filled in this member.
        let mtu = unsafe { request.ifr_ifru.ifru_mtu };
        // The loopback interface has 65,536.
        Ok(u16::try_from(mtu).unwrap_or(u16::MAX))
    }

    pub(crate) fn set_mtu(&self, mtu: u16) -> io::Result<()> {
        let mut request = self.request()?;
        request.ifr_ifru.ifru_mtu = i32::from(mtu);
        self.ioctl(libc::SIOCSIFMTU as libc::Ioctl, &mut request)
    }

    /// Whether it is up and has carrier.
    pub(crate) fn is_running(&self) -> io::Result<bool> {
        let wanted = libc::IFF_UP | libc::IFF_RUNNING;
        Ok(self.flags()? & wanted == wanted)
    }

    pub(crate) fn is_promiscuous(&self) -> io::Result<bool> {
        Ok(self.flags()? & libc::IFF_PROMISC != 0)
    }

    fn flags(&self) -> io::Result<i32> {
        let mut request = self.request()?;
        self.ioctl(libc::SIOCGIFFLAGS as libc::Ioctl, &mut request)?;
        // SAFETY: the kernel filled in this member.
        Ok(i32::from(unsafe { request.ifr_ifru.ifru_flags }))
    }

    fn request(&self) -> io::Result<libc::ifreq> {
        let name = CString::new(self.name.as_str())?;
        let name = name.as_bytes_with_nul();
        // SAFETY: integers and arrays of integers, for which zero is a value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        if name.len() > request.ifr_name.len() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "interface names have at most 15 bytes",
            ));
        }
        for (to, from) in request.ifr_name.iter_mut().zip(name) {
            *to = *from as libc::c_char;
        }
        Ok(request)
    }

    fn ioctl(&self, code: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: the socket is open, and all codes used here take a pointer to an ifreq.
        if unsafe { libc::ioctl(self.socket.as_raw_fd(), code, request) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_there() {
        let lo = NetIf::open("lo").unwrap();
        assert_eq!(lo.index().unwrap(), 1);
        assert_eq!(lo.mtu().unwrap(), u16::MAX);
        lo.is_running().unwrap();
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        assert!(NetIf::open("dmsc-none").unwrap().index().is_err());
        assert!(
            NetIf::open("a-name-that-is-too-long")
                .unwrap()
                .index()
                .is_err()
        );
    }
}
