//! QUIC's parameters: what suits calls and bulk between services of one data centre.

use std::time::Duration;

use quinn::{AckFrequencyConfig, MtuDiscoveryConfig, TransportConfig, VarInt};

use crate::config::Config;
use crate::endpoint::MIN_DATAGRAM;

/// What a round trip is taken for until one was measured. A lost first packet is sent again after three of them: 150 ms instead of the second that the 333 ms of
/// RFC 9002, 6.2.2 make, which are for ways across the Internet. Where the way is longer, the first packet goes twice.
const FIRST_ROUND_TRIP: Duration = Duration::from_millis(50);
/// What the other end may send on one connection before somebody reads it, in bytes. Without it, 1,024 streams of 1.25 MB each.
const RECEIVE_WINDOW: u32 = 32 << 20;
/// Until larger datagrams are tried again after they vanished: ways change when links fail, and come back when they are mended.
const NARROW: Duration = Duration::from_secs(10);
/// Packets that the other end may take before it says so by itself (draft-ietf-quic-ack-frequency): an acknowledgement that does not ride on an answer crosses two
/// gateways and wakes four processes. What is out of order, and what waits for 25 ms, is told at once as ever.
const UNTOLD: u32 = 15;

/// Of a connection whose datagrams may have `largest` bytes on the pod's link, perhaps only later (`widens`), and whose other end may say `notices` at once.
pub(crate) fn parameters(
    config: &Config,
    (largest, widens): (u16, bool),
    notices: u32,
) -> TransportConfig {
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(largest).black_hole_cooldown(NARROW);
    if widens {
        discovery.interval(NARROW);
    }
    let mut acknowledgements = AckFrequencyConfig::default();
    acknowledgements.ack_eliciting_threshold(VarInt::from_u32(UNTOLD));
    let mut transport = TransportConfig::default();
    transport
        .ack_frequency_config(Some(acknowledgements))
        // The link's is known, not that of every hop: discovery finds what passes.
        .initial_mtu(MIN_DATAGRAM as u16)
        .mtu_discovery_config(Some(discovery))
        .initial_rtt(FIRST_ROUND_TRIP)
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW))
        .keep_alive_interval(Some(config.keep_alive))
        .max_idle_timeout(config.idle_timeout.try_into().ok())
        .max_concurrent_bidi_streams(VarInt::from_u32(config.streams))
        .max_concurrent_uni_streams(VarInt::from_u32(notices))
        .datagram_receive_buffer_size(None);
    transport
}
