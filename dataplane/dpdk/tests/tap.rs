//! A tap port: the kernel's interface at the other end sends and receives.

mod common;

use common::{eal, frame, pair, receive, send, wait_for};
use dmsc_dpdk::{Device, MacAddr, Mempool, MempoolConfig, Port, PortConfig, PortError, Woken};
use nix::poll::{PollFd, PollFlags, poll};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;

/// A packet socket on the interface: the kernel's side.
fn packet_socket(iface: &str) -> OwnedFd {
    let index = nix::net::if_::if_nametoindex(iface).unwrap();
    // SAFETY: no pointers are passed.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    assert!(fd >= 0);
    // SAFETY: just opened, and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: integers, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = 0x88b5_u16.to_be();
    address.sll_ifindex = index as i32;
    // SAFETY: the address is that long.
    let ret = unsafe {
        libc::bind(
            fd,
            (&raw const address).cast(),
            size_of_val(&address) as u32,
        )
    };
    assert_eq!(ret, 0);
    socket
}

#[test]
fn tap_and_kernel() {
    // SAFETY: reads an integer.
    if unsafe { libc::geteuid() } != 0 || !std::path::Path::new("/dev/net/tun").exists() {
        eprintln!("skipped: a tap needs root and /dev/net/tun");
        return;
    }
    let iface = format!("dtt{}", std::process::id() % 1_000_000);
    let eal = eal(64);
    let pool = Mempool::new(
        &eal,
        "p",
        MempoolConfig {
            count: 2047,
            cache: 0,
            data_room: 4096,
        },
    )
    .unwrap();
    let mac = MacAddr([2, 0, 0, 0, 7, 1]);
    let port = Port::create(
        &eal,
        "t",
        &Device::Tap {
            iface: iface.clone(),
            mac: Some(mac),
        },
    )
    .unwrap();
    let config = PortConfig {
        mtu: Some(1400),
        promiscuous: true,
        ..PortConfig::new(&pool)
    };
    let large = PortConfig {
        mtu: Some(3000),
        ..config
    };
    let refused = Port::create(
        &eal,
        "large",
        &Device::Tap {
            iface: format!("{iface}l"),
            mac: None,
        },
    )
    .unwrap()
    .start(large);
    assert!(matches!(refused, Err(PortError::Mtu { .. })), "{refused:?}");
    let (handle, mut rx, mut tx) = pair(port.start(config).unwrap());
    assert_eq!((handle.mac(), handle.mtu()), (mac, 1400));
    assert!(
        Command::new("ip")
            .args(["link", "set", &iface, "up"])
            .status()
            .unwrap()
            .success()
    );
    wait_for("carrier", || handle.link_up());

    let kernel = packet_socket(&iface);
    let fd = handle.poll_fds(0).pop().unwrap();
    for len in [60, 500, 1414] {
        nix::unistd::write(&kernel, &frame(len)).unwrap();
        fd.arm();
        let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
        // The driver uses signals: poll(2) may be interrupted by one.
        while poll(&mut fds, 5000_u16).is_err() {}
        assert!(fds[0].revents().unwrap().contains(PollFlags::POLLIN));
        assert_eq!(fd.wake(), Woken::Ready);
        assert_eq!(receive(&mut rx), frame(len));

        send(&pool, &mut tx, &frame(len));
        let mut bytes = [0; 4096];
        // SAFETY: writes at most so many bytes into the array.
        let n = unsafe {
            libc::recv(
                kernel.as_raw_fd(),
                bytes.as_mut_ptr().cast(),
                bytes.len(),
                0,
            )
        };
        assert_eq!(bytes[..n as usize], frame(len));
    }
    drop((fd, rx, tx, handle));
    assert!(
        nix::net::if_::if_nametoindex(iface.as_str()).is_err(),
        "{iface} is left behind"
    );
    assert_eq!(pool.in_use(), 0);
}
