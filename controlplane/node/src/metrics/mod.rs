//! What each daemon tells at `/metrics`.

mod classes;
pub mod node;

use std::net::SocketAddr;

use prometheus_client::registry::Registry;
use tracing::info;

use crate::operator::listen::{ListenError, bind};

/// Listens at once, then answers until the process ends; `source` is asked for every reader.
///
/// # Errors
/// When the address cannot be used.
pub async fn serve<S, R>(address: SocketAddr, source: S) -> Result<SocketAddr, ListenError>
where
    S: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = Registry> + Send + 'static,
{
    let listener = bind("metrics", address).await?;
    let address = listener.local_addr().unwrap_or(address);
    info!(%address, "metrics ready");
    tokio::spawn(dmsc_daemon::metrics::serve(listener, source));
    Ok(address)
}
