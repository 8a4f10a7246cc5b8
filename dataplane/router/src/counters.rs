//! Counters: one block per worker and port, written by that worker only, folded by whoever reads.
//!
//! Every packet is attributed to the port it came in by (or was originated for), so that
//! `rx + originated = sent + consumed + Σ drops` holds per port whenever it is quiet (design §4.1).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam_utils::CachePadded;

use crate::egress::CLASSES;
use crate::gaps::Gaps;
use crate::meter::Meter;

/// A counter with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`: a load and a store, no locked instruction, because only one worker writes.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The present value.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

macro_rules! named {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident => $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$variant_meta])* $variant,)+ }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The name that people, metrics and traces see.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }
        }
    };
}

named! {
    /// Why a packet was dropped. Each has one name, everywhere.
    DropReason {
        /// Shorter than its own headers say (remedy: `ethtool -K <if> tx off` at the sender).
        Truncated => "truncated",
        /// In more than one buffer.
        MultiSegment => "multi-segment",
        /// Several datagrams as one frame (remedy: `ethtool -K <if> tx off` at the sender).
        GsoFrame => "gso-frame",
        /// A fragment of a DMSC datagram; there are no fragments in DMSC.
        IpFragment => "ip-fragment",
        /// IP or UDP checksum (remedy: `ethtool -K <if> tx off` at the sender).
        BadChecksum => "bad-checksum",
        /// For another MAC address.
        ForeignMac => "foreign-mac",
        /// Another VLAN than the port's or the adjacency's.
        WrongVlan => "wrong-vlan",
        /// IP header that can not be.
        BadIpHeader => "bad-ip-header",
        /// The DMSC header was not valid; the wire crate's reason stands in the trace.
        BadHeader => "bad-header",
        /// The version of the DMSC header is not 1.
        BadVersion => "bad-version",
        /// A name was not in canonical encoding.
        BadName => "bad-name",
        /// An option was malformed, or unknown with the drop bit.
        BadOption => "bad-option",
        /// From a router that is no neighbour on this port.
        UnknownNeighbour => "unknown-neighbour",
        /// The outer TTL shows that it came from further away than the neighbour is.
        TtlTooLow => "ttl-too-low",
        /// A hello that does not belong to its adjacency, or whose MAC is wrong.
        BadHello => "bad-hello",
        /// A probe whose payload is none.
        BadProbe => "bad-probe",
        /// From a pod's address that is not registered.
        UnregisteredSource => "unregistered-source",
        /// A pod sent a type that pods may not send.
        KindNotAllowed => "kind-not-allowed",
        /// A pod sent with a name that it does not own.
        SourceNotOwned => "source-not-owned",
        /// Access rule.
        Denied => "denied",
        /// Hop limit used up.
        HopLimit => "hop-limit",
        /// No prefix, no member, no live next hop.
        NoRoute => "no-route",
        /// A response or error without the gateway that it answers.
        NoDestination => "no-destination",
        /// The attachment is not there.
        AttachmentGone => "attachment-gone",
        /// The attachment is there but has not this name in this domain.
        AttachmentLacksName => "attachment-lacks-name",
        /// Larger than the next link carries.
        TooBig => "too-big",
        /// The MAC address of the next hop is not known yet.
        NeighbourUnresolved => "neighbour-unresolved",
        /// The transmit ring stayed full until the queue of its class was, too.
        TxRingFull => "tx-ring-full",
        /// More than the port's rate, for longer than the queue of its class holds.
        OverRate => "over-rate",
        /// The port to send on has no carrier.
        PortDown => "port-down",
        /// For the kernel, and the port has no way there.
        NoException => "no-exception-path",
        /// For the kernel, faster than it is let.
        ExceptionRate => "exception-rate",
        /// For the kernel, which did not keep up.
        ExceptionFull => "exception-full",
        /// Plain IP of a pod on a port that drops it.
        PlainIp => "plain-ip",
        /// An answer to an echo or probe of this router that nobody waits for any more.
        LateAnswer => "late-answer",
    }
}

named! {
    /// What else is worth counting; not part of the packet equation.
    EventKind {
        /// Resolved again by name because the stamped gateway or pod was gone.
        Rebound => "rebound",
        /// Sent over a node- or link-protecting alternate.
        AlternateUsed => "alternate-used",
        /// Delivered to an attachment here.
        LocalDelivery => "local-delivery",
        /// A probe that this gateway answered for a pod that answers none.
        AnsweredForPod => "answered-for-pod",
        /// Resolved by name here.
        NameResolved => "name-resolved",
        /// Given to the kernel.
        ToKernel => "to-kernel",
        /// Taken from the kernel.
        FromKernel => "from-kernel",
        /// The kernel of a pod said that nobody listens on a registered port.
        PortUnreachable => "port-unreachable",
        /// A router of somebody else's fabric said that a packet was too big for it.
        PathMtuLearned => "path-mtu-learned",
        /// An adjacency came up.
        AdjacencyUp => "adjacency-up",
        /// An adjacency went down.
        AdjacencyDown => "adjacency-down",
        /// An error packet was wanted but its rate was used up.
        ErrorSuppressed => "error-suppressed",
        /// The port was left alone because its pods had used up their budget.
        BudgetPause => "budget-pause",
        /// A pod's packet had a class above the highest that its identity may use, and got that one.
        ClassLowered => "class-lowered",
        /// The ECN mark of the outer header was carried into the DMSC header.
        EcnCombined => "ecn-combined",
        /// A packet of this router's own making found no buffer or no room.
        NotOriginated => "not-originated",
        /// A frame from the kernel found no room on the way to the worker.
        LostFromKernel => "lost-from-kernel",
        /// A frame copy for a capture found no room.
        CaptureMissed => "capture-missed",
    }
}

