//! The dataplane of a DMSC (Distributed Micro Service Communication) router: stages, workers, counters, trace, and the agent
//! that takes orders over gRPC.
//!
//! A packet's walk is in [`worker`], whole; each of its stations is one file under [`stage`]. Everything that is programmed comes in
//! through [`agent`] and becomes a generation of [`tables`].

#![forbid(unsafe_code)]

pub mod address;
pub mod adjacency;
pub mod agent;
pub mod attachment;
pub mod bucket;
pub mod choose;
pub mod class_rule;
pub mod clock;
pub mod config;
mod consume;
pub mod counters;
pub mod egress;
pub mod exception;
pub mod frame;
pub mod gaps;
pub mod handover;
pub mod hello;
pub mod hush;
pub mod icmp;
pub mod lane;
pub mod link;
pub mod mac;
pub mod meter;
pub mod neighbour;
pub mod net;
pub mod outer;
pub mod pace;
pub mod packet;
pub mod port;
pub mod programmer;
pub mod publisher;
pub mod quality;
pub mod rig;
pub mod shared;
pub mod silence;
pub mod stage;
pub mod start;
pub mod tables;
pub mod trace;
pub mod traffic;
pub mod worker;
