//! QUIC over a model gateway on loopback, with real certificates and authorisations.

mod calls;
#[path = "../../../pod/tests/model/gateway.rs"]
#[allow(dead_code)]
mod gateway;
mod instances;
#[path = "../../../pod/tests/model/pki.rs"]
#[allow(dead_code)]
mod pki;
mod refused;
mod revoked;
mod told;
mod world;
