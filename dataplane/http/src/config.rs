//! What calls may be told; the defaults suit services in one data centre.

use std::time::Duration;

/// Limits of calls to a name.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long the head of an answer may take, all attempts together. `None`: as long as it takes. gRPC calls have the deadline that they carry instead.
    pub timeout: Option<Duration>,
    /// Calls to one name that are under way at the same time; others wait.
    pub in_flight: usize,
    /// HTTP/1.1 connections (streams) to one name that are kept for later calls.
    pub idle: usize,
    /// How long they are kept.
    pub idle_timeout: Duration,
    /// Bytes of the body of a call that are kept until its answer comes, to make the call elsewhere when it was not taken.
    pub replay: usize,
    /// Names that a client keeps connections to.
    pub names: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timeout: Some(Duration::from_secs(15)),
            in_flight: 1_024,
            idle: 64,
            idle_timeout: Duration::from_secs(60),
            replay: 64 << 10,
            names: 256,
        }
    }
}
