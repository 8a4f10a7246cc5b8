//! The answering end: echoes calls, and counts what is only to be counted.

use dmsc_wire::{Header, Kind, PacketBuilder};

use super::caller::BULK;
use super::link::{Link, Message};
use super::site::GATEWAY;

/// Messages that one acknowledgement is for, as between edges.
pub const ACKNOWLEDGED: u64 = 16;
/// Fills the payload of an answer to a call.
pub const ANSWER: u8 = 0;
/// Fills the payload of an acknowledgement.
pub const MARK: u8 = 3;
/// Bytes of the payload of an acknowledgement.
const SHORT: usize = 32;

/// The server.
#[derive(Default)]
pub struct Echo {
    /// The last answer, which is mostly the next one's form, too.
    answer: Option<Message>,
    /// Of calls of this length.
    to: usize,
    /// Messages since the start.
    counted: u64,
    /// Answers that leave together.
    due: Vec<u64>,
}

impl Echo {
    /// Answers what came; false: nothing did.
    pub fn turn(&mut self, link: &mut dyn Link) -> bool {
        let Echo {
            answer,
            to,
            counted,
            due,
        } = self;
        due.clear();
        let received = link.receive(&mut |packet| {
            let Ok(header) = dmsc_wire::parse(packet) else {
                return;
            };
            if header.kind != Kind::Request {
                return;
            }
            let payload = header.payload(packet);
            let bulk = payload.first() == Some(&BULK);
            let mark = if bulk { MARK } else { ANSWER };
            let fits = answer.as_ref().is_some_and(|a| a.key as u8 == mark);
            if !fits || *to != packet.len() {
                *answer = message(packet, &header, mark);
                *to = packet.len();
            }
            if !bulk {
                due.push(header.request_id.0);
            } else {
                *counted += 1;
                if counted.is_multiple_of(ACKNOWLEDGED) {
                    due.push(pack(header.request_id.0, *counted));
                }
            }
        });
        if let Some(answer) = answer {
            for id in due.drain(..) {
                link.push(answer, id);
            }
            link.flush();
        }
        received > 0
    }
}

/// What answers a packet: as long, or short where it only acknowledges.
fn message(packet: &[u8], header: &Header, mark: u8) -> Option<Message> {
    let reply = PacketBuilder::reply_to(Kind::Response, packet, header).source_gateway(GATEWAY);
    let length = match mark {
        MARK => SHORT,
        _ => packet.len().saturating_sub(reply.header_len()),
    };
    let payload = vec![mark; length];
    Some(Message {
        bytes: reply.payload(&payload).to_vec().ok()?,
        key: (packet.len() as u32) << 8 | u32::from(mark),
    })
}

/// An acknowledgement: which message was the last, and how many there were, both modulo 2³².
fn pack(last: u64, counted: u64) -> u64 {
    (last & 0xffff_ffff) << 32 | counted & 0xffff_ffff
}

/// What [`pack`] put together.
pub fn unpack(packed: u64) -> (u32, u32) {
    ((packed >> 32) as u32, packed as u32)
}
