//! One call, as the access log and the metrics tell it.

use std::time::{Duration, SystemTime};

use dmsc_pod::Pin;
use dmsc_wire::NameBuf;
use http::Method;

use crate::stats::{Direction, Protocol};

/// A call that is over.
#[derive(Debug, Clone)]
pub struct AccessRecord {
    /// When it began.
    pub began: SystemTime,
    /// From the program, or to it.
    pub direction: Direction,
    /// The pod that the edge speaks for.
    pub pod: String,
    /// The pod at the other end, by its certificate; empty if none was reached.
    pub peer: String,
    /// What was called; `None` if that could not be told.
    pub name: Option<NameBuf>,
    /// Who answered, of calls that go out; who called, of those that come in.
    pub instance: Option<Pin>,
    /// What was spoken.
    pub protocol: Protocol,
    /// Of HTTP.
    pub method: Option<Method>,
    /// Of HTTP: path without query, at most 1,024 bytes.
    pub path: Option<String>,
    /// Of HTTP.
    pub status: Option<u16>,
    /// Of gRPC.
    pub grpc_status: Option<u16>,
    /// Why it failed, as a word.
    pub error: Option<&'static str>,
    /// How often it was tried; 0: not at all.
    pub attempts: u32,
    /// Bytes from the caller: bodies of HTTP, everything of TCP.
    pub bytes_in: u64,
    /// Bytes to the caller.
    pub bytes_out: u64,
    /// Until its last byte.
    pub duration: Duration,
    /// Of W3C trace context: 16 bytes.
    pub trace_id: Option<[u8; 16]>,
}
