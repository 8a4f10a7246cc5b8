//! The real `dmsc-dataplane` on real ports, between network namespaces, told what to do through its agent.
//!
//! Every test makes its own namespaces, veths and directory, so that all of them may run at once, and removes them also when
//! it fails; then it prints the log and the counters. Without root or `/dev/net/tun` they say so and pass.

mod adjacencies;
mod classes;
mod configure;
mod exception;
mod failover;
mod handover;
mod idle;
mod lifecycle;
mod mistakes;
mod observe;
mod pods;
mod probe;
mod quality;
mod rig;
mod shared;
mod vlan;
mod workers;
