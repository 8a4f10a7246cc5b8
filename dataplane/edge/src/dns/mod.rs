//! The edge's own small DNS (RFC 1035): names below the suffix are answered with synthetic addresses, all else is refused.
//!
//! A program connects to such an address, the redirect of its namespace brings the connection to the edge, and the table says which name was meant.
//! Whether anybody serves a name is the router's to know: here every name has an address, and a call tells the rest.

mod answer;
mod gate;
mod server;
mod table;

pub use answer::Zone;
pub use gate::{Gate, User};
pub use server::{serve_tcp, serve_udp};
pub use table::{MAX_NAMES, Table};

use std::sync::Arc;

use tokio::net::{TcpListener, UdpSocket};

use crate::pod::{Context, Phase};

/// Answers until the pod's phase is no longer `Running`.
pub async fn run(udp: UdpSocket, tcp: TcpListener, context: Arc<Context>) {
    let outbound = context.shared.config.outbound.as_ref();
    let (Some(names), Some(outbound)) = (&context.shared.names, outbound) else {
        return;
    };
    let _user = tokio::select! {
        user = names.gate().enter() => user,
        () = context.until(Phase::Draining) => return,
    };
    let zone = Zone {
        suffix: outbound.suffix.clone(),
        names: Arc::clone(names),
    };
    tokio::select! {
        () = serve_udp(udp, zone.clone()) => {}
        () = serve_tcp(tcp, zone) => {}
        () = context.until(Phase::Draining) => {}
    }
}
