//! A process's end of a vhost-user port: frames through memory that it shares with a gateway, without DPDK.
//!
//! The gateway's end is a port of kind `vhost` (DPDK's net_vhost), which listens on a Unix socket. This end brings the memory: one region with a queue of buffers
//! each way (virtio 1.2, split queues), of which the device sees nothing else of the process.
//!
//! ```no_run
//! use dmsc_vhost::{Config, Port};
//! # fn example() -> Result<(), dmsc_vhost::VhostError> {
//! let mut port = Port::connect("/run/dmsc/edge.sock".as_ref(), Config::default())?;
//! port.transmit.push(&[b"header", b"payload"])?;
//! port.transmit.flush()?;
//! port.receive.receive(&mut |frame| { println!("{} bytes", frame.len()); true })?;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod buffers;
mod error;
#[cfg(test)]
mod fake;
mod lock;
mod memory;
mod message;
mod negotiate;
mod port;
mod receive;
mod ring;
#[cfg(test)]
mod tests;
mod transmit;

pub use error::{Lie, VhostError};
pub use port::{Config, Line, Port};
pub use receive::Receive;
pub use transmit::Transmit;
