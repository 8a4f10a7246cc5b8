//! The other end of a vhost port: a process that is a pod in shared memory.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use dmsc_vhost::{Config, Port};
use dmsc_wire::{Header, UDP_PORT, parse};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::PATIENCE;
use super::link::udp4;

/// A guest with one address.
pub struct Guest {
    port: Port,
    mac: [u8; 6],
    address: [u8; 4],
    gateway: [u8; 4],
    router: [u8; 6],
    /// Its UDP port.
    pub udp_port: u16,
}

impl Guest {
    /// Attaches at `socket`, and asks for the gateway's MAC address until it is told.
    pub fn attach(socket: &Path, mac: [u8; 6], address: [u8; 4], gateway: [u8; 4]) -> Guest {
        let mut guest = Guest {
            port: Port::connect(socket, Config::default()).expect("the gateway listens"),
            mac,
            address,
            gateway,
            router: [0xff; 6],
            udp_port: 40_000,
        };
        let end = Instant::now() + PATIENCE;
        loop {
            guest.ask();
            let answer = |frame: &[u8]| {
                let is_answer =
                    frame.get(12..14) == Some(&[8, 6]) && frame.get(20..22) == Some(&[0, 2]);
                is_answer.then(|| frame[22..28].try_into().expect("six bytes"))
            };
            if let Some(router) = guest.next(Duration::from_millis(100), answer) {
                guest.router = router;
                return guest;
            }
            assert!(Instant::now() < end, "the gateway does not answer ARP");
        }
    }

    fn ask(&mut self) {
        let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1];
        arp.extend(self.mac);
        arp.extend(self.address);
        arp.extend([0; 6]);
        arp.extend(self.gateway);
        self.frame(0x0806, &arp);
    }

    fn frame(&mut self, ethertype: u16, packet: &[u8]) {
        let kind = ethertype.to_be_bytes();
        let parts = [&self.router[..], &self.mac, &kind, packet];
        assert!(self.port.transmit.push(&parts).expect("push"), "no room");
        self.port.transmit.flush().expect("flush");
    }

    /// Sends a DMSC packet.
    pub fn send(&mut self, packet: &[u8]) {
        let datagram = udp4(
            self.address,
            self.gateway,
            (self.udp_port, UDP_PORT),
            packet,
        );
        self.frame(0x0800, &datagram);
    }

    /// The next DMSC packet, if one comes within `patience`; questions for its address are answered meanwhile.
    pub fn packet(&mut self, patience: Duration) -> Option<(Vec<u8>, Header)> {
        let port = self.udp_port.to_be_bytes();
        self.next(patience, |frame| {
            let ours = frame.get(12..14) == Some(&[8, 0]) && frame.get(36..38) == Some(&port);
            let packet = frame.get(42..).filter(|_| ours)?;
            Some((packet.to_vec(), parse(packet).expect("a DMSC packet")))
        })
    }

    /// The next frame of which `pick` makes something.
    fn next<T>(&mut self, patience: Duration, pick: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
        let end = Instant::now() + patience;
        loop {
            let (mut found, mut asked) = (None, false);
            let own = self.address;
            let mut show = |frame: &[u8]| {
                asked |= frame.get(12..14) == Some(&[8, 6])
                    && frame.get(20..22) == Some(&[0, 1])
                    && frame.get(38..42) == Some(&own);
                // One at a time: the next is shown again.
                if found.is_none() {
                    found = pick(frame);
                    return true;
                }
                false
            };
            self.port.receive.receive(&mut show).expect("receive");
            if asked {
                self.answer();
            }
            if found.is_some() {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            if self.port.receive.arm().expect("arm") {
                continue;
            }
            let call = self.port.receive.call().clone();
            let mut fds = [PollFd::new(call.as_fd(), PollFlags::POLLIN)];
            let _ = poll(
                &mut fds,
                PollTimeout::try_from(left.min(Duration::from_millis(20))).expect("short"),
            );
            let _ = call.read();
        }
    }

    fn answer(&mut self) {
        let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 2];
        arp.extend(self.mac);
        arp.extend(self.address);
        arp.extend(self.router);
        arp.extend(self.gateway);
        self.frame(0x0806, &arp);
    }
}
