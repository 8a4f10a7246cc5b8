//! Library and command over a model gateway.

mod command;
mod gateway;
mod library;
mod pki;
mod secure;
