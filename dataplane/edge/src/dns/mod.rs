//! Answers names with synthetic addresses.

use std::net::Ipv4Addr;
use std::sync::Arc;

use dmsc_wire::NameBuf;

use crate::config::Outbound;
use crate::pod::Context;

/// Names and their synthetic addresses; bounded.
#[derive(Debug)]
pub struct Table {}

impl Table {
    /// Empty.
    #[must_use]
    pub fn new(_outbound: &Outbound) -> Self {
        Self {}
    }

    /// The name that `address` stands for.
    #[must_use]
    pub fn name_of(&self, _address: Ipv4Addr) -> Option<NameBuf> {
        None
    }
}

/// Answers until the pod's phase is no longer `Running`.
pub async fn run(
    _udp: tokio::net::UdpSocket,
    _tcp: tokio::net::TcpListener,
    _context: Arc<Context>,
) {
}
