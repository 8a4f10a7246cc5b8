//! A process's way to its gateway: what all kinds have in common.

use std::time::Duration;

use dmsc_wire::{Kind, PacketBuilder};

use super::site::{GATEWAY, Side};

/// Where the request id stands in a DMSC header.
const REQUEST_ID: usize = 16;

/// A packet that is sent again and again, each time with another request id.
#[derive(Debug, Clone)]
pub struct Message {
    /// Header and payload.
    pub bytes: Vec<u8>,
    /// Tells messages apart that have the same length.
    pub key: u32,
}

impl Message {
    /// From the caller to the server, `size` bytes; `mark` begins the payload.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn request(size: u16, mark: u8) -> anyhow::Result<Message> {
        let (to, from) = (Side::Server.name(), Side::Caller.name());
        let packet = PacketBuilder::new(Kind::Request)
            .destination(to.as_name())
            .source(from.as_name())
            .source_gateway(GATEWAY);
        let payload = vec![mark; usize::from(size).saturating_sub(packet.header_len())];
        Ok(Message {
            bytes: packet.payload(&payload).to_vec()?,
            key: u32::from(size) << 8 | u32::from(mark),
        })
    }
}

/// Writes a request id into a packet.
pub fn number(packet: &mut [u8], id: u64) {
    if let Some(place) = packet.get_mut(REQUEST_ID..REQUEST_ID + 8) {
        place.copy_from_slice(&id.to_be_bytes());
    }
}

/// Reads the request id of a packet.
pub fn id_of(packet: &[u8]) -> Option<u64> {
    let bytes = packet.get(REQUEST_ID..)?.first_chunk()?;
    Some(u64::from_be_bytes(*bytes))
}

/// A way to the gateway.
pub trait Link {
    /// Puts a packet to those that leave with the next [`Link::flush`].
    fn push(&mut self, message: &Message, id: u64);
    /// Sends what was put.
    fn flush(&mut self);
    /// Shows what came, if anything did, and tells how many packets; does not wait.
    fn receive(&mut self, each: &mut dyn FnMut(&[u8])) -> usize;
    /// After [`Link::receive`] found nothing: waits for something, at most so long; may return early.
    fn wait(&mut self, limit: Duration);
}
