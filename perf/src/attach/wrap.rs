//! Frames around messages, for processes that make them themselves.

use super::link::{Message, number};
use super::site::{POD_PORT, Side};
use crate::torture::outer::{self, Frame};

/// Ethernet, IPv4, UDP.
const OUTER: usize = 42;

/// The frame around the message that was sent last: only the request id differs from one to the next.
pub struct Wrap {
    side: Side,
    frame: Frame,
    of: Option<u32>,
}

impl Wrap {
    /// Of the process at this side.
    pub fn new(side: Side) -> Wrap {
        Wrap {
            side,
            frame: Frame::default(),
            of: None,
        }
    }

    /// The frame around a message with this number.
    pub fn around(&mut self, message: &Message, id: u64) -> &[u8] {
        if self.of != Some(message.key) {
            self.make(message);
        }
        number(&mut self.frame.bytes[OUTER..], id);
        &self.frame.bytes
    }

    fn make(&mut self, message: &Message) {
        let (side, frame) = (self.side, &mut self.frame);
        frame.ethernet(side.gateway_mac(), side.mac(), 0, outer::IPV4);
        let (from, to) = (side.address().into(), side.gateway().into());
        frame.ip(from, to, outer::UDP, 64, 0);
        frame.udp(POD_PORT, dmsc_wire::UDP_PORT);
        frame.dmsc = frame.bytes.len();
        frame.bytes.extend_from_slice(&message.bytes);
        frame.seal();
        // None over IPv4 (RFC 768): the memory is checked by nobody else either.
        outer::put16(&mut frame.bytes, frame.transport + 6, 0);
        self.of = Some(message.key);
    }

    /// A frame that asks for the gateway's address (1), by which it learns ours, or answers its question (2).
    pub fn place(&self, operation: u16) -> Vec<u8> {
        let side = self.side;
        let from = (side.mac(), side.address());
        let mut frame = Frame::default();
        frame.arp(side.gateway_mac(), 0, operation, from, side.gateway());
        frame.bytes
    }
}

/// What a frame that came is.
pub enum Came<'a> {
    /// A packet.
    Packet(&'a [u8]),
    /// The gateway asks where this process is.
    Asks,
    /// Nothing of interest.
    Other,
}

/// Sorts a frame that came.
pub fn sort(frame: &[u8]) -> Came<'_> {
    match outer::find_dmsc(frame) {
        Some((packet, ..)) => Came::Packet(packet),
        None if frame.get(12..14) == Some(&outer::ARP.to_be_bytes()[..]) => Came::Asks,
        None => Came::Other,
    }
}
