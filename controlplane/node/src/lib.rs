//! The control plane of one router or gateway: programs its dataplane over the agent's API and answers its pods.
//!
//! Today there is `static`: routes come from a file (design §1, §4). One module per job:
//! [`routes`] reads the file, [`program`] finds the fewest operations, [`agent`] talks to the dataplane, [`lease`], [`resolve`] and [`registrar`] serve the pods,
//! [`state`] is what they share, [`supervisor`] runs it, [`status`] tells others.
#![forbid(unsafe_code)]

pub mod agent;
pub mod audit;
pub mod clock;
pub mod lease;
pub mod metrics;
pub mod operator;
pub mod program;
pub mod registrar;
pub mod resolve;
pub mod routes;
pub mod spa;
pub mod state;
pub mod status;
pub mod supervisor;

/// Name and version of this program, told to others.
pub const SOFTWARE: &str = concat!("dmsc-controlplane ", env!("CARGO_PKG_VERSION"));
