//! What enters here of calls: packets and bytes by service prefix and member, and how long calls take until they are answered.
//!
//! A call is counted once, at the router where it enters from a pod, or, if nobody has placed it yet when it comes in from a router, where its name is
//! resolved. Counting is exact. A worker counts into a [`Tally`] of its own; every second a reader gives it an empty one for it ([`Exchange`]) and adds
//! up what it gets ([`Accounts`]), so nothing that is written on the data path is shared.
//!
//! A prefix is known by its record, and its name is read with its first packet in a span: if it is deleted and another gets the record within the same
//! span, a second, the packets of that one are charged to it until the span ends.
//!
//! Latency is measured of one in [`SAMPLED`] calls of local pods, by bits of their request id, from the arrival of the request at this router to that of
//! its answer. Datagrams (QUIC) have request id 0: nobody but their end points knows which answers which, so pods here tell how long those calls took
//! ([`Accounts::tell`]).

mod accounts;
mod calls;
mod collector;
mod exchange;
mod tally;

#[cfg(test)]
mod tests;

pub use accounts::{Account, Accounts, Answers, Sum};
pub use calls::SAMPLED;
pub use collector::Collector;
pub use exchange::Exchange;
pub use tally::{Known, SLOTS, Tally};

use dmsc_fib::{PrefixMatch, RecordId};
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

/// What is counted together: a prefix, by its record, and the member that calls go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The prefix.
    pub record: RecordId,
    /// The member.
    pub gateway: NodeId,
}

impl Target {
    /// Never 0, because a gateway that was chosen is some.
    #[inline(always)]
    fn key(self) -> u64 {
        u64::from(self.record.0) << 32 | u64::from(self.gateway.0)
    }
}

impl Traffic {
    /// A call whose member was chosen here.
    #[inline]
    pub fn resolved(&self, call: &Entering<'_>, found: &PrefixMatch, gateway: NodeId) {
        let to = Target {
            record: found.record,
            gateway,
        };
        let prefix = || Some((call.domain, call.name.prefix(found.components.into())));
        self.tally
            .count(to, call.bytes, call.request.is_some(), prefix);
        self.follow(call, to, found.components);
    }

    /// What is known of packets like this one of a pod, which names the gateway itself: looked up once in a span.
    #[inline]
    pub fn known(&self, call: &Entering<'_>, chooser: &Chooser<'_>, gateway: NodeId) -> Known<'_> {
        let known = self.tally.known(call.domain, call.name, gateway);
        if !known.is_known() {
            let found = chooser.lookup(call.domain, call.name);
            let found = found.as_ref();
            known.learn(
                call,
                found.map(|found| (found, chooser.share_by_delay(found, gateway))),
            );
        }
        known
    }

    /// A packet of a pod that named the gateway itself.
    #[inline]
    pub fn placed(&self, call: &Entering<'_>, known: &Known<'_>) {
        known.count(call.bytes, call.request.is_some());
        if let Some((to, components)) = known.target() {
            self.follow(call, to, components);
        }
    }

    /// Has the answer looked out for, if this call is one of those.
    #[inline]
    fn follow(&self, call: &Entering<'_>, to: Target, components: u8) {
        if let (Some(id), Some(source)) = (call.request, call.source)
            && calls::is_sampled(id)
        {
            self.calls
                .sent(call, id, source, to, components, &self.tally);
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
