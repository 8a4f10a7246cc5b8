//! Calls for the pod's programs.

use std::sync::Arc;

use dmsc_quic::Listener;

use crate::pod::Context;

/// Accepts connections of callers until the pod ends.
pub async fn run(_listener: Listener, _context: Arc<Context>) {}
