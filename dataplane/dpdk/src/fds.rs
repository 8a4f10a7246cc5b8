//! Finds the descriptors that a driver opened, which DPDK does not tell: one can block on them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

/// The descriptors of this process, and what each is.
pub(crate) struct Open(BTreeMap<RawFd, PathBuf>);

/// What to look for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wanted {
    /// Packet sockets bound to this interface index.
    Packet(i32),
    /// AF_XDP sockets.
    Xdp,
    /// Queues of a tap.
    Tun,
}

impl Open {
    /// The state of now.
    pub(crate) fn now() -> Self {
        let entries = fs::read_dir("/proc/self/fd")
            .into_iter()
            .flatten()
            .flatten();
        Self(
            entries
                .filter_map(|entry| {
                    let fd = entry.file_name().to_str()?.parse().ok()?;
                    Some((fd, fs::read_link(entry.path()).ok()?))
                })
                .collect(),
        )
    }

    /// What was opened since, in the order of descriptors: a driver opens its queues in order, and the kernel gives the
    /// lowest free number.
    pub(crate) fn opened_since(&self, wanted: Wanted) -> Vec<RawFd> {
        let now = Self::now();
        now.0
            .iter()
            .filter(|(fd, link)| self.0.get(fd) != Some(link) && matches(**fd, link, wanted))
            .map(|(&fd, _)| fd)
            .collect()
    }
}

fn matches(fd: RawFd, link: &std::path::Path, wanted: Wanted) -> bool {
    match wanted {
        Wanted::Packet(index) => domain(fd) == Some(libc::AF_PACKET) && bound_to(fd) == Some(index),
        Wanted::Xdp => domain(fd) == Some(libc::AF_XDP),
        Wanted::Tun => link == std::path::Path::new("/dev/net/tun"),
    }
}

fn domain(fd: RawFd) -> Option<i32> {
    let mut domain = 0_i32;
    let mut len = mem::size_of_val(&domain) as libc::socklen_t;
    // SAFETY: writes at most len bytes into an integer; fails on what is no socket.
    let ret = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_DOMAIN,
            (&raw mut domain).cast(),
            &mut len,
        )
    };
    (ret == 0).then_some(domain)
}

fn bound_to(fd: RawFd) -> Option<i32> {
    // SAFETY: integers, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    let mut len = mem::size_of_val(&address) as libc::socklen_t;
    // SAFETY: writes at most len bytes into the address.
    let ret = unsafe { libc::getsockname(fd, (&raw mut address).cast(), &mut len) };
    (ret == 0 && i32::from(address.sll_family) == libc::AF_PACKET).then_some(address.sll_ifindex)
}

/// Packets that the kernel dropped at this packet socket since the last call, because the ring was full.
pub(crate) fn packet_drops(fd: RawFd) -> u64 {
    // SAFETY: integers, for which zero is a value.
    let mut stats: libc::tpacket_stats = unsafe { mem::zeroed() };
    let mut len = mem::size_of_val(&stats) as libc::socklen_t;
    // SAFETY: writes at most len bytes into the structure.
    let ret = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut stats).cast(),
            &mut len,
        )
    };
    if ret == 0 {
        u64::from(stats.tp_drops)
    } else {
        0
    }
}

/// A descriptor that is readable once `inner`, an epoll instance of a driver's, had an event since the last [`take_edge`].
///
/// net_vhost puts the eventfd by which its guest kicks into such an instance, takes it out when the guest goes, and never reads it: whoever polls the
/// instance itself finds it readable for ever after the first kick.
pub(crate) fn edge_of(inner: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let outer = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    if outer < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and nobody else's.
    let outer = unsafe { OwnedFd::from_raw_fd(outer) };
    let mut event = libc::epoll_event {
        events: (libc::EPOLLIN | libc::EPOLLET) as u32,
        u64: 0,
    };
    // SAFETY: the event is read during the call.
    let ret = unsafe { libc::epoll_ctl(outer.as_raw_fd(), libc::EPOLL_CTL_ADD, inner, &mut event) };
    if ret == 0 {
        Ok(outer)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Waits for the next event of a descriptor of [`edge_of`].
pub(crate) fn take_edge(outer: RawFd) {
    // SAFETY: integers, for which zero is a value.
    let mut event: libc::epoll_event = unsafe { mem::zeroed() };
    // SAFETY: at most one event is written; the call does not wait.
    unsafe { libc::epoll_wait(outer, &mut event, 1, 0) };
}

/// The error that is pending on a socket, which this clears; 0 if none.
pub(crate) fn take_socket_error(fd: RawFd) -> i32 {
    let mut error = 0_i32;
    let mut len = mem::size_of_val(&error) as libc::socklen_t;
    // SAFETY: writes at most len bytes into an integer.
    unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_ERROR,
            (&raw mut error).cast(),
            &mut len,
        )
    };
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_socket_is_found_by_its_interface() {
        let before = Open::now();
        // SAFETY: no pointers are passed.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            eprintln!("skipped: packet sockets need root");
            return;
        }
        // SAFETY: just opened, and nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: integers, for which zero is a value.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_ifindex = 1;
        // SAFETY: the address is that long.
        let ret = unsafe {
            libc::bind(
                fd,
                (&raw const address).cast(),
                mem::size_of_val(&address) as libc::socklen_t,
            )
        };
        assert_eq!(ret, 0);
        assert_eq!(before.opened_since(Wanted::Packet(1)), [socket.as_raw_fd()]);
        assert_eq!(before.opened_since(Wanted::Packet(2)), []);
        assert_eq!(before.opened_since(Wanted::Xdp), []);
        assert_eq!(take_socket_error(fd), 0);
        assert_eq!(packet_drops(fd), 0);
    }
}
