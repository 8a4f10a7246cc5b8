//! HTTP/1.1 to an instance's program: one call at a time.

use std::sync::Arc;
use std::time::Instant;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tracing::debug;

use super::super::tunnel::Fate;
use super::super::upload::Upload;
use super::{BUFFER, DialError};
use crate::choose::{Callee, Instance};
use crate::pod::Context;
use crate::stats::QuicConnection;

/// An HTTP/1.1 connection.
#[derive(Debug)]
pub struct One {
    pub sender: http1::SendRequest<Upload>,
    pub fate: Arc<Fate>,
    pub quic: Arc<QuicConnection>,
    pub since: Instant,
}

/// A new one.
pub async fn dial(
    instance: &Instance,
    callee: &Callee,
    context: &Context,
) -> Result<One, DialError> {
    let tunnel = callee.dial(instance, context).await?;
    let (fate, quic) = (Arc::clone(tunnel.fate()), Arc::clone(tunnel.quic()));
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(BUFFER)
        .handshake(TokioIo::new(tunnel))
        .await?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            debug!(%error, "an HTTP/1.1 connection to an instance ended");
        }
    });
    Ok(One {
        sender,
        fate,
        quic,
        since: Instant::now(),
    })
}
