//! The agent: the dataplane's gRPC API on a Unix socket (`dmsc.v1.DataplaneAgent`). Reading never stops or slows a worker.

mod audit;
mod configure;
pub(crate) mod describe;
mod echo;
mod explain;
mod herald;
mod server;
mod service;
mod traffic;
mod transactions;

pub use herald::Herald;
pub use server::{AgentError, Socket};
pub use service::Agent;
