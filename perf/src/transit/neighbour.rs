//! The router at the far end of a link: says hello, and where it is.

use dmsc_wire::{Heard, HelloState, PortId};

use super::link::Link;
use crate::speaker::{Manner, Speaker};
use crate::torture::outer::{self, Frame};

/// Between two hellos, ms.
pub const INTERVAL_MS: u16 = 100;
/// Hellos that may be missed: trials with losses must not take the link down.
const MULTIPLIER: u8 = 100;

/// Its side of the adjacency.
#[derive(Debug, Clone)]
pub struct Neighbour {
    boot_nonce: u64,
    interval_ms: u16,
    multiplier: u8,
    speaker: Speaker,
}

impl Neighbour {
    /// One that says hello every [`INTERVAL_MS`].
    pub fn new() -> Neighbour {
        Neighbour {
            boot_nonce: boot_nonce(),
            interval_ms: INTERVAL_MS,
            multiplier: MULTIPLIER,
            speaker: Speaker::default(),
        }
    }

    /// One whose hellos are good for a minute, the longest that a router believes.
    pub fn patient() -> Neighbour {
        Neighbour {
            interval_ms: 1_000,
            multiplier: 60,
            ..Neighbour::new()
        }
    }

    /// Notes a frame of the router, if it is a hello.
    pub fn hear(&mut self, frame: &[u8]) {
        self.speaker.hear(frame);
    }

    /// Takes for heard what a router with this boot nonce would say: for those who only send.
    pub fn assume(&mut self, link: Link, router: dmsc_wire::NodeId, boot_nonce: u64) {
        self.speaker.assume(Heard {
            node: router,
            port: PortId(u16::from(link.number)),
            boot_nonce,
            sequence: 1,
            state: HelloState::Up,
        });
    }

    /// Writes the next hello.
    pub fn hello(&mut self, link: Link, mtu: u16, frame: &mut Frame) {
        let hello = self.speaker.hello(Manner {
            node: link.far_node(),
            boot_nonce: self.boot_nonce,
            interval_ms: self.interval_ms,
            multiplier: self.multiplier,
            mtu,
        });
        wrap(link, &hello.packet(), frame);
    }
}

/// From the clock: a router takes the hellos of a neighbour that starts anew only when it is another one.
fn boot_nonce() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(1, |since| since.as_nanos() as u64)
}

/// Writes how the router learns the neighbour's Ethernet address.
pub fn introduction(link: Link, frame: &mut Frame) {
    let from = (link.far_mac(), link.far_address());
    frame.arp(link.mac(), 0, 1, from, link.address());
}

/// Puts a packet into UDP over IPv4, from the far end to the router.
pub fn wrap(link: Link, packet: &[u8], frame: &mut Frame) {
    frame.ethernet(link.mac(), link.far_mac(), 0, outer::IPV4);
    let (from, to) = (link.far_address().into(), link.address().into());
    frame.ip(from, to, outer::UDP, 255, 0);
    frame.udp(0xc000, dmsc_wire::UDP_PORT);
    frame.dmsc = frame.bytes.len();
    frame.bytes.extend_from_slice(packet);
    frame.seal();
}
