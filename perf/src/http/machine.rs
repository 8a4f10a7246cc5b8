//! What it was measured on, and beside what.

use serde::Serialize;

use crate::record;

/// A machine, a build, and the programs that are compared with.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// The machine and the build; in JSON its fields stand beside `peers`.
    #[serde(flatten)]
    pub own: record::Machine,
    /// Versions of the programs that are compared with.
    pub peers: Vec<String>,
}

impl Machine {
    /// This one.
    pub fn read(peers: Vec<String>) -> Self {
        Self {
            own: record::Machine::read(),
            peers,
        }
    }
}
