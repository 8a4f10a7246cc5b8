//! Services of tonic and axum over a model gateway on loopback, with real certificates and authorisations.

mod death;
mod edge;
#[path = "../../../pod/tests/model/gateway.rs"]
#[allow(dead_code)]
mod gateway;
mod grpc;
mod hall;
#[path = "../../../pod/tests/model/pki.rs"]
#[allow(dead_code)]
mod pki;
mod plain;
mod shop;
#[path = "../../../quic/tests/names/world.rs"]
#[allow(dead_code)]
mod world;
