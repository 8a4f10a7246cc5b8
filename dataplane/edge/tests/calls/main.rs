//! Pods' edges over a model gateway on loopback, with real programs on both sides.

mod answers;
mod curl;
mod faults;
#[path = "../../../pod/tests/model/gateway.rs"]
#[allow(dead_code)]
mod gateway;
mod grpc;
mod limits;
#[path = "../../../pod/tests/model/pki.rs"]
#[allow(dead_code)]
mod pki;
mod program;
#[allow(dead_code)]
mod rig;
mod tunnels;
#[path = "../../../quic/tests/names/world.rs"]
#[allow(dead_code)]
mod world;
