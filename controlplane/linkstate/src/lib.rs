//! Link state of the DMSC (Distributed Micro Service Communication) routers, sans-IO: what is known of
//! the network goes in, routes come out. No sockets, no clock, no threads.

#![forbid(unsafe_code)]

pub mod spf;

pub use dmsc_wire::NodeId;
pub use spf::{Cost, Graph, LinkId, Route, ShortestPaths, routes, routes_by};
