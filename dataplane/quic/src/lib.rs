//! QUIC between pods over service names: quinn, whose datagrams are DMSC payloads (design §1, RFC 9000).
//!
//! Loss recovery, congestion control, streams and TLS 1.3 come from quinn; routers see only the prefix header. Both ends show their pod's certificate, and
//! the server proves the name that was called before the client says anything, so a wrongly delivered packet cannot be answered.
//!
//! ```no_run
//! use dmsc_quic::{Config, Endpoint};
//! # async fn example(pod: dmsc_pod::Pod) -> Result<(), Box<dyn std::error::Error>> {
//! let endpoint = Endpoint::new(pod, Config::new("/etc/dmsc/pod"))?;
//! let answer = endpoint.connector().call(&"/shop/cart".parse()?, b"hello", false).await?;
//! println!("{} bytes", answer.len());
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod colleagues;
pub mod config;
pub mod connection;
pub mod connector;
pub mod endpoint;
pub mod error;
mod exhibits;
mod fill;
mod judge;
mod keys;
mod life;
pub mod listener;
pub mod notice;
mod peer;
pub mod proof;
pub mod replicas;
mod revoked;
mod socket;
mod table;
mod tls;
mod transport;

pub use config::Config;
pub use connection::{Connection, Stream};
pub use connector::Connector;
pub use endpoint::Endpoint;
pub use error::{Ended, NotProven, QuicError};
pub use listener::Listener;
pub use replicas::{Replica, Replicas};
