//! The edge: unmodified HTTP, gRPC and TCP programs call each other by service name (design §1).
//!
//! One process per node, beside the gateway. It speaks for several pods, each with that pod's own identity, in that pod's own network namespace:
//! one thread per pod, on which all of that pod's sockets and tasks live.
#![forbid(unsafe_code)]

pub mod choose;
pub mod cli;
pub mod config;
pub mod dns;
pub mod edge;
pub mod handover;
pub mod health;
pub mod inbound;
pub mod log;
pub mod metrics;
pub mod netns;
pub mod operator;
pub mod outbound;
pub mod pod;
pub mod record;
pub mod redirect;
pub mod sockets;
pub mod stats;
pub mod tcp;
