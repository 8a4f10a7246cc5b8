//! Services of tonic and axum over a model gateway on loopback, with real certificates and authorisations.
// Each example has its own.
#![allow(clippy::duplicate_mod)]

#[path = "../../examples/cart.rs"]
#[allow(dead_code)]
mod cart;
mod death;
mod edge;
mod examples;
#[path = "../../../pod/tests/model/gateway.rs"]
#[allow(dead_code)]
mod gateway;
#[path = "../../examples/greeter.rs"]
#[allow(dead_code)]
mod greeter;
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
