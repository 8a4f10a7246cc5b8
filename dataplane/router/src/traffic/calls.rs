//! Calls of local pods whose answer is looked out for, of one worker: a bounded table by the caller's attachment and request id, which the answer
//! carries back to it. An answer that another worker receives, or that comes twice, finds nothing and is counted as unmatched.

use std::cell::RefCell;

use dmsc_wire::{AttachmentId, Domain, Name, NodeId, RequestId};

use super::tally::{Label, Tally, bump};
use super::{Entering, HERE, Target};

/// Of so many calls one is looked out for.
pub const SAMPLED: u64 = 1 << SAMPLED_BITS;
const SAMPLED_BITS: u32 = 6;
/// Calls that are looked out for at a time.
const CALLS: usize = 1_024;
/// Places in which a call may be.
const WAYS: usize = 4;
/// A call without an answer gives its place away after so many cycles: some ten seconds.
const OVERDUE: u64 = 1 << 35;

/// Whether the answer to this request is looked out for: the same for both.
#[inline(always)]
pub(super) fn is_sampled(id: RequestId) -> bool {
    spread(id.0) >> (64 - SAMPLED_BITS) == 0 && id.0 != 0
}

#[inline(always)]
fn spread(id: u64) -> u64 {
    (id ^ id >> 32).wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

/// One under way.
#[derive(Debug, Clone)]
struct Open {
    /// 0: none.
    id: u64,
    attachment: AttachmentId,
    sent: u64,
    to: Target,
    peer: NodeId,
    domain: Domain,
    length: u8,
    /// Of the prefix.
    name: [u8; 255],
}

/// All under way.
#[derive(Debug)]
pub(super) struct Calls(RefCell<Box<[Open]>>);

impl Default for Calls {
    fn default() -> Calls {
        let none = Open {
            id: 0,
            attachment: AttachmentId::ANY,
            sent: 0,
            to: Target {
                record: dmsc_fib::RecordId(0),
                gateway: NodeId::NONE,
                next_hop: HERE,
            },
            peer: NodeId::NONE,
            domain: Domain(0),
            length: 0,
            name: [0; 255],
        };
        Calls(RefCell::new(vec![none; CALLS].into()))
    }
}

/// The places of a call.
fn places(attachment: AttachmentId, id: RequestId) -> std::ops::Range<usize> {
    let hash = spread(id.0).rotate_left(20) ^ u64::from(attachment.0);
    let start = hash as usize % (CALLS / WAYS) * WAYS;
    start..start + WAYS
}

impl Calls {
    /// A request went out; one that is sent again counts from the first time.
    #[cold]
    #[inline(never)]
    pub fn sent(
        &self,
        call: &Entering<'_>,
        id: RequestId,
        source: AttachmentId,
        to: Target,
        label: Label<'_>,
        tally: &Tally,
    ) {
        let Ok(mut open) = self.0.try_borrow_mut() else {
            return;
        };
        let places = &mut open[places(source, id)];
        if places
            .iter()
            .any(|open| open.id == id.0 && open.attachment == source)
        {
            return;
        }
        let overdue = |open: &Open| call.arrived.saturating_sub(open.sent) > OVERDUE;
        let Some(place) = places.iter_mut().find(|open| open.id == 0 || overdue(open)) else {
            return bump(&tally.answers.crowded);
        };
        if place.id != 0 {
            bump(&tally.answers.unanswered);
        }
        let prefix = label.prefix.as_bytes();
        if let Some(name) = place.name.get_mut(..prefix.len()) {
            name.copy_from_slice(prefix);
            place.length = prefix.len() as u8;
            place.id = id.0;
            place.attachment = source;
            place.sent = call.arrived;
            place.to = to;
            place.peer = label.peer;
            place.domain = label.domain;
        }
    }

    /// A response came back.
    #[cold]
    #[inline(never)]
    pub fn answered(&self, attachment: AttachmentId, id: RequestId, now: u64, tally: &Tally) {
        let Ok(mut open) = self.0.try_borrow_mut() else {
            return;
        };
        let places = &mut open[places(attachment, id)];
        let found = places
            .iter_mut()
            .find(|open| open.id == id.0 && open.attachment == attachment);
        let Some(found) = found else {
            return bump(&tally.answers.unmatched);
        };
        found.id = 0;
        let prefix = found.name.get(..usize::from(found.length));
        if let Some(Ok(prefix)) = prefix.map(Name::from_bytes) {
            let cycles = now.saturating_sub(found.sent);
            let label = Label {
                domain: found.domain,
                prefix,
                peer: found.peer,
            };
            tally.latency(found.to, label, cycles);
        }
    }
}
