//! What became of the packets that a pod received and sent.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Sums since the start.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64,)*
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub $name: AtomicU64,)*
        }

        impl Counters {
            pub fn read(&self) -> Counts {
                Counts { $($name: self.$name.load(Relaxed),)* }
            }
        }
    };
}

counters!(
    /// Packets that came in.
    received,
    /// Packets that went out.
    sent,
    /// Answers and errors that belong to a waiting call.
    answers,
    /// Answers that came too late, twice, or were never asked for.
    stray,
    /// Requests handed to the handler.
    requests,
    /// Echo requests answered.
    echoes,
    /// Probes answered.
    probes,
    /// Not a valid packet.
    malformed,
    /// Valid, but no business of a pod: a hello, an answer to a probe.
    unexpected,
    /// For a name that this pod does not answer, or without a handler.
    not_served,
    /// Requests dropped because too many were in hand.
    overloaded,
    /// Requests whose handler panicked.
    panicked,
    /// Answers too big for the pod's link, or with a header too long.
    unsendable,
    /// Packets that the socket did not take.
    send_failed,
    /// Of those that went out: trains of packets that went as one message.
    trains,
    /// Datagrams shown to whoever has them.
    datagrams,
    /// Of those that went out: by shared memory.
    shared_sent,
    /// Of those that came in: by shared memory.
    shared_received,
    /// How often shared memory was given up because its other end broke the rules.
    shared_given_up,
    /// Frames of shared memory whose lengths or headers contradict each other.
    frames_malformed,
    /// For another address or port than the pod's.
    frames_not_ours,
    /// For the pod, but not from its gateway.
    frames_not_from_gateway,
    /// Of another protocol than UDP over IPv4 or ARP, or fragments.
    frames_unexpected,
);

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// Adds some.
pub(crate) fn add(counter: &AtomicU64, some: u64) {
    counter.fetch_add(some, Relaxed);
}
