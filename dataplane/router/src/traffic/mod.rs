//! What enters here of calls: packets and bytes by service prefix, member and next hop, and how long calls take until they are answered.
//!
//! A call is counted once, at the router where it enters from a pod, or, if nobody has placed it yet when it comes in from a router, where its name is
//! resolved. Counting is exact. A worker counts into a [`Tally`] of its own; every second a reader gives it an empty one for it ([`Exchange`]) and adds
//! up what it gets ([`Accounts`]), so nothing that is written on the data path is shared.
//!
//! The next hop is the adjacency that was chosen for the packet, or none for a pod here ([`HERE`]): a call is counted as soon as that is known. What is
//! dropped before, because there is no way or because access is denied, is counted for nothing. What a pod or a neighbour then does not get after all, being
//! too large or out of hops or because a port went down meanwhile, has been counted.
//!
//! A prefix is known by its record, and its name is read with its first packet in a span: if it is deleted and another gets the record within the same
//! span, a second, the packets of that one are charged to it until the span ends. So it is with an adjacency and the neighbour behind it.
//!
//! Latency is measured of one in [`SAMPLED`] calls of local pods, by bits of their request id, from the arrival of the request at this router to that of
//! its answer. Datagrams (QUIC) have request id 0: nobody but their end points knows which answers which, so pods here tell how long those calls took
//! ([`Accounts::tell`]).

mod accounts;
mod calls;
mod collector;
mod exchange;
mod sums;
mod tally;

#[cfg(test)]
mod next_hops;
#[cfg(test)]
mod tests;

pub use accounts::{Account, Accounts, Answers, NextHop};
pub use calls::SAMPLED;
pub use collector::Collector;
pub use exchange::Exchange;
pub use sums::{Sum, Sums};
pub use tally::{Counted, Known, Label, SLOTS, Tally};

use dmsc_fib::{AdjacencyId, PrefixMatch, RecordId};
use dmsc_wire::{AttachmentId, Domain, Name, NodeId, RequestId};

use crate::choose::Chooser;
use calls::Calls;

/// What one worker counts.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Since the reader was here last.
    pub tally: Box<Tally>,
    calls: Calls,
}

/// A packet of a call that enters here.
#[derive(Debug, Clone, Copy)]
pub struct Entering<'a> {
    /// The caller's tenant.
    pub domain: Domain,
    /// Who is called.
    pub name: Name<'a>,
    /// Bytes of DMSC header and payload.
    pub bytes: u64,
    /// Of a request that somebody waits for the answer of.
    pub request: Option<RequestId>,
    /// The pod that sent it, if that is here.
    pub source: Option<AttachmentId>,
    /// TSC when it came.
    pub arrived: u64,
}

/// In the place of an adjacency, whose ids begin at 1: calls go to a pod here.
pub const HERE: AdjacencyId = AdjacencyId(0);

/// What is counted together: a prefix, by its record, the member that calls go to, and by what they leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The prefix.
    pub record: RecordId,
    /// The member.
    pub gateway: NodeId,
    /// The adjacency over which they leave, or [`HERE`].
    pub next_hop: AdjacencyId,
}

impl Target {
    /// All but the next hop. Never 0, because a gateway that was chosen is some.
    #[inline(always)]
    fn key(self) -> u64 {
        u64::from(self.record.0) << 32 | u64::from(self.gateway.0)
    }
}

impl Traffic {
    /// A call whose member was chosen here, and which leaves over `next_hop`.
    #[inline]
    pub fn resolved(
        &self,
        call: &Entering<'_>,
        found: &PrefixMatch,
        chooser: &Chooser<'_>,
        gateway: NodeId,
        next_hop: AdjacencyId,
    ) {
        let to = Target {
            record: found.record,
            gateway,
            next_hop,
        };
        self.enter(call, to, found.components, chooser);
    }

    /// What is known of packets like this one of a pod, which names the gateway itself: looked up once in a span.
    #[inline]
    pub fn known(&self, call: &Entering<'_>, chooser: &Chooser<'_>, gateway: NodeId) -> Known<'_> {
        let known = self.tally.known(call.domain, call.name, gateway);
        if !known.is_known() {
            let found = chooser.lookup(call.domain, call.name);
            let found = found.as_ref();
            known.learn(found.map(|found| (found, chooser.share_by_delay(found, gateway))));
        }
        known
    }

    /// A packet of a pod that named the gateway itself, and which leaves over `next_hop`: flows of one name, and a flow before and after a failure, may leave
    /// by others.
    #[inline]
    pub fn placed(
        &self,
        call: &Entering<'_>,
        known: &Known<'_>,
        chooser: &Chooser<'_>,
        next_hop: AdjacencyId,
    ) {
        match known.target(next_hop) {
            Some((to, components)) => self.enter(call, to, components, chooser),
            None => self.tally.count_other(call.bytes, call.request.is_some()),
        }
    }

    /// Counts a packet, and has the answer looked out for, if this call is one of those. `components`: of the prefix.
    #[inline]
    fn enter(&self, call: &Entering<'_>, to: Target, components: u8, chooser: &Chooser<'_>) {
        let label = || Label {
            domain: call.domain,
            prefix: call.name.prefix(components.into()),
            peer: chooser.peer(to.next_hop),
        };
        let is_request = call.request.is_some();
        self.tally
            .count(to, call.bytes, is_request, || Some(label()));
        if let (Some(id), Some(source)) = (call.request, call.source)
            && calls::is_sampled(id)
        {
            self.calls.sent(call, id, source, to, label(), &self.tally);
        }
    }

    /// A response for a pod here.
    #[inline]
    pub fn answered(&self, attachment: AttachmentId, id: RequestId, now: u64) {
        if calls::is_sampled(id) {
            self.calls.answered(attachment, id, now, &self.tally);
        }
    }
}
