//! What is told at `/metrics`, with a bounded number of series.

mod budget;
mod picture;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::registry::Registry;
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::net::TcpListener;
use tracing::info;

use crate::edge::Edge;
use budget::Budget;
use picture::Picture;

/// Metrics that cannot be served.
#[derive(Debug, Error)]
#[error("metrics {address}: cannot listen: {why}")]
pub struct MetricsError {
    /// As configured.
    pub address: SocketAddr,
    /// Why.
    pub why: std::io::Error,
}

/// Listens at once, then answers until the process ends; nothing if none is configured.
///
/// # Errors
/// When the address cannot be used.
pub async fn serve(edge: Arc<Edge>) -> anyhow::Result<()> {
    let Some(address) = edge.config.metrics else {
        return Ok(());
    };
    let listener = bind(address).map_err(|why| MetricsError { address, why })?;
    info!(%address, "metrics ready");
    let budget = Mutex::new(Budget::new(edge.config.series));
    let source = move || std::future::ready(registry(&edge, &budget));
    tokio::spawn(dmsc_daemon::metrics::serve(listener, source));
    Ok(())
}

/// The process that is replaced, and the one that replaces it, listen on the same address for a while.
fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(64)?;
    TcpListener::from_std(socket.into())
}

fn registry(edge: &Edge, budget: &Mutex<Budget>) -> Registry {
    let picture = {
        let mut budget = budget.lock().unwrap_or_else(PoisonError::into_inner);
        let pods = edge.pods.iter().map(|pod| pod.stats.as_ref());
        Picture::take(pods, edge.log.dropped(), &mut budget)
    };
    let mut registry = Registry::with_prefix("dmsc_edge");
    registry.register_collector(Box::new(picture));
    registry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_process_that_replaces_this_one_listens_there_too() {
        let listener = bind(([127, 0, 0, 1], 0).into()).unwrap();
        bind(listener.local_addr().unwrap()).unwrap();
    }
}
