//! Checks programs that serve.

use std::sync::Arc;

use crate::pod::{Context, Served};

/// Checks one program, sets [`Served::set_healthy`], and tells the gateway, until the pod ends.
pub async fn run(_served: Arc<Served>, _context: Arc<Context>) {}
