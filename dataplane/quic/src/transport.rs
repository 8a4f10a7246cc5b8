//! QUIC's parameters: what suits calls and bulk between services of one data centre.

use quinn::{MtuDiscoveryConfig, TransportConfig, VarInt};

use crate::config::Config;
use crate::endpoint::MIN_DATAGRAM;

/// Of a connection whose datagrams may have `largest` bytes on the pod's link, and whose other end may say `notices` at once.
pub(crate) fn parameters(config: &Config, largest: u16, notices: u32) -> TransportConfig {
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(largest);
    let mut transport = TransportConfig::default();
    transport
        .initial_mtu(MIN_DATAGRAM as u16)
        .mtu_discovery_config(Some(discovery))
        .keep_alive_interval(Some(config.keep_alive))
        .max_idle_timeout(config.idle_timeout.try_into().ok())
        .max_concurrent_bidi_streams(VarInt::from_u32(config.streams))
        .max_concurrent_uni_streams(VarInt::from_u32(notices))
        .datagram_receive_buffer_size(None);
    transport
}
