//! Library and command over a model gateway.

mod command;
mod datagram;
// Shared with the tests of dmsc-quic, which use the rest of it.
#[allow(dead_code)]
mod gateway;
mod library;
mod pki;
mod secure;
