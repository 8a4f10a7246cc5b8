//! The messages and services of DMSC signalling, package `dmsc.v1`, generated from the .proto files beside this crate.
//!
//! Comments, limits and units of every message stand in `proto/dmsc/v1/*.proto`.

mod unix;

pub use unix::{UnixSocketError, connect_unix};

/// Lowest and highest version of the agent's API that this build speaks.
pub const AGENT_VERSIONS: (u32, u32) = (1, 1);
/// Lowest and highest version of the pod API that this build speaks.
pub const POD_VERSIONS: (u32, u32) = (1, 1);
/// TCP port of a gateway's registrar, unless configured.
pub const REGISTRAR_PORT: u16 = 35030;

/// Package `dmsc.v1`.
pub mod v1 {
    #![allow(missing_docs, clippy::all)]
    tonic::include_proto!("dmsc.v1");
}
