//! What stands around the calls of HTTP: redirected bytes, health, the operator's API, metrics, and the handover to another process.

mod bytes;
#[path = "../../../pod/tests/model/gateway.rs"]
#[allow(dead_code)]
mod gateway;
mod handover;
mod health;
mod load;
mod operator;
#[path = "../../../pod/tests/model/pki.rs"]
#[allow(dead_code)]
mod pki;
#[path = "../calls/program.rs"]
#[allow(dead_code)]
mod program;
#[path = "../calls/rig.rs"]
#[allow(dead_code)]
mod rig;
mod takeover;
#[path = "../../../quic/tests/names/world.rs"]
#[allow(dead_code)]
mod world;

use std::net::SocketAddr;

use tokio::net::TcpListener;

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}
