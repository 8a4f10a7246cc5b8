//! Connections that arrive redirected: HTTP, or bytes.

use std::sync::Arc;

use dmsc_wire::NameBuf;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

use crate::pod::Context;

/// Accepts redirected connections until the pod's phase is no longer `Running`.
pub async fn run(_listener: TcpListener, _context: Arc<Context>) {}

/// Carries one connection to `name`: HTTP if it begins so, bytes otherwise.
pub async fn serve<I>(_io: I, _name: NameBuf, _context: Arc<Context>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
}
