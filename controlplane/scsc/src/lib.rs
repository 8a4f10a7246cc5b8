//! The scheduling center of DMSC (Distributed Micro Service Communication): measured quality in, forwarding policies out (design §8).
//! Knows neither tonic nor DPDK, and has no clock: time is an argument everywhere.
//!
//! A second of a pair of gateways is a [`Report`]; [`stream`] packs reports, [`backlog`] keeps them while nobody listens, [`probe`] measures.
//! [`Scsc`] judges them by [`Rules`] with an [`Alarm`] per choice, and answers with [`Order`]s: a [`Policy`] and why. A router holds what
//! it accepted in [`Held`], and [`apply()`] makes weights of it, only ever over members and ways that the router computed itself.

#![forbid(unsafe_code)]

pub mod alarm;
pub mod apply;
pub mod backlog;
pub mod decision;
pub mod hand;
pub mod held;
pub mod histogram;
pub mod pair;
pub mod plan;
pub mod policy;
pub mod probe;
pub mod report;
pub mod rules;
pub mod scsc;
pub mod service;
pub mod statement;
pub mod store;
pub mod stream;
pub mod threshold;
pub mod timing;
mod varint;

pub use alarm::{Alarm, Change, Verdict};
pub use apply::{Placed, Placement, PlainMember, apply};
pub use decision::Decision;
pub use dmsc_linkstate::action::Topology;
pub use held::{Held, Refused};
pub use histogram::Histogram;
pub use pair::{LinkKey, Pair};
pub use policy::{Epoch, Policy, PolicyId, Rank, ReplicaId, Share};
pub use report::{Health, Report};
pub use rules::{Rules, RulesError, RulesTable};
pub use scsc::{GroupId, Order, Scsc, ScscConfig};
pub use service::ServiceState;
pub use statement::{PolicyError, SignedPolicy};
pub use threshold::{Level, ThresholdError, Thresholds};
pub use timing::{Timing, TimingError};
