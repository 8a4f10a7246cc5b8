//! Calls of the pod's programs by name.

pub mod http;

use std::sync::Arc;

use dmsc_wire::NameBuf;
use tokio::net::TcpListener;

use crate::pod::Context;

/// Where the name of a call comes from.
#[derive(Debug, Clone)]
pub enum NameSource {
    /// The host of each request.
    Host,
    /// The address that the program connected to stands for it.
    Fixed(NameBuf),
}

/// HTTP connections to one instance.
#[derive(Debug, Default)]
pub(crate) struct Pool {}

/// Accepts HTTP connections until the pod's phase is no longer `Running`.
pub async fn run(_listener: TcpListener, _context: Arc<Context>) {}
