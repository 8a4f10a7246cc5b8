//! Why there is no port.

use std::io;

use crate::devargs::BadField;
use crate::errno::Errno;

/// Why there is no port. Every variant says which port, and what can be done.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum PortError {
    /// DPDK would cut or misread the name.
    #[error("port name {0:?}: 1 to 32 of letters, digits, `_`, `.` and `-` are wanted")]
    BadName(String),
    /// A field of the device or of the configuration.
    #[error("port {port}: {field} {value:?}: {wanted} is wanted")]
    BadField {
        port: String,
        field: &'static str,
        value: String,
        wanted: String,
    },
    /// The kernel interface under the port.
    #[error(
        "port {port}: interface {iface}: {error}; `ip link show` lists what this network namespace has"
    )]
    Interface {
        port: String,
        iface: String,
        error: io::Error,
    },
    /// The driver did not make the device.
    #[error("port {port}: {kind} device was not made: {errno}{hint}; {log}")]
    Create {
        port: String,
        kind: &'static str,
        errno: Errno,
        hint: &'static str,
        log: String,
    },
    /// More queues than the device has.
    #[error(
        "port {port}: {asked} {direction} queues are wanted and the {kind} device has {max}: {remedy}"
    )]
    TooManyQueues {
        port: String,
        kind: &'static str,
        direction: &'static str,
        asked: u16,
        max: u16,
        remedy: &'static str,
    },
    /// A received packet would not fit into an mbuf.
    #[error(
        "port {port}: frames of {frame} bytes do not fit into mbufs of {room} bytes: give pool {pool} a data room of {frame}"
    )]
    FrameTooLarge {
        port: String,
        pool: String,
        frame: u16,
        room: u16,
    },
    /// The device cannot have this MTU.
    #[error("port {port}: MTU {asked} is more than the {max} that this {kind} device can have")]
    Mtu {
        port: String,
        kind: &'static str,
        asked: u16,
        max: u16,
    },
    /// The pool is another EAL's.
    #[error("port {port}: mempool {pool} does not belong to this EAL")]
    ForeignPool { port: String, pool: String },
    /// The driver refused a step of the start.
    #[error("port {port}: {step} failed: {errno}; {log}")]
    Start {
        port: String,
        step: &'static str,
        errno: Errno,
        log: String,
    },
}

pub(crate) fn bad_field(port: &str, bad: BadField) -> PortError {
    PortError::BadField {
        port: port.to_owned(),
        field: bad.field,
        value: bad.value,
        wanted: bad.wanted.into(),
    }
}

pub(crate) fn interface_error(port: &str, iface: &str, error: io::Error) -> PortError {
    PortError::Interface {
        port: port.to_owned(),
        iface: iface.to_owned(),
        error,
    }
}
