//! The messages and services of DMSC signalling, package `dmsc.v1`, generated from the .proto files beside this crate.
//!
//! Comments, limits and units of every message stand in `proto/dmsc/v1/*.proto`.

mod latency;
mod page;
mod unix;

pub use latency::Latency;
pub use page::{Page, all_pages};
pub use unix::{UnixSocketError, connect_unix};

/// Lowest and highest version of the agent's API that this build speaks.
pub const AGENT_VERSIONS: (u32, u32) = (1, 1);
/// Lowest and highest version of the pod API that this build speaks.
pub const POD_VERSIONS: (u32, u32) = (1, 1);
/// Lowest and highest version of the link-state exchange that this build speaks.
pub const LINKSTATE_VERSIONS: (u32, u32) = (1, 1);
/// Lowest and highest version of the authority API that this build speaks.
pub const AUTHORITY_VERSIONS: (u32, u32) = (1, 1);
/// Lowest and highest version of the scheduling exchange that this build speaks.
pub const SCHEDULING_VERSIONS: (u32, u32) = (1, 1);
/// TCP port of a gateway's registrar, unless configured.
pub const REGISTRAR_PORT: u16 = 35030;
/// TCP port of the link-state exchange, unless configured.
pub const LINKSTATE_PORT: u16 = 35031;
/// TCP port of a prefix authority, unless configured.
pub const AUTHORITY_PORT: u16 = 35032;
/// TCP port of the operator's API, where it is served over TCP.
pub const OPERATOR_PORT: u16 = 35033;
/// TCP port of a scheduling center, unless configured.
pub const SCHEDULING_PORT: u16 = 35034;
/// Most names whose answers a pod tells at a time (pod.proto, Answered).
pub const ANSWERED_NAMES: usize = 256;
/// Most buckets of each of them.
pub const ANSWERED_BUCKETS: usize = 512;
/// Most calls in a bucket: more than a pod makes in the seconds between.
pub const ANSWERED_CALLS: u64 = 1_000_000;
/// Largest message of the scheduling exchange, bytes.
pub const SCHEDULING_MESSAGE: usize = 1 << 20;
/// Largest message of the link-state exchange, bytes.
pub const LINKSTATE_MESSAGE: usize = 1 << 20;

/// Package `dmsc.v1`.
pub mod v1 {
    #![allow(missing_docs, clippy::all)]
    tonic::include_proto!("dmsc.v1");
}
