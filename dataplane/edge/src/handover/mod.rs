//! Listening sockets go from the process that runs to the one that replaces it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::Config;
use crate::edge::Edge;
use crate::sockets::Sockets;

/// What the process before gave.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Sockets by the pod's identity.
    pub sockets: HashMap<String, Sockets>,
}

/// Asks the process that runs for its sockets; it goes on until [`finish`].
///
/// # Errors
/// Nobody answers there.
pub fn take(_config: &Config) -> anyhow::Result<Inherited> {
    anyhow::bail!("--takeover is not built yet")
}

/// Tells the process that ran to end: this one serves.
///
/// # Errors
/// It is gone.
pub async fn finish(_inherited: &Config) -> anyhow::Result<()> {
    Ok(())
}

/// Gives the sockets to whoever replaces this process, until the process ends; [`Edge::drain`] is called when the other one serves.
///
/// # Errors
/// When the socket cannot be used.
pub async fn serve(_edge: Arc<Edge>) -> anyhow::Result<()> {
    Ok(())
}
