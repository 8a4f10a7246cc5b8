//! What every daemon has around its work: a Unix socket for its operator with roles by Unix group, a little HTTP, metrics, log, systemd.
#![forbid(unsafe_code)]

pub mod http;
pub mod metrics;
mod peer;
pub mod process;
pub mod roles;
pub mod socket;
mod through;

pub use peer::{Peer, group_exists};
pub use roles::{Caller, Groups, Role};
pub use socket::{Local, Places, SocketError, make_room};
