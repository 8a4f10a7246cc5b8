//! HTTP of a program: HTTP/1.1, HTTP/2 by prior knowledge, gRPC, WebSocket.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::NameSource;
use crate::pod::Context;

/// Serves one connection of a program until it ends.
pub async fn serve<I>(_io: I, _names: NameSource, _context: Arc<Context>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
}
