//! The control plane of one router or gateway: programs its dataplane over the agent's API and answers its pods.
//!
//! `static` takes routes from a file; `sg` and `sr` compute them (design §1, §4, §6). One module per job:
//! [`routes`] and [`config`] read the files, [`program`] finds the fewest operations, [`agent`] talks to the dataplane, [`pods`], [`lease`], [`resolve`] and
//! [`registrar`] serve the pods, [`state`], [`supervisor`] and [`status`] are `static`;
//! [`node`] owns the link-state engine, [`handle`] is the way to it, [`rib`] makes tables of routes, [`claims`] knows who may serve what,
//! `figures` reads what links are like, [`scheduling`] measures gateways, tells the scheduling centers and obeys their policies.
#![forbid(unsafe_code)]

pub mod accept;
pub mod agent;
pub mod audit;
pub mod authority;
mod bodies;
pub mod claims;
pub mod clock;
pub mod config;
pub mod drain;
pub mod driver;
mod figures;
pub mod guests;
pub mod handle;
pub mod keeper;
pub mod lease;
pub mod links;
pub mod metrics;
pub mod mistake;
pub mod node;
pub mod operator;
pub mod peer;
pub mod pods;
pub mod probe;
pub mod program;
pub mod registrar;
pub mod resolve;
pub mod rib;
pub mod root_revocations;
pub mod router;
pub mod routes;
pub mod scheduling;
pub mod scsc;
pub mod served;
pub mod spa;
pub mod state;
pub mod status;
pub mod store;
pub mod supervisor;
pub mod tls;
pub mod trust;

/// Name and version of this program, told to others.
pub const SOFTWARE: &str = concat!("dmsc-controlplane ", env!("CARGO_PKG_VERSION"));
