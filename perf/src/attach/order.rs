//! What the processes at the ends are told, and what they answer: lines of JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// An order.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The gateway listens, and the interface, if there is one, is here.
    Open,
    /// To the caller.
    Run(Load),
}

/// What the caller is to do.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Load {
    /// How.
    pub pace: Pace,
    /// Length of messages, bytes.
    pub size: u16,
    /// How long.
    pub time: Duration,
}

/// When the next message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pace {
    /// So many calls per second, answered or not.
    Rate(u64),
    /// Calls, so many under way.
    Window(usize),
    /// Messages that are only acknowledged, so many under way.
    Bulk(usize),
}

/// An answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It is in its namespace.
    Placed,
    /// Its end of the port is open.
    Open,
    /// The load is over.
    Ran(Seen),
    /// Something went wrong.
    Failed(String),
}

/// What the caller saw.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Seen {
    /// Calls that were answered, or messages that were acknowledged.
    pub done: u64,
    /// Those that were not in time.
    pub lost: u64,
    /// From the first to the last, s.
    pub seconds: f64,
    /// From sending to the answer, µs; of calls.
    pub p50_us: f64,
    /// The same.
    pub p99_us: f64,
}
