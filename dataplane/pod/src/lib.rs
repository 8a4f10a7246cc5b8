//! What a pod uses to take part in DMSC (Distributed Micro Service Communication): register, call, serve.
//!
//! A pod needs its gateway's address and an identity, nothing else. It registers over gRPC and then sends and receives
//! packets through one ordinary UDP socket (design §1, §3).
//!
//! ```no_run
//! use dmsc_pod::{CallOptions, Pod, PodConfig};
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = PodConfig::new("10.1.1.1".parse()?, "pod1/a");
//! config.prefixes.push("/shop/a".parse()?);
//! let pod = Pod::connect_and_serve(config, |request| async move { request.payload }).await?;
//! let answer = pod.call(&"/shop/b".parse()?, b"hello", &CallOptions::default()).await?;
//! println!("gateway {} answered in {:?}", answer.gateway, answer.round_trip);
//! pod.close().await?;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

pub mod answer;
mod answers;
pub mod background;
mod burst;
pub mod call;
pub mod clock;
pub mod config;
pub mod counters;
pub mod credentials;
pub mod datagram;
pub mod detect;
pub mod error;
pub mod health;
pub mod inflight;
mod kept;
pub mod offload;
pub mod openloop;
pub mod pod;
pub mod proofs;
mod receive;
mod receiver;
pub mod registrar;
pub mod resolve;
pub mod revocations;
pub mod serve;
pub mod session;
mod shared;
pub mod socket;
mod towards;
pub mod train;
mod treatment;

pub use answer::{Answer, Pong};
pub use call::{CallError, CallOptions, Pin};
pub use config::{GatewayAddress, PodConfig};
pub use counters::Counts;
pub use credentials::{Credentials, CredentialsError};
pub use datagram::{Datagram, Datagrams};
pub use error::PodError;
pub use health::Health;
pub use pod::Pod;
pub use proofs::Proofs;
pub use receiver::Look;
pub use resolve::{Instance, Resolution};
pub use revocations::Revocations;
pub use serve::Request;
pub use session::{Registered, Session};
pub use shared::SharedAttachment;
pub use towards::Towards;
pub use treatment::Treatment;
