//! Raw frames on one interface, for what no ordinary socket sends.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};

use super::Netns;

/// A packet socket.
pub struct RawLink {
    socket: OwnedFd,
    /// The interface's MAC address.
    pub mac: [u8; 6],
}

impl RawLink {
    /// On an interface of a namespace.
    pub fn open(netns: &Netns, interface: &str) -> RawLink {
        netns.inside(|| {
            // The kernel lists the link-layer address in the form that bind takes.
            let address = nix::ifaddrs::getifaddrs()
                .expect("interfaces")
                .filter(|entry| entry.interface_name == interface)
                .find_map(|entry| entry.address.and_then(|a| a.as_link_addr().copied()))
                .expect("interface");
            let socket = socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
                SockProtocol::EthAll,
            )
            .expect("packet socket");
            bind(socket.as_raw_fd(), &address).expect("bind");
            let mac = address.addr().expect("MAC");
            RawLink { socket, mac }
        })
    }

    /// Sends a frame.
    pub fn send(&self, frame: &[u8]) {
        send(self.socket.as_raw_fd(), frame, MsgFlags::empty()).expect("send a frame");
    }

    /// An Ethernet frame from here.
    pub fn frame(&self, to: [u8; 6], ethertype: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::with_capacity(14 + payload.len());
        frame.extend(to);
        frame.extend(self.mac);
        frame.extend(ethertype.to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// The next frame of somebody else for which `pick` says something.
    pub fn receive<T>(
        &self,
        patience: Duration,
        mut pick: impl FnMut(&[u8]) -> Option<T>,
    ) -> Option<T> {
        let end = Instant::now() + patience;
        let mut buffer = [0; 10_000];
        loop {
            while let Ok(length) = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                // A packet socket hears its own interface's frames too.
                let frame = &buffer[..length];
                if frame.get(6..12) != Some(&self.mac)
                    && let Some(found) = pick(frame)
                {
                    return Some(found);
                }
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            let _ = poll(
                &mut fds,
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX),
            );
        }
    }

    /// Every frame of somebody else that is there now.
    pub fn heard(&self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        self.receive(Duration::ZERO, |frame| {
            all.push(frame.to_vec());
            None::<()>
        });
        all
    }
}

/// A MAC address from its text form.
pub fn mac(text: &str) -> [u8; 6] {
    let mut mac = [0; 6];
    for (byte, part) in mac.iter_mut().zip(text.split(':')) {
        *byte = u8::from_str_radix(part, 16).expect("MAC");
    }
    mac
}

/// An IPv4 packet with this UDP datagram, checksums included.
pub fn udp4(from: [u8; 4], to: [u8; 4], ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    use dmsc_dataplane::net::{fold, pseudo_header, sum};
    let mut udp = Vec::new();
    udp.extend(ports.0.to_be_bytes());
    udp.extend(ports.1.to_be_bytes());
    udp.extend((8 + payload.len() as u16).to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(payload);
    let checksum = fold(sum(
        &udp,
        pseudo_header(from.into(), to.into(), 17, udp.len()),
    ));
    udp[6..8].copy_from_slice(&checksum.to_be_bytes());
    ip4(from, to, 17, 64, &udp)
}

/// An IPv4 packet.
pub fn ip4(from: [u8; 4], to: [u8; 4], protocol: u8, ttl: u8, payload: &[u8]) -> Vec<u8> {
    use dmsc_dataplane::net::{fold, sum};
    let mut ip = vec![0x45, 0];
    ip.extend((20 + payload.len() as u16).to_be_bytes());
    ip.extend([0, 0, 0, 0, ttl, protocol, 0, 0]);
    ip.extend(from);
    ip.extend(to);
    let checksum = fold(sum(&ip, 0));
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    ip.extend(payload);
    ip
}