/// What became of frames of one class at the queues of a port. Where nothing backs up they pass by and are not counted here.
#[derive(Debug, Default)]
pub struct ClassCounters {
    /// Frames that came to the queue.
    pub came: Counter,
    /// Frames that left it to be sent.
    pub sent: Counter,
    /// Their bytes.
    pub sent_bytes: Counter,
    /// Frames that found no room, or lost it to a higher class; the port that they came in by counts them by reason.
    pub dropped: Counter,
    /// Frames marked: congestion experienced.
    pub marked: Counter,
}

/// The block of one worker and one port.
#[derive(Debug)]
pub struct PortCounters {
    /// Frames received from the PMD.
    pub rx: Counter,
    /// Their bytes.
    pub rx_bytes: Counter,
    /// Frames made here on behalf of this port.
    pub originated: Counter,
    /// Frames that came in here (or were originated for it) and were taken by some PMD.
    pub sent: Counter,
    /// Frames that ended here on purpose.
    pub consumed: Counter,
    /// Frames that left by this port.
    pub tx: Counter,
    /// Their bytes.
    pub tx_bytes: Counter,
    /// Of the queues to leave by this port, by class.
    pub classes: [ClassCounters; CLASSES],
    drops: [Counter; DropReason::ALL.len()],
    events: [Counter; EventKind::ALL.len()],
}

impl Default for PortCounters {
    fn default() -> Self {
        PortCounters {
            rx: Counter::default(),
            rx_bytes: Counter::default(),
            originated: Counter::default(),
            sent: Counter::default(),
            consumed: Counter::default(),
            tx: Counter::default(),
            tx_bytes: Counter::default(),
            classes: Default::default(),
            drops: std::array::from_fn(|_| Counter::default()),
            events: std::array::from_fn(|_| Counter::default()),
        }
    }
}

impl PortCounters {
    /// One packet dropped.
    #[inline]
    pub fn drop(&self, reason: DropReason) {
        self.drops[reason as usize].add(1);
    }

    /// `n` packets dropped.
    #[inline]
    pub fn drop_many(&self, reason: DropReason, n: u64) {
        self.drops[reason as usize].add(n);
    }

    /// One event.
    #[inline]
    pub fn event(&self, event: EventKind) {
        self.events[event as usize].add(1);
    }

    /// `n` events of one kind.
    #[inline]
    pub fn events_many(&self, event: EventKind, n: u64) {
        self.events[event as usize].add(n);
    }

    /// Packets dropped for `reason`.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize].get()
    }

    /// Events of this kind.
    pub fn events(&self, event: EventKind) -> u64 {
        self.events[event as usize].get()
    }

    /// rx + originated − sent − consumed − Σ drops: what is on its way, zero when quiet.
    pub fn in_flight(&self) -> i64 {
        let drops: u64 = DropReason::ALL.iter().map(|r| self.drops(*r)).sum();
        let came = self.rx.get() + self.originated.get();
        let went = self.sent.get() + self.consumed.get() + drops;
        came.wrapping_sub(went) as i64
    }
}

/// What one worker does with its time.
#[derive(Debug, Default)]
pub struct WorkerCounters {
    /// Packets received.
    pub packets: Counter,
    /// Polls that returned packets.
    pub bursts: Counter,
    /// Rounds over all queues that returned none.
    pub empty_polls: Counter,
    /// TSC cycles of rounds with packets.
    pub busy_cycles: Counter,
    /// TSC cycles of rounds without, and asleep.
    pub idle_cycles: Counter,
    /// Times gone to sleep.
    pub sleeps: Counter,
    /// Time asleep, ns.
    pub sleep_ns: Counter,
    /// 1 while asleep.
    pub asleep: AtomicU64,
    /// Long times between two looks at the ports, those asleep apart.
    pub gaps: Gaps,
}

/// All counters of one worker.
#[derive(Debug)]
pub struct Counters {
    /// By port number, from 0.
    pub ports: Box<[CachePadded<PortCounters>]>,
    /// Of the worker itself.
    pub worker: CachePadded<WorkerCounters>,
    /// Where its time goes, in builds that measure.
    pub meter: Meter,
}

impl Counters {
    /// Zeroes for `ports` ports.
    pub fn new(ports: usize) -> Counters {
        Counters {
            ports: (0..ports).map(|_| CachePadded::default()).collect(),
            worker: CachePadded::default(),
            meter: Meter::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_kebab_case() {
        let mut names: Vec<_> = DropReason::ALL.iter().map(|r| r.name()).collect();
        names.extend(EventKind::ALL.iter().map(|e| e.name()));
        let count = names.len();
        assert!(
            names
                .iter()
                .all(|n| n.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
        );
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn the_equation_counts_each_packet_once() {
        let counters = PortCounters::default();
        counters.rx.add(3);
        counters.originated.add(1);
        counters.sent.add(2);
        counters.drop(DropReason::NoRoute);
        assert_eq!(counters.in_flight(), 1);
        counters.consumed.add(1);
        assert_eq!(counters.in_flight(), 0);
    }
}
